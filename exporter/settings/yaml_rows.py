"""Our own YAML files as pydantic models. All mistakes are reported at once, each with its line and what to do.

A file is a ``Row`` whose fields are texts, mappings and lists of further rows. Pydantic finds the mistakes; this module
turns them into sentences and finds their lines. Validators get the text as written, so no YAML type or binary float
gets in between.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, tzinfo
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator, ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError

from exporter.sentences import say
from exporter.settings.problems import Problem, ProblemsError, did_you_mean, shown, wrong
from exporter.settings.validators import zone_name
from exporter.settings.yaml_values import Items, Node, Place, Text, read_yaml

_Model = TypeVar("_Model", bound="Row")
_Value = TypeVar("_Value")
_Loc = tuple[str | int, ...]

_DATE = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}", re.ASCII)

NOT_EMPTY = BeforeValidator(lambda value: value or None)
"""Beside the type of a list: an empty list counts as missing."""


@dataclass(frozen=True)
class Missing:
    """Beside the type of a field: the message if it is missing, or is not the text, list or mapping it must be."""

    why: str
    fix: str


MAY_BE_IN_FILE = object()
"""Beside the type of a field: it may be given as ``<name>_file`` instead, the name of a file with it."""


class Row(BaseModel):
    """A mapping in a file. Its ``title`` names one in sentences."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


def read_rows(path: Path, model: type[_Model], *, setting: str, needs: str = "") -> _Model:
    """The content of a file. Raises ProblemsError with all that is wrong, in the order of its lines.

    ``setting`` gave its path. An empty file lacks ``needs``, if that is named. Validators of rows find in their context
    a label_store, for what has to be known of earlier rows.
    """
    tree = read_yaml(path, setting=setting)
    if needs and not tree:
        tree[needs] = Text("", tree.at)
    try:
        return model.model_validate(tree, context={})
    except ValidationError as error:
        raise ProblemsError(*problems_of(error, tree, model, setting=setting)) from None


def text(value: object, info: ValidationInfo) -> str:
    """A validator: the text of a field."""
    if isinstance(value, str) and value:
        return str(value)
    name = (info.field_name or "").rstrip("_")
    why, fix = say("{name} is not a text.", name=name), say("Give {name} a text, or leave it out.", name=name)
    raise PydanticCustomError("no_text", "{why} {fix}", {"why": why, "fix": fix})


def read_by(read: Callable[[str], _Value | None], why: str, fix: str, **values: object) -> PlainValidator:
    """A validator: what ``read`` makes of the text. If that is None or a ValueError, ``why`` and ``fix`` say so."""

    def check(value: object, info: ValidationInfo) -> _Value:
        written = text(value, info)
        try:
            found = read(written)
        except ValueError:
            found = None
        if found is None:
            raise wrong(why, fix, value=shown(written), **values)
        return found

    return PlainValidator(check)


def _day(written: str) -> date | None:
    return date.fromisoformat(written) if _DATE.fullmatch(written) else None


def _zone(value: object, info: ValidationInfo) -> ZoneInfo:
    return ZoneInfo(zone_name(text(value, info)))


Day = Annotated[date, read_by(_day, "{value} is not a day.", "Write it as 2026-11-24.")]
Zone = Annotated[tzinfo, PlainValidator(_zone)]


def problems_of(error: ValidationError, tree: dict[str, Node], model: type[Row], *, setting: str = "") -> list[Problem]:
    """The mistakes that pydantic found in ``tree``, in the order of the lines of each origin.

    Without ``setting``, each problem names its own place, such as ``proxies[0].url``, as the setting.
    """
    found = []
    for each in error.errors(include_url=False):
        row, field = _declaration(model, each["loc"])
        loc, at = _place(tree, (*each["loc"], *each.get("ctx", {}).get("at", ())))
        label = setting or label_of(loc)
        named = next((part for part in reversed(loc) if isinstance(part, str)), "") if setting else "It"
        if each["type"] != "extra_forbidden":
            why, fix = _why_and_fix(each, row, field, str(named))
        elif setting:
            why = say("{name} is unknown here.", name=shown(str(loc[-1])))
            fix = did_you_mean(str(loc[-1]), _names(row)) or _known(row)
        else:
            label, why, fix = unknown_setting(str(loc[-1]), _names(row), prefix=label_of((*loc[:-1], "")))
        found.append((at, Problem(setting=label, place=str(at), why=why, fix=fix)))
    return [problem for at, problem in sorted(found, key=lambda each: (each[0].origin, each[0].line))]


