"""The labels under which clients and credentials are shown.

Stored is a number, shown is a label: the user's alias where there is one, else the masked label that was made when it
was first met. So an alias can come, change and go without splitting a total.
"""

import threading
from typing import NamedTuple

from exporter.ledger.label_store import LabelStore
from exporter.normalize.pseudonyms import Pseudonym
from exporter.settings.model import Aliases, CredentialAlias


class RouteLabels(NamedTuple):
    """The labels of a route: the names that the metrics have for them, and their values."""

    proxy: str
    provider: str
    model: str


class SeriesLabels(NamedTuple):
    """The labels of a series, as ``RouteLabels``."""

    proxy: str
    provider: str
    model: str
    credential: str
    client: str


class CredentialLabels(NamedTuple):
    """The labels of a credential, as ``RouteLabels``."""

    proxy: str
    credential: str
    provider: str


class Labels:
    """Looks up shown labels. ``version`` rises whenever one that was given out may have changed."""

    def __init__(self, dictionary: LabelStore, aliases: Aliases, pseudonym: Pseudonym) -> None:
        self._dictionary = dictionary
        self._client_aliases = {pseudonym(alias.key.get_secret_value()): alias.alias for alias in aliases.clients}
        self._credential_aliases = [(*_handle(alias, pseudonym), alias.alias) for alias in aliases.credentials]
        self._lock = threading.Lock()
        self._seen = -1
        self._proxies: dict[int, str] = {}
        self._credentials: dict[int, str] = {}
        self._clients: dict[int, str] = {}

    @property
    def version(self) -> int:
        return self._dictionary.labels_version

    def proxy(self, id_: int) -> str:
        """The name of a proxy."""
        if id_ not in self._proxies:
            self._proxies = {id_: name for name, id_ in self._dictionary.proxies.items()}
        return self._proxies[id_]

    def route(self, id_: int) -> RouteLabels:
        """The labels of a route."""
        found = self._dictionary.routes[id_]
        return RouteLabels(proxy=self.proxy(found.proxy), provider=found.provider, model=found.model)

    def series(self, id_: int) -> SeriesLabels:
        """The labels of a series."""
        found = self._dictionary.series[id_]
        return SeriesLabels(
            *self.route(found.route), credential=self.credential(found.credential), client=self.client(found.client)
        )

    def client(self, id_: int) -> str:
        """The label of a client."""
        self._refresh()
        return self._clients.get(id_) or self._dictionary.clients[id_]

    def client_called(self, alias: str) -> str | None:
        """The pseudonym of the client that the configuration calls ``alias``."""
        return next((pseudonym for pseudonym, known in self._client_aliases.items() if known == alias), None)

    def credential(self, id_: int) -> str:
        """The label of a credential, or of the one that it turned out to be."""
        self._refresh()
        found = self._dictionary.resolved(id_)
        return self._credentials.get(found.id) or found.label

    def _refresh(self) -> None:
        with self._lock:
            version = self._dictionary.labels_version
            if version == self._seen:
                return
            self._clients = {
                id_: alias
                for pseudonym, alias in self._client_aliases.items()
                if (id_ := self._dictionary.client_with(pseudonym)) is not None
            }
            self._credentials = self._aliased_credentials()
            self._seen = version

    def _aliased_credentials(self) -> dict[int, str]:
        labels: dict[int, str] = {}
        for kind, value, alias in self._credential_aliases:
            found = self._dictionary.credentials_with(kind, value)
            for credential in found:
                # One person has several accounts: joins on (proxy, credential) must stay unique. One that the proxy
                # lists no more gives way.
                others = [
                    other
                    for other in found
                    if other.proxy == credential.proxy
                    and other.id != credential.id
                    and (credential.retired or not other.retired)
                ]
                if not others:
                    labels[credential.id] = alias
                elif all(other.provider != credential.provider for other in others):
                    labels[credential.id] = f"{alias}-{credential.provider}"
                else:
                    labels[credential.id] = f"{alias}-{credential.label}"
        return labels


def _handle(alias: CredentialAlias, pseudonym: Pseudonym) -> tuple[str, str]:
    for kind, secret in (("key", alias.key), ("email", alias.email), ("file", alias.file)):
        if secret is not None:
            return kind, pseudonym(secret.get_secret_value())
    return "auth_index", alias.auth_index or ""
