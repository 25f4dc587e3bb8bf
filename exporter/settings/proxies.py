"""Proxies and aliases, the rows of the settings, and what each of their fields may be."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, SecretStr

from exporter.settings import validators
from exporter.settings.yaml_rows import Missing, Row

ManagementKey = Annotated[SecretStr, BeforeValidator(validators.management_key)]
Secret = Annotated[SecretStr, BeforeValidator(validators.secret)]
_Shown = Annotated[str, BeforeValidator(validators.alias)]
Source = Annotated[Literal["queue", "subscribe"], BeforeValidator(validators.choice("queue", "subscribe"))]
_Alias = Annotated[
    str, BeforeValidator(validators.alias), Missing("It is missing.", "Add alias, the name to be shown.")
]
Quotas = Literal["passive", "active"]
QuotasCheck = BeforeValidator(validators.choice("passive", "active"))


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
    quotas: Annotated[Quotas, QuotasCheck] | None = None


class ClientAlias(Row):
    """The name shown for the client that calls the proxy with ``key``, or that has the masked label ``label``."""

    key: Annotated[Secret | None, Missing("It is missing.", "Add key or key_file.", instead="key_file")] = None
    label: _Shown | None = None
    alias: _Alias


class CredentialAlias(Row):
    """The name shown for a credential of the proxy, which exactly one of the other fields identifies.

    ``key`` is the upstream API key, ``email`` the account's address, ``file`` the name of its file on the proxy,
    ``auth_index`` the proxy's own number for it, ``label`` its masked label.
    """

    key: Secret | None = None
    email: Secret | None = None
    file: Secret | None = None
    auth_index: _Shown | None = None
    label: _Shown | None = None
    alias: _Alias


class Aliases(Row):
    """Names shown instead of masked labels; unique among clients, and among credentials."""

    clients: tuple[ClientAlias, ...] = ()
    credentials: tuple[CredentialAlias, ...] = ()

    def secret_values(self) -> list[str]:
        """Every secret that identifies a client or credential."""
        secrets = [client.key for client in self.clients]
        secrets += [value for each in self.credentials for value in (each.key, each.email, each.file)]
        return [value.get_secret_value() for value in secrets if value is not None]
