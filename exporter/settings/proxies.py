"""Proxies and aliases, the rows of the file of settings, and what each of their fields may be."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, ModelWrapValidatorHandler, SecretStr, ValidationInfo, model_validator

from exporter.sentences import pattern
from exporter.settings import validators
from exporter.settings.problems import ProblemsError, wrong
from exporter.settings.validators import RawValue, secret_in_file
from exporter.settings.yaml_file import Items, Mapping, Node, Text
from exporter.settings.yaml_rows import Missing, Row

ManagementKey = Annotated[SecretStr, BeforeValidator(validators.management_key)]
Secret = Annotated[SecretStr, BeforeValidator(validators.secret)]
_Shown = Annotated[str, BeforeValidator(validators.alias)]
IN_LOWER_CASE = BeforeValidator(validators.word)
"""Beside a type of a few words: capitals do not matter."""

Source = Annotated[Literal["queue", "subscribe"], IN_LOWER_CASE]
Quotas = Annotated[Literal["passive", "active"], IN_LOWER_CASE]


class _FileRow(Row):
    """A mapping in the file of settings, where an empty value counts as missing.

    The context of validation is the ``ConfigFile``; rows that the program makes itself have none.
    """

    @model_validator(mode="before")
    @classmethod
    def _as_read(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, Mapping):
            return data
        row: dict[str, Any] = {name: node for name, node in data.items() if node != ""}
        name, config = cls.in_file, info.context
        if name and f"{name}_file" in row and isinstance(config, ConfigFile):
            try:
                file = config.raw_value(f"{name}_file", row.pop(f"{name}_file"))
                plain = config.raw_value(name, row[name]) if name in row else None
                row[name] = secret_in_file(file, plain=plain).text
            except ProblemsError as error:  # which the field's validator raises
                row[name] = wrong(error.problems[0].why, error.problems[0].fix)
        return row


class ProxySettings(_FileRow):
    """One CPA server: its name (the label ``proxy``), its base URL without trailing slash, and its management key.

    ``quotas`` is EXPORTER_QUOTAS for this proxy alone.
    """

    in_file = "management_key"
    name: Annotated[str, BeforeValidator(validators.proxy_name)]
    url: Annotated[str, BeforeValidator(validators.proxy_url)]
    management_key: Annotated[ManagementKey, Missing("It is missing.", "Add management_key or management_key_file.")]
    source: Source = "queue"
    quotas: Quotas | None = None

    @model_validator(mode="wrap")
    @classmethod
    def _collect(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        proxy = handler(data)
        if isinstance(info.context, ConfigFile):
            info.context.proxies.append((proxy, info.context.place(data)))
        return proxy


class _AliasRow(_FileRow):
    """The name shown for what exactly one of the other fields identifies."""

    ways: ClassVar[str]
    alias: Annotated[
        str, BeforeValidator(validators.alias), Missing("It is missing.", "Add alias, the name to be shown.")
    ]

    @model_validator(mode="wrap")
    @classmethod
    def _fits(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """Refuse a row for none or several, and one whose name, client or credential has occurred before."""
        row, config = handler(data), info.context
        held = {name: value for name, value in row if value is not None}
        given = [name for name in held if name != "alias"]
        if len(given) != 1:
            why = f"It has {' and '.join(given)}." if given else "It does not say what it is for."
            raise wrong(why, f"Give exactly one of {cls.ways}.")
        if isinstance(config, ConfigFile):
            for name, value in held.items():
                place = config.place(data.get(name) or data[f"{name}_file"])
                before = config.seen.setdefault((cls, name, value), place)
                if before is not place:
                    why = pattern("The same {name} is already used by {place}.")
                    raise wrong(why, "Use each once.", name, name=name, place=before)
        return row


class ClientAlias(_AliasRow):
    """The name shown for the client that calls the proxy with ``key``, or that has the masked label ``label``."""

    ways = "key, key_file and label"
    in_file = "key"
    key: Secret | None = None
    label: _Shown | None = None


class CredentialAlias(_AliasRow):
    """The name shown for a credential of the proxy.

    ``key`` is the upstream API key, ``email`` the account's address, ``file`` the name of its file on the proxy,
    ``auth_index`` the proxy's own number for it, ``label`` its masked label.
    """

    ways = "key, email, file, auth_index and label"
    key: Secret | None = None
    email: Secret | None = None
    file: Secret | None = None
    auth_index: _Shown | None = None
    label: _Shown | None = None


class Aliases(_FileRow):
    """Names shown instead of masked labels; unique among clients, and among credentials."""

    clients: tuple[ClientAlias, ...] = ()
    credentials: tuple[CredentialAlias, ...] = ()

    def secret_values(self) -> list[str]:
        """Every secret that identifies a client or credential."""
        secrets = [client.key for client in self.clients]
        secrets += [value for each in self.credentials for value in (each.key, each.email, each.file)]
        return [value.get_secret_value() for value in secrets if value is not None]


PlacedProxy = tuple[ProxySettings, str]
"""A proxy and the place where it was configured."""


@dataclass(kw_only=True)
class ConfigFile:
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
