"""What the names in the YAML file mean: the settings of the environment in lower case, the proxies, and the aliases."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from exporter.settings.introspection import Declared, declared
from exporter.settings.problems import Problem, ProblemsError, wrong
from exporter.settings.proxies import Aliases, ClientAlias, CredentialAlias, ProxySettings
from exporter.settings.sources import RawValue, one_secret
from exporter.settings.yaml_file import Items, Mapping, Node, Text, read_yaml
from exporter.settings.yaml_rows import Row, problems_of, unknown_setting

PlacedProxy = tuple[ProxySettings, str]
"""A proxy and the place where it was configured."""


@dataclass(frozen=True, kw_only=True)
class YamlSettings:
    """The content of the file. ``given`` is by name in the environment."""

    given: dict[str, RawValue] = field(default_factory=dict)
    proxies: list[PlacedProxy] = field(default_factory=list)
    aliases: Aliases = field(default_factory=Aliases)
    problems: list[Problem] = field(default_factory=list)


def read_settings(path: Path) -> YamlSettings:
    """The settings in the file ``path``. Paths in it are relative to its directory."""
    try:
        tree = read_yaml(path, setting="EXPORTER_CONFIG")
    except ProblemsError as error:
        return YamlSettings(problems=list(error.problems))
    reading = _Reading(file=path.name, base=path.parent)
    settings = {name.lower(): setting for setting in declared() for name in setting.names}
    given: dict[str, RawValue] = {}
    problems: list[Problem] = []
    for name, node in tree.items():
        if name in _Rows.model_fields:
            continue
        place = f"{path.name}:{tree.key_lines[name]}"
        label, why, fix = name, "", ""
        if name not in settings:
            label, why, fix = unknown_setting(name, (*settings, *_Rows.model_fields))
        elif not settings[name].in_yaml:
            why, fix = "It cannot be set in this file.", f"Set {name.upper()} in the environment."
        elif (text := _text_of(node, settings[name])) is None:
            why, fix = "It is not a single value.", f"Write it as {name}: value."
        elif text:
            given[name.upper()] = RawValue(name=name, text=text, place=place, base=path.parent)
        if why:
            problems.append(Problem(setting=label, place=place, why=why, fix=fix))
    aliases = Aliases()
    try:
        rows = _Rows.model_validate({name: tree[name] for name in tree if name in _Rows.model_fields}, context=reading)
        aliases = Aliases(clients=rows.aliases.clients, credentials=rows.aliases.credentials)
    except ValidationError as error:
        problems += problems_of(error, tree, _Rows, file=path.name)
    return YamlSettings(given=given, proxies=reading.proxies, aliases=aliases, problems=problems)


def read_aliases(path: Path) -> Aliases:
    """The aliases in a file of settings. Raises ProblemsError with all that is wrong with the file."""
    read = read_settings(path)
    if read.problems:
        raise ProblemsError(*read.problems)
    return read.aliases


def _text_of(node: Node, setting: Declared) -> str | None:
    """The text of a setting, a list as the environment would have it. None if it is neither."""
    if isinstance(node, Items) and setting.is_list and all(isinstance(item, Text) and item for item in node):
        return ",".join(map(str, node))
    return str(node) if isinstance(node, Text) else None


# --- proxies and aliases ----------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class _Reading:
    """The file being read, its valid proxies, and what its aliases have named so far, each with its place."""

    file: str
    base: Path
    proxies: list[PlacedProxy] = field(default_factory=list)
    seen: dict[object, str] = field(default_factory=dict)

    def place(self, line: int) -> str:
        return f"{self.file}:{line}"


_AnAlias = TypeVar("_AnAlias", ClientAlias, CredentialAlias)
_WAYS = {
    ClientAlias: ("client", "key, key_file and label"),
    CredentialAlias: ("credential", "key, email, file, auth_index and label"),
}


def _without_empty(value: object) -> object:
    return {name: node for name, node in value.items() if node != ""} if isinstance(value, Mapping) else value


def _with_secret(name: str) -> BeforeValidator:
    """Replace the field ``<name>_file`` by the secret in the file, or by the error that says why it is unreadable."""

    def read(value: Any, info: ValidationInfo) -> object:
        row, reading = _without_empty(value), cast("_Reading", info.context)
        if not isinstance(row, dict) or f"{name}_file" not in row:
            return row
        others = {field: node for field, node in row.items() if field != f"{name}_file"}
        if not all(isinstance(row[each], Text) for each in (name, f"{name}_file") if each in row):
            return others | {name: wrong("It is not a single value.", f"Write it as {name}_file: value.")}
        plain, file = (
            RawValue(name=each, text=row[each], place=reading.place(value.key_lines[each]), base=reading.base)
            if each in row
            else None
            for each in (name, f"{name}_file")
        )
        try:
            secret = one_secret(plain, file)
        except ProblemsError as error:
            return others | {name: wrong(error.problems[0].why, error.problems[0].fix)}
        return others | {name: secret and secret.text}

    return BeforeValidator(read)


def _collect(value: object, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> ProxySettings:
    proxy, reading = cast("ProxySettings", validate(value)), cast("_Reading", info.context)
    reading.proxies.append((proxy, reading.place(cast("Mapping", value).line)))
    return proxy


def _unique(value: object, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> object:
    """Refuse an alias if its name, client or credential has occurred before."""
    row, reading = validate(value), cast("_Reading", info.context)
    lines = cast("Mapping", value).key_lines
    for name, held in row:
        if held is None:
            continue
        place = reading.place(lines.get(name) or lines[f"{name}_file"])
        before = reading.seen.setdefault((type(row), name, held), place)
        if before is not place:
            raise wrong(f"The same {name} is already used by {before}.", "Use each once.", name)
    return row


def _names_one(alias: _AnAlias) -> _AnAlias:
    given = [name for name, held in alias if held is not None and name != "alias"]
    if len(given) != 1:
        what, ways = _WAYS[type(alias)]
        raise wrong(
            f"It has {' and '.join(given)}." if given else f"It does not say which {what} it is for.",
            f"Give exactly one of {ways}.",
        )
    return alias


def _empty_is_none(value: object) -> object:
    return {} if value == "" else value


def _refuse_empty(value: object) -> object:
    if value in ("", []):
        raise wrong("The list is empty.", "Add a proxy, or remove the line.")
    return value


_Proxy = Annotated[ProxySettings, _with_secret("management_key"), WrapValidator(_collect)]
_Client = Annotated[ClientAlias, _with_secret("key"), AfterValidator(_names_one), WrapValidator(_unique)]
_Credential = Annotated[
    CredentialAlias, BeforeValidator(_without_empty), AfterValidator(_names_one), WrapValidator(_unique)
]


class _Aliases(Row):
    clients: tuple[_Client, ...] = ()
    credentials: tuple[_Credential, ...] = ()


class _Rows(Row):
    proxies: Annotated[tuple[_Proxy, ...], BeforeValidator(_refuse_empty)] = ()
    aliases: Annotated[_Aliases, BeforeValidator(_without_empty), BeforeValidator(_empty_is_none)] = _Aliases()
