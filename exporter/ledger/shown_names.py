"""The names under which clients and credentials are shown.

The ledger stores numbers; a name is looked up when it is shown: the user's alias, or else the masked name, which is
made when the ledger first meets it. So aliases can be added, changed and removed while the program runs, and no total
splits.
"""

import threading
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import structlog
from pydantic import SecretStr

from exporter.ledger.credential_store import MASKED, Credential
from exporter.ledger.labels import SeriesLabels
from exporter.ledger.name_store import ANONYMOUS, OTHER, NameStore
from exporter.ledger.views.totals import Attempts, Totals
from exporter.logs import add_secrets
from exporter.normalize.inventory import Account
from exporter.normalize.pseudonyms import NearestPseudonym, Pseudonym
from exporter.sentences import say
from exporter.settings.load import read_aliases
from exporter.settings.problems import nearest
from exporter.settings.proxies import Aliases, ClientAlias, CredentialAlias
from exporter.settings.watched import WatchedFile
from exporter.sources.proxy_status import ProxyStatus

_log = structlog.get_logger("exporter.labels")


class CredentialLabels(NamedTuple):
    """The labels of a credential. Fields are named like the metrics' labels."""

    proxy: str
    credential: str
    provider: str


class Alias(NamedTuple):
    """An alias and whom it is for.

    ``kind`` is the field of the settings that says so, and ``given`` its value; ``value`` is the same, or a secret's
    pseudonym.
    """

    kind: str
    value: str
    given: str | SecretStr
    alias: str


class Misfit(NamedTuple):
    """An alias that names nothing known so far, or several credentials of one proxy, shown as ``names``.

    If it names nothing, ``names`` has the name of the nearest match, if there is one.
    """

    alias: str
    several: bool
    names: tuple[str, ...]


