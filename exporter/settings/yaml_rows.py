"""Our own YAML files as pydantic models. All mistakes are reported at once, each with its line and what to do.

A file is a ``Row`` whose fields are texts, mappings and lists of further rows. Pydantic finds the mistakes, and each
row puts its own into sentences. Validators get the text as written, so no YAML type or binary float gets in between.
"""

from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from exporter.sentences import pattern, say
from exporter.settings.problems import Problem, ProblemsError, did_you_mean, shown, wrong
from exporter.settings.yaml_values import Node, Place, Text, read_yaml

_Model = TypeVar("_Model", bound="Row")
_Loc = tuple[str | int, ...]

_FIXES = {
    "literal_error": pattern("Use {known}."),
    "enum": pattern("Use {known}."),
    "bool_parsing": pattern("Use true or false."),
    "int_parsing": pattern("Give a whole number."),
    "int_parsing_size": pattern("Give a whole number."),
    "greater_than_equal": pattern("Give {known} or more."),
    "less_than_equal": pattern("Give {known} or less."),
    "multiple_of": pattern("Give a multiple of {known}."),
}
"""What to do about a word or number, by pydantic's name of the error. The messages for numbers end with the bound."""


class Row(BaseModel):
    """A mapping in a file.

    ``hides_names``: an unknown name that resembles no other may be a key on the wrong side of the colon.
    """

    hides_names: ClassVar[bool] = False
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _explained(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            details = [
                InitErrorDetails(type=_in_sentences(each, cls, data), loc=each["loc"], input=None)
                for each in error.errors(include_url=False)
            ]
            raise ValidationError.from_exception_data(cls.__name__, details) from None


def read_rows(path: Path, model: type[_Model], *, setting: str, needs: str = "") -> _Model:
    """The content of a file. Raises ProblemsError with all that is wrong, in the order of its lines.

    ``setting`` is the setting that holds its path. ``needs`` is what an empty file is said to lack; by default it may
    be empty. The context of validators is a dictionary, in which rows note what later rows have to know.
    """
    tree = read_yaml(path, setting=setting)
    if needs and not tree:
        raise ProblemsError(tree.at.problem(say("{name} is missing.", name=needs), say("Add {known}.", known=needs)))
    try:
        return model.model_validate(tree, context={})
    except ValidationError as error:
        raise ProblemsError(*problems_of(error, tree, setting=setting)) from None


def problems_of(error: ValidationError, tree: dict[str, Node], *, setting: str = "") -> list[Problem]:
    """The mistakes that rows found in ``tree``, in the order of the lines of each origin.

    Without ``setting``, each problem names its own place, such as ``proxies[0].url``, as the setting.
    """
    found = []
    for each in error.errors(include_url=False):
        loc = (*each["loc"], *each["ctx"]["at"])
        at = _place(tree, loc)
        name = setting
        if not setting:
            loc = (tree[str(loc[0])].at.name, *loc[1:])
            name = _written((*loc[:-1], "unknown name") if each["type"] == "unknown" else loc)
        found.append((at, Problem(setting=name, place=str(at), why=each["ctx"]["why"], fix=each["ctx"]["fix"])))
    return [problem for at, problem in sorted(found, key=lambda each: (each[0].origin, each[0].line))]


def _written(loc: _Loc) -> str:
    """A place in a file as people write it: ``proxies[0].url``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


def _place(node: Any, loc: _Loc) -> Place:
    """The place of the innermost part that exists. A text has no parts, even if it stands for a list of one."""
    for part in loc:
        if isinstance(node, Text):
            break
        try:
            node = node[part]
        except (LookupError, TypeError):
            break
    return node.at  # type: ignore[no-any-return]


def _in_sentences(error: ErrorDetails, row: type[Row], data: Any) -> PydanticCustomError:
    """An error that pydantic found in the ``data`` of a row, turned into sentences."""
    name, given, known = _written(error["loc"]) or say("It"), error["input"], names_of(row)
    guess = did_you_mean(name.lower(), known)
    match error["type"]:
        case "setting" | "unknown" as kind:
            return PydanticCustomError(kind, "{why} {fix}", error["ctx"])
        case "missing":
            why, fix = pattern("{name} is missing."), pattern("Add {known}.")
            known = [each for each in known if each in {name, f"{name}_file"}]
        case "extra_forbidden" if name in known:
            why, fix = pattern("{name} is set too."), pattern("Set only one of the two.")
            other = data[name.removesuffix("_file")].at
            name = f"{other.name} ({other})"
        case "extra_forbidden" if guess or not row.hides_names:
            why, fix = pattern("{name} is unknown here."), guess or pattern("Known here: {known}.")
            name, known = shown(name), [", ".join(known)]
        case "extra_forbidden":
            said = wrong("A name is unknown here.", "docs/settings.md lists what there is.")
            return PydanticCustomError("unknown", "{why} {fix}", said.context)
        case "model_type" | "dict_type":
            why, fix = pattern("{name} is not a mapping."), pattern("Write one name: value a line.")
        case "too_short":
            why, fix = pattern("{name} is empty."), pattern("Add an entry, or remove the line.")
        case "tuple_type":
            why, fix = pattern("{name} is not a list."), pattern("Begin each entry with a dash.")
        case "string_too_long":
            why, fix = pattern("{value} is not accepted."), pattern("Give at most {known} characters.")
            known = [str(error["ctx"]["max_length"])]
        case kind if kind in {"string_type", "string_too_short"} or not isinstance(given, str):
            why, fix = pattern("{name} is not a single value."), pattern("Write one value there.")
        case "string_unicode":  # not shown: it may hold a password
            why, fix = pattern("{name} is not UTF-8 text."), pattern("Save it as UTF-8.")
        case kind:
            why, fix = pattern("{value} is not accepted."), _FIXES.get(kind, pattern("Give a number."))
            known = [error.get("ctx", {}).get("expected", error["msg"].rpartition(" ")[2])]
    some, _, last = " or ".join(known).rpartition(" or ")
    choice = say("{some} or {last}", some=some, last=last) if some else last
    return wrong(why, fix, name=name, value=shown(str(given)), known=choice)


def names_of(row: type[Row]) -> list[str]:
    """What the fields of a row are called in a file."""
    return [each for name, field in row.model_fields.items() for each in names_of_field(name, field)]


def names_of_field(name: str, field: FieldInfo) -> list[str]:
    alias = field.validation_alias or name
    return [str(each) for each in alias.choices] if isinstance(alias, AliasChoices) else [str(alias)]
