"""Proxies and aliases: the rows of the file of settings, and what each of their fields may be."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, ModelWrapValidatorHandler, SecretStr, ValidationInfo, model_validator

from exporter.sentences import pattern
from exporter.settings import validators
from exporter.settings.problems import ProblemsError, wrong
from exporter.settings.written import secret_in_file
from exporter.settings.yaml_rows import MAY_BE_IN_FILE, Missing, Row, names_in_file

ManagementKey = Annotated[SecretStr, BeforeValidator(validators.management_key)]
Secret = Annotated[SecretStr, BeforeValidator(validators.secret)]
_Shown = Annotated[str, BeforeValidator(validators.alias)]
IN_LOWER_CASE = BeforeValidator(validators.word)
"""Beside a type of a few words: capitals do not matter."""

Source = Annotated[Literal["queue", "subscribe"], IN_LOWER_CASE]
Quotas = Annotated[Literal["passive", "active"], IN_LOWER_CASE]


class SettingsRow(Row):
    """A mapping among the settings, where an empty value counts as missing, and a secret may be in a file.

    The context of validation is a dictionary of what the aliases have named so far, each with its place; rows that the
    program makes itself have none.
    """

    @model_validator(mode="before")
    @classmethod
    def _as_read(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        row = {name: node for name, node in data.items() if node != ""}
        for name in names_in_file(cls):
            if (file := row.pop(f"{name}_file", None)) is not None:
                try:
                    row[name] = secret_in_file(file, plain=row.get(name))
                except ProblemsError as error:  # which the field's validator raises
                    row[name] = wrong(error.problems[0].why, error.problems[0].fix)
        return row


class ProxySettings(SettingsRow):
    """One CPA server: its name (the label ``proxy``), its base URL without trailing slash, and its management key.

    ``quotas`` is EXPORTER_QUOTAS for this proxy alone.
    """

    name: Annotated[str, BeforeValidator(validators.proxy_name)]
    url: Annotated[str, BeforeValidator(validators.proxy_url)]
    management_key: Annotated[
        ManagementKey, MAY_BE_IN_FILE, Missing("It is missing.", "Add management_key or management_key_file.")
    ]
    source: Source = "queue"
    quotas: Quotas | None = None


class _AliasRow(SettingsRow):
    """The name shown for what exactly one of the other fields identifies."""

    ways: ClassVar[str]
    alias: Annotated[
        str, BeforeValidator(validators.alias), Missing("It is missing.", "Add alias, the name to be shown.")
    ]

    @model_validator(mode="wrap")
    @classmethod
    def _fits(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """Refuse a row for none or several, and one whose name, client or credential has occurred before."""
        row = handler(data)
        held = {name: value for name, value in row if value is not None}
        given = [name for name in held if name != "alias"]
        if len(given) != 1:
            why = f"It has {' and '.join(given)}." if given else "It does not say what it is for."
            raise wrong(why, f"Give exactly one of {cls.ways}.")
        if info.context is not None:
            for name, value in held.items():
                place = (data.get(name) or data[f"{name}_file"]).at
                same = value.get_secret_value().lower() if name == "email" else value  # an address has no case
                before = info.context.setdefault((cls, name, same), place)
                if before is not place:
                    why = pattern("The same {name} is already used by {place}.")
                    raise wrong(why, "Use each once.", name, name=name, place=str(before))
        return row


class ClientAlias(_AliasRow):
    """The name shown for the client that calls the proxy with ``key``, or that has the masked label ``label``."""

    ways = "key, key_file and label"
    key: Annotated[Secret | None, MAY_BE_IN_FILE] = None
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


class Aliases(SettingsRow):
    """Names shown instead of masked labels; unique among clients, and among credentials."""

    clients: tuple[ClientAlias, ...] = ()
    credentials: tuple[CredentialAlias, ...] = ()

    def secret_values(self) -> list[str]:
        """Every secret that identifies a client or credential."""
        secrets = [client.key for client in self.clients]
        secrets += [value for each in self.credentials for value in (each.key, each.email, each.file)]
        return [value.get_secret_value() for value in secrets if value is not None]
