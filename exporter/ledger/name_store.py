"""Turns names into small numbers, so that an entry is a row of integers, and folds label sets into ``other``.

Everything is in memory, which grows with the names that bookings meet. ``credential_store.py`` finds credentials.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter

from exporter.ledger.credential_store import NAME_DIGITS, CredentialStore, insert_row, shared_handle
from exporter.ledger.labels import OF_ROUTE, Route
from exporter.ledger.statements import insert, listed
from exporter.records import UsageRecord

OTHER = "other"
"""The name under which label sets beyond the bound are folded."""
ANONYMOUS = "anonymous"
"""The name of the clients of a proxy that asks for no key."""

BY_NAME = "label:"
"""Begins the pseudonym of a client that is known only by its masked name."""
_MOST_RECENT = 20_000
_of_route, _of_names = attrgetter(*OF_ROUTE), attrgetter("auth_index", "source", "client", *OF_ROUTE)


@dataclass(frozen=True, slots=True)
class Series:
    """A full label set; ``shown`` is the id of the one that it is exported under."""

    route: int
    credential: int
    client: int
    shown: int


class NameStore(CredentialStore):
    """Ids of proxies, clients, credentials, routes, series and prices.

    Methods that may add something take the connection of the running transaction. After a rollback the caller must
    ``load``.
    """

    def __init__(self, *, max_label_sets: int) -> None:
        super().__init__()
        self._max_label_sets = max_label_sets
        self.clients: dict[int, str] = {}
        self.routes: dict[int, Route] = {}
        self.series: dict[int, Series] = {}
        self.client_ids: dict[str, int] = {}
        self._route_ids: dict[Route, int] = {}
        self._series_ids: dict[tuple[int, int, int], int] = {}
        self._price_ids: dict[str, int] = {}
        self._shown = 0
        self._recent: dict[tuple[int, tuple[str, ...]], int] = {}
        self._recent_version = -1

    def load(self, connection: sqlite3.Connection) -> None:
        self._recent.clear()
        self.proxies = dict(connection.execute("select name, id from proxy"))
        self.proxy_names = {id_: name for name, id_ in self.proxies.items()}
        clients = connection.execute("select id, pseudonym, label from client").fetchall()
        self.clients = {row[0]: row[2] for row in clients}
        self.client_ids = {row[1]: row[0] for row in clients}
        self._load_credentials(connection)
        routes = connection.execute(f"select id, proxy, {listed(OF_ROUTE)} from route")
        self.routes = {id_: Route(self.proxy_names[proxy], *texts) for id_, proxy, *texts in routes}
        self._route_ids = {route: id_ for id_, route in self.routes.items()}
        sets = connection.execute("select id, route, credential, client, coalesce(shown, id) from series")
        self.series = {id_: Series(*label_set) for id_, *label_set in sets}
        self._series_ids = {(s.route, s.credential, s.client): id_ for id_, s in self.series.items()}
        self._price_ids = dict(connection.execute("select price, id from price"))
        self._shown = sum(1 for id_, series in self.series.items() if series.shown == id_)
        self.names_version += 1

    @property
    def folded(self) -> int:
        """How many label sets are exported under ``other``."""
        return len(self.series) - self._shown

    def clients_by_pseudonym(self) -> dict[str, str]:
        """The masked names of all clients."""
        return {pseudonym: self.clients[id_] for pseudonym, id_ in list(self.client_ids.items())}

    def masked_client(self, pseudonym: str) -> str:
        """The name of a client without an alias, even before it is first met."""
        id_ = self.client_ids.get(pseudonym)
        return _masked_client(pseudonym) if id_ is None else self.clients[id_]

    def proxy_id(self, connection: sqlite3.Connection, name: str) -> int:
        if name not in self.proxies:
            self.proxies[name] = id_ = insert_row(connection, "insert into proxy (name) values (?)", (name,))
            self.proxy_names[id_] = name
        return self.proxies[name]

    def price_id(self, connection: sqlite3.Connection, price: str) -> int:
        if price not in self._price_ids:
            self._price_ids[price] = insert_row(connection, "insert into price (price) values (?)", (price,))
        return self._price_ids[price]

    def series_of(self, connection: sqlite3.Connection, proxy: int, record: UsageRecord) -> int:
        """Return the id of the record's label set; a new one is created, and shown or folded for good."""
        # Nearly every record resembles an earlier one, and walking four dictionaries costs as much as pricing it.
        like = proxy, _of_names(record)
        id_ = self._recent.get(like) if self._recent_version == self.names_version else None
        if id_ is None:
            if self._recent_version != self.names_version or len(self._recent) > _MOST_RECENT:
                self._recent.clear()
                self._recent_version = self.names_version
            credential = self._credential_of(connection, proxy, record)
            client = self.client_id(connection, record.client)
            route = Route(self.proxy_names[proxy], *_of_route(record))
            id_ = self._recent[like] = self.series_with(connection, route, credential, client)
        return id_

    def series_with(
        self, connection: sqlite3.Connection, route: Route, credential: int, client: int, *, folds: bool = True
    ) -> int:
        """Return the id of a label set; a new one is shown or, if it ``folds``, perhaps folded, for good."""
        key = (self._route_id(connection, route), credential, client)
        id_ = self._series_ids.get(key)
        if id_ is None:
            is_full = folds and self._shown >= self._max_label_sets
            shown = self._other(connection, route) if is_full else None
            statement = insert("series", ("route", "credential", "client", "shown"))
            id_ = self._series_ids[key] = insert_row(connection, statement, (*key, shown))
            self.series[id_] = Series(*key, id_ if shown is None else shown)
            self._shown += shown is None
        return id_

    def _other(self, connection: sqlite3.Connection, route: Route) -> int:
        credential = self._keyed_credential(connection, self.proxies[route.proxy], "fold", OTHER, long_name=OTHER)
        client = self.client_id(connection, OTHER, masked=OTHER)
        return self.series_with(connection, Route(route.proxy, route.provider, OTHER), credential, client, folds=False)

    def _route_id(self, connection: sqlite3.Connection, route: Route) -> int:
        id_ = self._route_ids.get(route)
        if id_ is None:
            values = (self.proxies[route.proxy], *_of_route(route))
            id_ = self._route_ids[route] = insert_row(connection, insert("route", Route.__struct_fields__), values)
            self.routes[id_] = route
        return id_

    def client_id(self, connection: sqlite3.Connection, pseudonym: str, *, masked: str = "") -> int:
        """Return the id of a client, creating it if it is new. One known only by its masked name gets the pseudonym."""
        id_ = self.client_ids.get(pseudonym)
        if id_ is None:
            masked = masked or _masked_client(pseudonym)
            id_ = self.client_ids.pop(BY_NAME + masked, None)
            if id_ is None:
                id_ = insert_row(connection, "insert into client (pseudonym, label) values (?, ?)", (pseudonym, masked))
                self.clients[id_] = masked
            else:
                connection.execute("update client set pseudonym = ? where id = ?", (pseudonym, id_))
            self.client_ids[pseudonym] = id_
            self.names_version += 1
        return id_

    def note_aliases(self, connection: sqlite3.Connection, aliases: Mapping[str, str], *, key_sign: str) -> None:
        """Note the clients' aliases, by pseudonym, and the sign of the hash key behind these.

        If the key has changed, a client gets the new pseudonym of its alias.
        """
        noted: dict[str, int] = dict(connection.execute("select alias, id from client where alias is not null"))
        (noted_sign,) = connection.execute("select aliases_key from installation").fetchone()
        if noted_sign not in (None, key_sign):
            for pseudonym in aliases.keys() - self.client_ids.keys():
                id_ = noted.get(aliases[pseudonym])
                connection.execute("update client set pseudonym = ? where id = ?", (pseudonym, id_))
            self.load(connection)
        known = {alias: id_ for pseudonym, alias in aliases.items() if (id_ := self.client_ids.get(pseudonym))}
        if known != noted or noted_sign != key_sign:
            connection.execute("update client set alias = null where alias is not null")
            connection.executemany("update client set alias = ? where id = ?", known.items())
            connection.execute("update installation set aliases_key = ?", (key_sign,))

    def _credential_of(self, connection: sqlite3.Connection, proxy: int, record: UsageRecord) -> int:
        """Find a record's credential by ``auth_index``, or else by the account in ``source``.

        ``source`` is not an account if it repeats the client's key (an OAuth file without an e-mail address, or a
        plugin's executor), so such records share one credential per provider.
        """
        if record.auth_index:
            kind, value, shown = "auth_index", record.auth_index, record.auth_index
            if (proxy, value) in self._shared_handles:
                value = shared_handle(value, record.provider)
        elif record.source and record.source != record.client:
            kind, value, shown = "account", record.source, record.source
        else:
            kind, value, shown = "provider", record.provider, ""
        if (known := self.bound(proxy, kind, value)) is not None:
            return known
        long_name = f"{record.provider}-{shown[:NAME_DIGITS] or 'unidentified'}"
        readable = shown and self.readable_name(proxy, record.provider, "", shown)
        return self._keyed_credential(connection, proxy, kind, value, long_name=long_name, readable=readable)


def _masked_client(pseudonym: str) -> str:
    if pseudonym.startswith(BY_NAME):
        return pseudonym.removeprefix(BY_NAME)
    return f"client-{pseudonym[:NAME_DIGITS]}" if pseudonym else ANONYMOUS
