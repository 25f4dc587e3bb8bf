"""Proxies and aliases, the rows of the settings, and what each of their fields may be."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, SecretStr, model_validator

from exporter.settings import validators
from exporter.settings.problems import wrong
from exporter.settings.yaml_rows import Missing, Row

ManagementKey = Annotated[SecretStr, BeforeValidator(validators.management_key)]
Secret = Annotated[SecretStr, BeforeValidator(validators.secret)]
_Shown = Annotated[str, BeforeValidator(validators.alias)]
IN_LOWER_CASE = BeforeValidator(validators.word)
"""Beside a type of a few words: capitals do not matter."""

Source = Annotated[Literal["queue", "subscribe"], IN_LOWER_CASE]
Quotas = Annotated[Literal["passive", "active"], IN_LOWER_CASE]


class ProxySettings(Row):
    """One CPA server: its name (the label ``proxy``), its base URL without trailing slash, and its management key.

    ``quotas`` is EXPORTER_QUOTAS for this proxy alone.
    """

    name: Annotated[str, BeforeValidator(validators.proxy_name)]
    url: Annotated[str, BeforeValidator(validators.proxy_url)]
    management_key: Annotated[
        ManagementKey,
        Missing("It is missing.", "Add management_key or management_key_file.", instead="management_key_file"),
    ]
    source: Source = "queue"
    quotas: Quotas | None = None


class _AliasRow(Row):
    """The name shown for what exactly one of the other fields identifies."""

    ways: ClassVar[str]
    alias: Annotated[
        str, BeforeValidator(validators.alias), Missing("It is missing.", "Add alias, the name to be shown.")
    ]

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        given = [name for name, held in self if held is not None and name != "alias"]
        if len(given) != 1:
            why = f"It has {' and '.join(given)}." if given else "It does not say what it is for."
            raise wrong(why, f"Give exactly one of {self.ways}.")
        return self


class ClientAlias(_AliasRow):
    """The name shown for the client that calls the proxy with ``key``, or that has the masked label ``label``."""

    ways = "key, key_file and label"
    key: Annotated[Secret | None, Missing("It is missing.", "Add key or key_file.", instead="key_file")] = None
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


class Aliases(Row):
    """Names shown instead of masked labels; unique among clients, and among credentials."""

    clients: tuple[ClientAlias, ...] = ()
    credentials: tuple[CredentialAlias, ...] = ()

    def secret_values(self) -> list[str]:
        """Every secret that identifies a client or credential."""
        secrets = [client.key for client in self.clients]
        secrets += [value for each in self.credentials for value in (each.key, each.email, each.file)]
        return [value.get_secret_value() for value in secrets if value is not None]
