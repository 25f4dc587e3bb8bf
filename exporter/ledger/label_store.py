"""The ledger's dictionary: names to small numbers, so that an entry is a row of integers.

Everything is held in memory and grows by what a booking meets. It is the only place that knows how a credential is
found, how two findings of one credential are joined, and which label sets are folded into ``other``.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from exporter.records import UNKNOWN_CREDENTIAL, Billing, CredentialFacts, UsageRecord

OTHER = "other"
"""The label value into which label sets beyond the bound are folded."""
ANONYMOUS = "anonymous"
"""The client of a proxy that asks its clients for no key."""
ACCOUNT_ID, EMAIL = "account_id", "email"
"""Kind of the keys, and of the names, that say whose a credential is."""
LABEL = "label"
"""Kind of the keys that find a credential by a label under which it stands in the history."""

_BY_LABEL = "label:"
_LABEL_DIGITS = 10
_MOST_RECENT = 20_000


@dataclass(frozen=True, slots=True)
class Credential:
    """An account or key of a proxy. ``provider`` is empty until the inventory has named it."""

    id: int
    proxy: int
    label: str
    facts: CredentialFacts
    merged_into: int | None = None
    retired: bool = False
    """Whether the proxy last listed another one of the same name, and not this one."""

    @property
    def provider(self) -> str:
        return self.facts.provider


@dataclass(frozen=True, slots=True)
class Route:
    """What histograms and periods are kept by."""

    proxy: int
    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class Series:
    """A full label set; ``shown`` is the id of the one under which it is exported."""

    route: int
    credential: int
    client: int
    shown: int


class LabelStore:
    """Ids of proxies, clients, credentials, routes, series and prices.

    Methods that may add take the connection of the running transaction. After a rollback the caller must ``load``.
    """

    def __init__(self, *, max_label_sets: int) -> None:
        self._max_label_sets = max_label_sets
        self.proxies: dict[str, int] = {}
        self.clients: dict[int, str] = {}
        self.credentials: dict[int, Credential] = {}
        self.routes: dict[int, Route] = {}
        self.series: dict[int, Series] = {}
        self.labels_version = 0
        """Rises whenever a shown label may have changed, or a name that an alias can be for was added."""
        self._client_ids: dict[str, int] = {}
        self._credential_keys: dict[tuple[int, str, str], int] = {}
        self._shared_handles: set[tuple[int, str]] = set()
        self._names: dict[tuple[str, str], set[int]] = {}
        self._known_as: defaultdict[int, set[tuple[str, str]]] = defaultdict(set)
        self._route_ids: dict[Route, int] = {}
        self._series_ids: dict[tuple[int, int, int], int] = {}
        self.prices: dict[int, str] = {}
        self._price_ids: dict[str, int] = {}
        self._shown = 0
        self._recent: dict[tuple[int, str, str, str, str, str], int] = {}
        self._recent_version = -1

    def load(self, connection: sqlite3.Connection) -> None:
        """Read everything anew."""
        self._recent.clear()
        self.proxies = dict(connection.execute("select name, id from proxy"))
        clients = connection.execute("select id, pseudonym, label from client").fetchall()
        self.clients = {row[0]: row[2] for row in clients}
        self._client_ids = {row[1]: row[0] for row in clients}
        self.credentials = {
            row[0]: Credential(
                id=row[0],
                proxy=row[1],
                label=row[2],
                facts=CredentialFacts(provider=row[3], billing=Billing(row[4]), openai_compatible=bool(row[5])),
                merged_into=row[6],
                retired=bool(row[7]),
            )
            for row in connection.execute(
                "select id, proxy, label, provider, billing, openai_compatible, merged_into, retired from credential"
            )
        }
        self._credential_keys = {
            (row[0], row[1], row[2]): row[3]
            for row in connection.execute("select proxy, kind, value, credential from credential_key")
        }
        self._shared_handles = set()
        for proxy, kind, value in self._credential_keys:
            self._note_shared(proxy, kind, value)
        names: dict[tuple[str, str], set[int]] = {}
        for kind, value, credential in connection.execute("select kind, value, credential from credential_name"):
            names.setdefault((kind, value), set()).add(credential)
        self._names = names
        self._known_as.clear()
        for (_, kind, value), id_ in self._credential_keys.items():
            self._known_as[self.resolved(id_).id].add((kind, value))
        for name, ids in names.items():
            for id_ in ids:
                self._known_as[self.resolved(id_).id].add(name)
        self.routes = {
            row[0]: Route(row[1], row[2], row[3])
            for row in connection.execute("select id, proxy, provider, model from route")
        }
        self._route_ids = {route: id_ for id_, route in self.routes.items()}
        self.series = {
            row[0]: Series(row[1], row[2], row[3], row[4])
            for row in connection.execute("select id, route, credential, client, coalesce(shown, id) from series")
        }
        self._series_ids = {(s.route, s.credential, s.client): id_ for id_, s in self.series.items()}
        self.prices = dict(connection.execute("select id, price from price"))
        self._price_ids = {price: id_ for id_, price in self.prices.items()}
        self._shown = sum(1 for id_, series in self.series.items() if series.shown == id_)
        self.labels_version += 1

    @property
    def folded(self) -> int:
        """How many label sets are exported under ``other``."""
        return len(self.series) - self._shown

    # --- looking up -----------------------------------------------------------------------------------------------

    def facts(self, proxy: int, auth_index: str, provider: str) -> CredentialFacts:
        """What the inventory knows about an ``auth_index`` of a proxy, for a record that names this provider."""
        if (proxy, auth_index) in self._shared_handles:
            auth_index = shared_handle(auth_index, provider)
        credential = self.find_credential(proxy, "auth_index", auth_index)
        return UNKNOWN_CREDENTIAL if credential is None else credential.facts

    def is_listed(self, proxy: int, auth_index: str) -> bool:
        """Whether an inventory has named this ``auth_index``, of whatever provider."""
        return (proxy, auth_index) in self._shared_handles or bool(self.facts(proxy, auth_index, "").provider)

    def find_credential(self, proxy: int, kind: str, value: str) -> Credential | None:
        id_ = self._credential_keys.get((proxy, kind, value)) if value else None
        return None if id_ is None else self.resolved(id_)

    def bound(self, proxy: int, kind: str, value: str) -> int | None:
        """The number that ``value`` was bound to, which may have turned out to be another credential."""
        return self._credential_keys.get((proxy, kind, value))

    def known_as(self, credential: int, kind: str) -> set[str]:
        """All keys and names of a kind that a credential was ever met with."""
        return {value for known, value in self._known_as.get(credential, ()) if known == kind}

    def is_another(self, credential: Credential, met: Iterable[tuple[str, str]]) -> bool:
        """Whether keys and names that were met are another account's: its id tells where both have one, else e-mail.

        Without a file in common they are found by the same ``auth_index``, and the hash key is another one: then
        nothing can be compared.
        """
        met = set(met)
        if met.isdisjoint(("file", value) for value in self.known_as(credential.id, "file")):
            return False
        for kind in (ACCOUNT_ID, EMAIL):
            known, values = self.known_as(credential.id, kind), {value for each, value in met if each == kind}
            if known and values:
                return known.isdisjoint(values)
        return False

    def credential_labelled(self, proxy: int, label: str) -> Credential | None:
        """The credential of a proxy that has this label, or the one that it turned out to be."""
        own = (each for each in self.credentials.values() if each.proxy == proxy and each.label == label)
        found = next(own, None)
        return None if found is None else self.resolved(found.id)

    def credentials_with(self, kind: str, value: str) -> list[Credential]:
        """The credentials, of all proxies, that are called ``value``: an e-mail address can be that of several."""
        if kind == "auth_index":
            ids = {
                id_
                for (_, known_kind, known), id_ in list(self._credential_keys.items())
                if known_kind == kind and known.partition("/")[0] == value
            }
        else:
            ids = set(self._names.get((kind, value), ()))
        found = (self.resolved(id_) for id_ in sorted(ids))
        return list({credential.id: credential for credential in found}.values())

    def resolved(self, credential: int) -> Credential:
        """The credential that stands for ``credential``: itself, or the one that it turned out to be."""
        found = self.credentials[credential]
        while found.merged_into is not None:
            found = self.credentials[found.merged_into]
        return found

    def client_with(self, pseudonym: str) -> int | None:
        return self._client_ids.get(pseudonym)

    def client_label(self, pseudonym: str) -> str:
        """The label of a client without an alias, also of one that has not been met yet."""
        id_ = self._client_ids.get(pseudonym)
        return _client_label(pseudonym) if id_ is None else self.clients[id_]

    # --- adding ---------------------------------------------------------------------------------------------------

    def proxy_id(self, connection: sqlite3.Connection, name: str) -> int:
        id_ = self.proxies.get(name)
        if id_ is None:
            id_ = self.proxies[name] = _insert(connection, "insert into proxy (name) values (?)", (name,))
        return id_

    def price_id(self, connection: sqlite3.Connection, price: str) -> int:
        id_ = self._price_ids.get(price)
        if id_ is None:
            id_ = self._price_ids[price] = _insert(connection, "insert into price (price) values (?)", (price,))
            self.prices[id_] = price
        return id_

    def series_of(self, connection: sqlite3.Connection, proxy: int, record: UsageRecord) -> int:
        """The id of the label set of ``record``; made, and shown or folded for good, when it is new."""
        # Nearly every record is like one before it, and going through four dictionaries costs as much as its price.
        like = (proxy, record.auth_index, record.source, record.client, record.provider, record.model)
        if self._recent_version != self.labels_version or len(self._recent) > _MOST_RECENT:
            self._recent.clear()
            self._recent_version = self.labels_version
        id_ = self._recent.get(like)
        if id_ is None:
            id_ = self._recent[like] = self._find_or_add_series(connection, proxy, record)
        return id_

    def _find_or_add_series(self, connection: sqlite3.Connection, proxy: int, record: UsageRecord) -> int:
        credential = self._credential_of(connection, proxy, record)
        client = self.client_id(connection, record.client)
        route = Route(proxy, record.provider, record.model)
        return self.series_with(connection, route, credential, client)

    def series_with(self, connection: sqlite3.Connection, route: Route, credential: int, client: int) -> int:
        """The id of a label set; made, and shown or folded for good, when it is new."""
        route_id = self._route_id(connection, route)
        id_ = self._series_ids.get((route_id, credential, client))
        if id_ is not None:
            return id_
        shown = None if self._shown < self._max_label_sets else self._other(connection, route.proxy, route.provider)
        return self._add_series(connection, route_id, credential, client, shown=shown)

    def _other(self, connection: sqlite3.Connection, proxy: int, provider: str) -> int:
        route = self._route_id(connection, Route(proxy, provider, OTHER))
        credential = self._keyed_credential(connection, proxy, "fold", OTHER, label=OTHER)
        client = self.client_id(connection, OTHER, label=OTHER)
        id_ = self._series_ids.get((route, credential, client))
        return self._add_series(connection, route, credential, client, shown=None) if id_ is None else id_

    def _add_series(
        self, connection: sqlite3.Connection, route: int, credential: int, client: int, *, shown: int | None
    ) -> int:
        id_ = _insert(
            connection,
            "insert into series (route, credential, client, shown) values (?, ?, ?, ?)",
            (route, credential, client, shown),
        )
        self._series_ids[(route, credential, client)] = id_
        self.series[id_] = Series(route, credential, client, id_ if shown is None else shown)
        self._shown += shown is None
        return id_

    def _route_id(self, connection: sqlite3.Connection, route: Route) -> int:
        id_ = self._route_ids.get(route)
        if id_ is None:
            id_ = self._route_ids[route] = _insert(
                connection,
                "insert into route (proxy, provider, model) values (?, ?, ?)",
                (route.proxy, route.provider, route.model),
            )
            self.routes[id_] = route
        return id_

    def client_id(self, connection: sqlite3.Connection, pseudonym: str, *, label: str = "") -> int:
        """The id of a client, made if it is new."""
        id_ = self._client_ids.get(pseudonym)
        if id_ is None:
            label = label or _client_label(pseudonym)
            id_ = self._identify_client(connection, pseudonym, label)
        if id_ is None:
            id_ = self._client_ids[pseudonym] = _insert(
                connection, "insert into client (pseudonym, label) values (?, ?)", (pseudonym, label)
            )
            self.clients[id_] = label
            self.labels_version += 1
        return id_

    def client_labelled(self, connection: sqlite3.Connection, label: str) -> int:
        """The id of a client of which nothing is known but its label, which no other client has."""
        return self.client_id(connection, _BY_LABEL + label, label=label)

    def _identify_client(self, connection: sqlite3.Connection, pseudonym: str, label: str) -> int | None:
        """The client that was known by its label alone, and is known from now on."""
        id_ = self._client_ids.pop(_BY_LABEL + label, None)
        if id_ is not None:
            connection.execute("update client set pseudonym = ? where id = ?", (pseudonym, id_))
            self._client_ids[pseudonym] = id_
            self.labels_version += 1
        return id_

    def _credential_of(self, connection: sqlite3.Connection, proxy: int, record: UsageRecord) -> int:
        """The credential of a record. By ``auth_index``; without one by the account in ``source``.

        ``source`` is no account where it repeats the client's key (an OAuth file without an e-mail address, or a
        plugin's executor), so such records share one credential of their provider.
        """
        if record.auth_index:
            kind, value = "auth_index", record.auth_index
            if (proxy, value) in self._shared_handles:
                value = shared_handle(value, record.provider)
            label = f"{record.provider}-{record.auth_index[:_LABEL_DIGITS]}"
        elif record.source and record.source != record.client:
            kind, value = "account", record.source
            label = f"{record.provider}-{record.source[:_LABEL_DIGITS]}"
        else:
            kind, value = "provider", record.provider
            label = f"{record.provider}-unidentified"
        return self._keyed_credential(connection, proxy, kind, value, label=label)

    def _keyed_credential(
        self, connection: sqlite3.Connection, proxy: int, kind: str, value: str, *, label: str
    ) -> int:
        known = self._credential_keys.get((proxy, kind, value))
        if known is not None:
            return known
        restored = self.find_credential(proxy, LABEL, label)
        if restored is not None:
            id_ = restored.id
        else:
            id_ = self.add_credential(connection, Credential(0, proxy, label, UNKNOWN_CREDENTIAL))
        self.bind(connection, proxy, kind, value, id_)
        return id_

    # --- what the inventory says ----------------------------------------------------------------------------------

    def add_credential(self, connection: sqlite3.Connection, credential: Credential) -> int:
        """Store a new credential and return its id (``credential.id`` is ignored)."""
        id_ = _insert(
            connection,
            "insert into credential (proxy, label, provider, billing, openai_compatible, merged_into, retired)"
            " values (?, ?, ?, ?, ?, ?, ?)",
            (
                credential.proxy,
                credential.label,
                credential.facts.provider,
                credential.facts.billing,
                credential.facts.openai_compatible,
                credential.merged_into,
                credential.retired,
            ),
        )
        self.credentials[id_] = replace(credential, id=id_)
        self.labels_version += 1
        return id_

    def describe_credential(self, connection: sqlite3.Connection, id_: int, facts: CredentialFacts) -> None:
        """Store what the inventory says about a credential."""
        known = self.credentials[id_]
        if known.facts == facts:
            return
        connection.execute(
            "update credential set provider = ?, billing = ?, openai_compatible = ? where id = ?",
            (facts.provider, facts.billing, facts.openai_compatible, id_),
        )
        self.credentials[id_] = replace(known, facts=facts)

    def retire_credential(self, connection: sqlite3.Connection, id_: int, retired: bool) -> None:
        """Store whether the proxy still lists a credential: see ``Credential.retired``."""
        known = self.credentials[id_]
        if known.retired != retired:
            connection.execute("update credential set retired = ? where id = ?", (retired, id_))
            self.credentials[id_] = replace(known, retired=retired)
            self.labels_version += 1

    def relabel_credential(self, connection: sqlite3.Connection, id_: int, label: str) -> None:
        """Let a credential stand under the label that it has in the history, unless another one of its proxy has it."""
        known = self.credentials[id_]
        if known.label == label or self.credential_labelled(known.proxy, label) is not None:
            return
        connection.execute("update credential set label = ? where id = ?", (label, id_))
        self.credentials[id_] = replace(known, label=label)
        self.labels_version += 1

    def bind(self, connection: sqlite3.Connection, proxy: int, kind: str, value: str, credential: int) -> None:
        """From now on ``value`` finds ``credential``. If it found another one, the two turned out to be the same."""
        known = self._credential_keys.get((proxy, kind, value))
        if known == credential:
            return
        connection.execute(
            "insert into credential_key (proxy, kind, value, credential) values (?, ?, ?, ?)"
            " on conflict (proxy, kind, value) do update set credential = excluded.credential",
            (proxy, kind, value, credential),
        )
        self._credential_keys[(proxy, kind, value)] = credential
        self._known_as[self.resolved(credential).id].add((kind, value))
        self._note_shared(proxy, kind, value)
        self.labels_version += 1
        if known is not None:
            self.merge(connection, known, credential)

    def _note_shared(self, proxy: int, kind: str, value: str) -> None:
        handle, slash, _ = value.partition("/")
        if kind == "auth_index" and slash:
            self._shared_handles.add((proxy, handle))

    def unbind(self, connection: sqlite3.Connection, proxy: int, kind: str, value: str) -> None:
        """From now on ``value`` finds nothing."""
        if self._credential_keys.pop((proxy, kind, value), None) is not None:
            connection.execute(
                "delete from credential_key where proxy = ? and kind = ? and value = ?", (proxy, kind, value)
            )
            self.labels_version += 1

    def name(self, connection: sqlite3.Connection, kind: str, value: str, credential: int) -> None:
        """``value`` is one of the things that ``credential`` is called."""
        known = self._names.setdefault((kind, value), set())
        if credential not in known:
            connection.execute(
                "insert into credential_name (kind, value, credential) values (?, ?, ?) on conflict do nothing",
                (kind, value, credential),
            )
            known.add(credential)
            self._known_as[self.resolved(credential).id].add((kind, value))
            self.labels_version += 1

    def merge(self, connection: sqlite3.Connection, one: int, into: int) -> None:
        """Two credentials turned out to be the same: from now on both are ``into``."""
        one, into = self.resolved(one).id, self.resolved(into).id
        if one == into:
            return
        connection.execute("update credential set merged_into = ? where id = ?", (into, one))
        self._known_as[into] |= self._known_as.pop(one, set())
        self.credentials[one] = replace(self.credentials[one], merged_into=into)
        self.labels_version += 1


def shared_handle(auth_index: str, provider: str) -> str:
    """What finds a credential whose ``auth_index`` is also that of another provider's.

    A compatible upstream has its bare name in records before CPA 7.2.21.
    """
    name = provider.lower().removeprefix("openai-compatible-")
    return f"{auth_index}/{name}" if auth_index else ""


def _client_label(pseudonym: str) -> str:
    return f"client-{pseudonym[:_LABEL_DIGITS]}" if pseudonym else ANONYMOUS


def _insert(connection: sqlite3.Connection, statement: str, values: tuple[object, ...]) -> int:
    id_ = connection.execute(statement, values).lastrowid
    assert id_ is not None  # noqa: S101 - an insert has one; this is for the type checker
    return id_