class ShownNames:
    """Looks up shown names. ``version`` rises whenever one of them may have changed.

    ``file_problem`` is a sentence if the last edit of the aliases' file is not in use, else empty; ``misfits`` is what
    ``note_misfits`` found last.
    """

    def __init__(
        self,
        name_store: NameStore,
        aliases: Aliases,
        pseudonym: Pseudonym,
        *,
        file: Path | None = None,
        nearest_pseudonym: NearestPseudonym = lambda *_: "",
    ) -> None:
        """``file`` holds the aliases, and is read again when it changes. Raises SettingsError if it cannot be read."""
        self._name_store = name_store
        self._pseudonym = pseudonym
        self._nearest_pseudonym = nearest_pseudonym
        self._file: WatchedFile[Aliases] | None = (
            WatchedFile(file, read_aliases, kind=say("configuration file"), name=say("aliases"), size=_size)
            if file
            else None
        )
        self.file_problem = ""
        self.misfits: tuple[Misfit, ...] = ()
        self._lock = threading.Lock()
        self._taken = 0
        self._seen = -1
        self._credentials: dict[int, str] = {}
        self._clients: dict[int, str] = {}
        self._take(aliases)

    @property
    def version(self) -> int:
        return self._name_store.names_version + self._taken

    def reload(self, *, now: bool = False) -> None:
        """Use the file's aliases if the file has changed, or ``now``."""
        if self._file is None or not self._file.reload(now=now):
            return
        self.file_problem = self._file.problem
        if not self.file_problem:
            self._take(self._file.content)

    def _take(self, aliases: Aliases) -> None:
        add_secrets(aliases.secret_values())
        clients = [_handle(each, self._pseudonym) for each in aliases.clients]
        credentials = [_handle(each, self._pseudonym) for each in aliases.credentials]
        with self._lock:
            self._client_aliases, self._credential_aliases = clients, credentials
            self._taken += 1

    def series(self, id_: int) -> SeriesLabels:
        found = self._name_store.series[id_]
        route = self._name_store.routes[found.route]
        return SeriesLabels(*route, credential=self.credential(found.credential), client=self.client(found.client))

    def client(self, id_: int) -> str:
        self._refresh()
        return self._clients.get(id_) or self._name_store.clients[id_]

    def credential(self, id_: int) -> str:
        """The name of a credential, or of the one it was merged into."""
        self._refresh()
        found = self._name_store.resolved(id_)
        return self._credentials.get(found.id) or found.masked

    def accounts(
        self, statuses: Iterable[ProxyStatus], *, now_ms: float
    ) -> Iterator[tuple[CredentialLabels, int, Account]]:
        """The credentials of the last inventories, with their ids.

        Of several logins of an account, which have the same labels, one that works counts, else one that is not
        disabled. A key may have several ``auth_index``.
        """
        known: set[tuple[CredentialLabels, str]] = set()
        for status in statuses:
            for id_, account in sorted(status.accounts, key=lambda each: (not each[1].is_up(now_ms), each[1].disabled)):
                key = CredentialLabels(status.name, self.credential(id_), account.facts.provider)
                login = key, account.auth_index if account.is_up(now_ms) is None else ""
                if login not in known:
                    known.add(login)
                    yield key, id_, account

    def attempts(self, totals: Totals, *, hidden: Collection[object] = ()) -> dict[CredentialLabels, Attempts]:
        """The proxies' own counts of attempts: those of merged credentials are added up, ``hidden`` ids count as 0."""
        sums: dict[CredentialLabels, Attempts] = {}
        with totals.lock:
            for id_, count in totals.attempts.items():
                credential = self._name_store.resolved(id_)
                proxy = self._name_store.proxy_names[credential.proxy]
                key = CredentialLabels(proxy, self.credential(id_), credential.provider)
                sum_ = sums.setdefault(key, Attempts(success=0, failed=0))
                if id_ not in hidden:
                    sum_.success += count.success
                    sum_.failed += count.failed
        return sums

    def aliases_of_clients(self) -> dict[str, str]:
        """The aliases of clients, met or not, by pseudonym."""
        return {pseudonym: each.alias for each, pseudonym in self._of_whom() if pseudonym is not None}

    def credential_has_alias(self, names: Collection[tuple[str, str]]) -> bool:
        """Whether an alias is for a credential, met or not, that has one of these (kind, name) pairs."""
        return any((each.kind, each.value) in names for each in self._credential_aliases)

    @property
    def without_alias(self) -> bool:
        """Whether any client in use, or any credential that is listed or in use, is shown under its masked name."""
        self._refresh()
        store, masked = self._name_store, {ANONYMOUS, OTHER}
        used = list(store.series.values())
        listed = [id_ for id_, each in list(store.credentials.items()) if not each.gone]
        return any(
            each.client not in self._clients and store.clients[each.client] not in masked for each in used
        ) or any(
            (found := store.resolved(id_)).id not in self._credentials and found.long_name != OTHER
            for id_ in {*listed, *(each.credential for each in used)}
        )

    def find_misfits(self) -> tuple[Misfit, ...]:
        """Find the aliases that name nothing or several; none before anything was met."""
        return (*self._of_credentials(), *self._of_clients())

    def note_misfits(self) -> None:
        """Look for misfits, and log each once."""
        before, self.misfits = self.misfits, self.find_misfits()
        for each in self.misfits:
            if each not in before:
                event = "alias_names_several" if each.several else "alias_names_nothing"
                names = {"shown" if each.several else "nearest": ", ".join(each.names)}
                _log.warning(event, alias=each.alias, **names)

    def _of_credentials(self) -> Iterator[Misfit]:
        name_store = self._name_store
        for each in self._credential_aliases if name_store.credentials else ():
            found = name_store.credentials_with(each.kind, each.value)
            rivals = [one for one in found if not one.retired and _rivals(one, found)]
            if rivals or not found:
                like = "" if found else self._nearest(each, name_store.called(each.kind))
                shown = rivals or name_store.credentials_with(each.kind, like)
                yield Misfit(each.alias, bool(rivals), tuple(sorted(self.credential(one.id) for one in shown)))

    def _of_clients(self) -> Iterator[Misfit]:
        clients = self._name_store.clients_by_pseudonym()
        for each, pseudonym in self._of_whom() if clients else ():
            if pseudonym not in clients:
                known = set(clients.values()) if each.kind == MASKED else clients.keys()
                found = self._nearest(each, known)
                yield Misfit(each.alias, False, tuple(filter(None, [clients.get(found, found)])))

    def _nearest(self, alias: Alias, known: Collection[str]) -> str:
        if isinstance(alias.given, SecretStr):
            return self._nearest_pseudonym(alias.given.get_secret_value(), known)
        return nearest(alias.value, known)

    def _of_whom(self) -> list[tuple[Alias, str | None]]:
        """The clients' aliases, each with the pseudonym that it is for; None for a masked name that nobody has."""
        masked = {name: pseudonym for pseudonym, name in self._name_store.clients_by_pseudonym().items()}
        return [(each, masked.get(each.value) if each.kind == MASKED else each.value) for each in self._client_aliases]

    def _refresh(self) -> None:
        with self._lock:
            version = self.version
            if version == self._seen:
                return
            self._clients = {
                id_: alias
                for pseudonym, alias in self.aliases_of_clients().items()
                if (id_ := self._name_store.client_ids.get(pseudonym)) is not None
            }
            self._credentials = self._aliased_credentials()
            self._seen = version

    def _aliased_credentials(self) -> dict[int, str]:
        names: dict[int, str] = {}
        for kind, value, _, alias in self._credential_aliases:
            found = self._name_store.credentials_with(kind, value)
            for credential in found:
                others = _rivals(credential, found)
                if not others:
                    names[credential.id] = alias
                elif all(other.provider != credential.provider for other in others):
                    names[credential.id] = f"{alias}-{credential.provider}"
                else:
                    names[credential.id] = f"{alias}-{credential.masked}"
        return names


def _rivals(credential: Credential, found: Iterable[Credential]) -> list[Credential]:
    """The other credentials of the same proxy that share a name. One that the proxy no longer lists gives way.

    One person may have several accounts, and joins on (proxy, credential) must stay unique.
    """
    return [
        other
        for other in found
        if other.proxy == credential.proxy and other.id != credential.id and (credential.retired or not other.retired)
    ]


def _size(aliases: Aliases) -> dict[str, int]:
    return {"aliases": len(aliases.clients) + len(aliases.credentials)}


def _handle(alias: ClientAlias | CredentialAlias, pseudonym: Pseudonym) -> Alias:
    """Read whom an alias is for: besides ``alias``, exactly one field has a value."""
    kind, value = next((name, value) for name, value in alias if value is not None and name != "alias")
    shown = value if isinstance(value, str) else pseudonym(value.get_secret_value())
    return Alias(kind, shown, value, alias.alias)