def unknown_setting(name: str, known: Sequence[str], *, prefix: str = "") -> tuple[str, str, str]:
    """The label, why and fix for a name in the file of settings that is not in ``known``."""
    guess, why = did_you_mean(name.lower(), known), say("There is no such setting.")
    if guess:
        return f"{prefix}{name}", why, guess
    # A name that resembles nothing is not shown: it may be a key on the wrong side of the colon.
    return f"{prefix}unknown name", why, say("Remove it; docs/settings.md lists what there is.")


def label_of(loc: _Loc) -> str:
    """A place in a file as people write it: ``proxies[0].url``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


def _why_and_fix(error: Any, row: type[Row], field: Sequence[object], subject: str) -> tuple[str, str]:
    """Why a value is wrong, and what to do, for an error of pydantic at ``subject``, a ``field`` of ``row``."""
    kind, name = error["type"], str(error["loc"][-1]) if error["loc"] else ""
    missing = next((each for each in field if isinstance(each, Missing)), None)
    if kind == "setting" or (kind == "no_text" and missing is None):
        return error["ctx"]["why"], error["ctx"]["fix"]
    if missing is not None or kind == "missing":
        said = missing or Missing("It is missing.", say("Add {name}.", name=name))
        return say(said.why), say(said.fix)
    if kind == "model_type":
        title = row.model_config.get("title") if isinstance(error["loc"][-1], int) else None
        fix = say("Write its fields as name: value.") if title else _known(row)
        return say("{name} is not a mapping.", name=title or subject), fix
    if kind == "dict_type":
        return say("{name} is not a mapping.", name=subject), say("Write one a line, as name: value.")
    if kind == "tuple_type":
        return say("{name} is not a list.", name=subject), say("Begin each entry with a dash.")
    return _of_value(error, field)


def _of_value(error: Any, field: Sequence[object]) -> tuple[str, str]:
    """The same for a word, or for a number, which ``field`` bounds at least from below."""
    written, kind = shown(str(error["input"])), error["type"]
    if kind in {"literal_error", "bool_parsing"}:
        words = re.findall("'(.+?)'", error.get("ctx", {}).get("expected", "'true', 'false'"))
        known = say("Use one of: {known}.", known=", ".join(words))
        return say("{value} is not one of its values.", value=written), known
    low, high = (next((getattr(each, end) for each in field if hasattr(each, end)), None) for end in ("ge", "le"))
    what = say("a whole number") if kind.startswith("int") or isinstance(low, int) else say("a number")
    why = say("{value} is not {what}.", value=written, what=what)
    if kind.endswith("than_equal"):
        why = say("{value} is out of range.", value=written.strip("'"))
    if high is None:
        return why, say("Give {what} of {low:g} or more.", what=what, low=low)
    return why, say("Give {what} from {low} to {high}.", what=what, low=f"{low:g}", high=high)


def _known(row: type[Row]) -> str:
    return say("Known here: {known}.", known=", ".join(_names(row)))


def _names(row: type[Row]) -> list[str]:
    names = [field.alias or name for name, field in row.model_fields.items()]
    return [*names, *(f"{name}_file" for name in names_in_file(row))]


def names_in_file(row: type[Row]) -> list[str]:
    """The fields that may be in a file."""
    return [name for name, field in row.model_fields.items() if MAY_BE_IN_FILE in field.metadata]


def _declaration(model: type[Row], loc: _Loc) -> tuple[type[Row], Sequence[object]]:
    """The innermost model at a place, and the metadata of its field there."""
    metadata: Sequence[object] = ()
    for part in loc:
        field = next((field for name, field in model.model_fields.items() if part == (field.alias or name)), None)
        if field is not None:
            metadata = field.metadata
            model = _model_in(field.annotation) or model
        elif isinstance(part, int):
            metadata = ()
    return model, metadata


def _model_in(annotation: object) -> type[Row] | None:
    if isinstance(annotation, type) and issubclass(annotation, Row):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _place(tree: dict[str, Node], loc: _Loc) -> tuple[_Loc, Place]:
    """The names as written, and the place of the innermost part that exists.

    A secret may be in a file of its own, named by ``<name>_file``.
    """
    node: Any = tree
    found = list(loc)
    for index, part in enumerate(loc):
        if isinstance(node, Items) and isinstance(part, int):
            node = node[part]
        elif isinstance(node, dict) and (inner := node.get(f"{part}_file", node.get(str(part)))) is not None:
            node, found[index] = inner, inner.at.name
        else:
            break
    return tuple(found), node.at
