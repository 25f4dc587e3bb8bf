"""What the names in the YAML file mean: the settings of the environment in lower case, the proxies, and the aliases."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, ValidationError, ValidationInfo, ValidatorFunctionWrapHandler, WrapValidator

from exporter.settings.model import declared
from exporter.settings.problems import Problem, ProblemsError, wrong
from exporter.settings.proxies import Aliases, ClientAlias, CredentialAlias, ProxySettings
from exporter.settings.sources import Loaded, RawValue, secret_in_file
from exporter.settings.yaml_file import Items, Mapping, Node, Text, read_yaml
from exporter.settings.yaml_rows import Row, problems_of, unknown_setting

PlacedProxy = tuple[ProxySettings, str]
"""A proxy and the place where it was configured."""


@dataclass(kw_only=True)
class YamlSettings:
    """The content of the file ``path``, as far as it is right. Paths in it are relative to its directory.

    ``given`` is by name in the environment; ``seen`` is what the aliases have named so far, each with its place.
    """

    path: Path
    given: dict[str, RawValue] = field(default_factory=dict)
    proxies: list[PlacedProxy] = field(default_factory=list)
    aliases: Aliases = field(default_factory=Aliases)
    seen: dict[object, str] = field(default_factory=dict)

    def place(self, node: Node) -> str:
        """Where something stands, for people."""
        return f"{self.path.name}:{node.line}"

    def raw_value(self, name: str, node: Node, *, is_list: bool = False) -> RawValue:
        """The value of ``name``, a list as the environment would have it. Raises ProblemsError if it is not a value."""
        joined = is_list and isinstance(node, Items)
        text = ",".join(map(str, node)) if joined else str(node)
        value = RawValue(name=name, text=text, place=self.place(node), base=self.path.parent)
        if not joined and not isinstance(node, Text):
            raise ProblemsError(value.problem("It is not a single value.", f"Write it as {name}: value."))
        return value


def read_settings(path: Path, loaded: Loaded) -> YamlSettings:
    """The settings in the file ``path``."""
    read = YamlSettings(path=path)
    try:
        tree = read_yaml(path, setting="EXPORTER_CONFIG")
    except ProblemsError as error:
        loaded.problems += error.problems
        return read
    settings = {name.lower(): setting for setting in declared() for name in setting.names}
    for name, node in tree.items():
        if name in _Rows.model_fields:
            continue
        label, why, fix = name, "It cannot be set in this file.", f"Set {name.upper()} in the environment."
        if name not in settings:
            label, why, fix = unknown_setting(name, (*settings, *_Rows.model_fields))
        if name not in settings or not settings[name].in_yaml:
            loaded.problems.append(Problem(setting=label, place=read.place(node), why=why, fix=fix))
            continue
        try:
            value = read.raw_value(name, node, is_list=settings[name].is_list)
        except ProblemsError as error:
            loaded.problems += error.problems
        else:
            if value.text:
                read.given[name.upper()] = value
    try:
        rows = _Rows.model_validate({name: tree[name] for name in tree if name in _Rows.model_fields}, context=read)
        read.aliases = Aliases(**dict(rows.aliases))  # equal to those from elsewhere
    except ValidationError as error:
        loaded.problems += problems_of(error, tree, _Rows, file=path.name)
    return read


def read_aliases(path: Path) -> Aliases:
    """The aliases in a file of settings. Raises ProblemsError with all that is wrong with the file."""
    loaded = Loaded()
    read = read_settings(path, loaded)
    if loaded.problems:
        raise ProblemsError(*loaded.problems)
    return read.aliases


# --- proxies and aliases ----------------------------------------------------------------------------------------------


def _without_empty(value: object) -> Any:
    return {name: node for name, node in value.items() if node != ""} if isinstance(value, Mapping) else value


def _with_secret(name: str) -> BeforeValidator:
    """Replace the field ``<name>_file`` by the secret in the file, or by the error that says why it is unreadable."""

    def read(value: object, info: ValidationInfo) -> object:
        row, settings = _without_empty(value), cast("YamlSettings", info.context)
        if isinstance(row, dict) and f"{name}_file" in row:
            try:
                file = settings.raw_value(f"{name}_file", row.pop(f"{name}_file"))
                plain = settings.raw_value(name, row[name]) if name in row else None
                row[name] = secret_in_file(file, plain=plain).text
            except ProblemsError as error:
                row[name] = wrong(error.problems[0].why, error.problems[0].fix)
        return row

    return BeforeValidator(read)


def _collect(value: object, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> ProxySettings:
    proxy, read = cast("ProxySettings", validate(value)), cast("YamlSettings", info.context)
    read.proxies.append((proxy, read.place(cast("Mapping", value))))
    return proxy


def _unique(value: object, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> object:
    """Refuse an alias if its name, client or credential has occurred before."""
    row, read, nodes = validate(value), cast("YamlSettings", info.context), cast("Mapping", value)
    for name, held in row:
        if held is None:
            continue
        place = read.place(nodes.get(name) or nodes[f"{name}_file"])
        before = read.seen.setdefault((type(row), name, held), place)
        if before is not place:
            raise wrong("The same {name} is already used by {place}.", "Use each once.", name, name=name, place=before)
    return row


def _empty_is_none(value: object) -> object:
    return {} if value == "" else value


def _refuse_empty(value: object) -> object:
    if value in ("", []):
        raise wrong("The list is empty.", "Add a proxy, or remove the line.")
    return value


_Proxy = Annotated[ProxySettings, _with_secret("management_key"), WrapValidator(_collect)]
_Client = Annotated[ClientAlias, _with_secret("key"), WrapValidator(_unique)]
_Credential = Annotated[CredentialAlias, BeforeValidator(_without_empty), WrapValidator(_unique)]


class _Aliases(Aliases):
    clients: tuple[_Client, ...] = ()
    credentials: tuple[_Credential, ...] = ()


class _Rows(Row):
    proxies: Annotated[tuple[_Proxy, ...], BeforeValidator(_refuse_empty)] = ()
    aliases: Annotated[_Aliases, BeforeValidator(_without_empty), BeforeValidator(_empty_is_none)] = _Aliases()
