"""Proxies and aliases in the YAML file, and what each of their fields may be."""

from typing import Annotated, Any, Self

from pydantic import Field, ModelWrapValidatorHandler, SecretStr, ValidationInfo, model_validator

from exporter.settings import kinds
from exporter.settings.kinds import PRINTABLE, Secret, or_file
from exporter.settings.problems import wrong
from exporter.settings.yaml_rows import Row, names_of
from exporter.settings.yaml_values import Place

_Shown = Annotated[str, Field(max_length=100), PRINTABLE]


class SettingsRow(Row):
    """A mapping among the settings, where an empty value counts as missing.

    The context of validation is a dictionary of what earlier rows have named, each with its place; rows that the
    program makes itself have none.
    """

    hides_names = True

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, data: Any) -> Any:
        return {name: node for name, node in data.items() if node != ""} if isinstance(data, dict) else data

    def secret_values(self) -> list[str]:
        """Every secret in this row and in the rows within it, for ``exporter.logs.add_secrets``. Handle with care."""
        values = [each for _, value in self for each in (value if isinstance(value, tuple) else (value,))]
        rows = [secret for each in values if isinstance(each, SettingsRow) for secret in each.secret_values()]
        return [each.get_secret_value() for each in values if isinstance(each, SecretStr)] + rows

    @classmethod
    def _once(cls, name: str, value: object, at: Place, seen: dict[object, Place]) -> None:
        """Refuse a value that an earlier row has, too."""
        if (before := seen.setdefault((cls, name, value), at)) is not at:
            values = {"name": name, "place": str(before)}
            raise wrong("Another one has the same {name} ({place}).", "Use each once.", at.name, **values)


class ProxySettings(SettingsRow):
    """One CPA server: its name (the label ``proxy``), its base URL without trailing slash, and its management key.

    ``quotas`` is EXPORTER_QUOTAS for this proxy alone.
    """

    name: kinds.ProxyName
    url: kinds.ProxyUrl
    management_key: kinds.ManagementKey = Field(validation_alias=or_file("management_key"))
    source: kinds.Source = "queue"
    quotas: kinds.Quotas | None = None

    @model_validator(mode="wrap")
    @classmethod
    def _differs(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """Refuse a name or a server that an earlier row has: a queue can have only one reader."""
        row = handler(data)
        if info.context is not None:
            cls._once("name", row.name, data["name"].at, info.context)
            cls._once("url", kinds.same_server(row.url), data["url"].at, info.context)
        return row


class _AliasRow(SettingsRow):
    """The name shown for a client or credential, which exactly one of the other fields identifies."""

    alias: _Shown

    @model_validator(mode="wrap")
    @classmethod
    def _fits(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """Refuse a row that identifies nothing or several things, or repeats an alias, client or credential."""
        row = handler(data)
        held = {name: value for name, value in row if value is not None}
        given = [name for name in held if name != "alias"]
        if len(given) != 1:
            why = f"It has {' and '.join(given)}." if given else "It does not say what it is for."
            raise wrong(why, f"Give exactly one of: {', '.join(names_of(cls)[1:])}.")
        if info.context is not None:
            for name, value in held.items():
                same = value.get_secret_value().lower() if name == "email" else value  # an address has no case
                cls._once(name, same, (data.get(name) or data[f"{name}_file"]).at, info.context)
        return row


class ClientAlias(_AliasRow):
    """The name shown for the client that calls the proxy with ``key``, or that has the masked name ``label``."""

    key: Secret | None = Field(None, validation_alias=or_file("key"))
    label: _Shown | None = None


class CredentialAlias(_AliasRow):
    """The name shown for a credential of the proxy.

    ``key`` is the upstream API key, ``email`` the account's address, ``file`` the name of its file on the proxy,
    ``auth_index`` the proxy's own number for it, ``label`` its masked name.
    """

    key: Secret | None = None
    email: Secret | None = None
    file: Secret | None = None
    auth_index: _Shown | None = None
    label: _Shown | None = None


class Aliases(SettingsRow):
    """Names shown instead of masked names; unique among clients, and among credentials."""

    clients: tuple[ClientAlias, ...] = ()
    credentials: tuple[CredentialAlias, ...] = ()
