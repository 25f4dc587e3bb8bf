"""What is booked but not yet in the history, and the form that it has there.

Ids rise in the order of booking and are never reused, so everything up to the cursor has been sent, and pruning cannot
hide anything from it. The cursor moves when Supabase has confirmed; Supabase recognizes what is sent twice.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from functools import lru_cache

from exporter.days import local_date
from exporter.ledger.columns import ENTRY, OF_PROXY
from exporter.ledger.credential_store import ROOTS
from exporter.ledger.database import Database
from exporter.ledger.history.checkpoint import ProxyState, read_state
from exporter.ledger.labels import OF_ROUTE
from exporter.ledger.name_store import NameStore
from exporter.ledger.schema import BUCKET_MS, NEVER_CLAIMED
from exporter.records import Basis, Billing, Coded

SentEntry = tuple[int, str]
"""The id of an entry, and the JSON object that ``exporter_book`` takes for it."""


def _word_of(column: str, enum: type[Coded]) -> str:
    cases = (f"when {each.value} then '{each.word}'" for each in enum)
    return f"case {column} {' '.join(cases)} end"


_SENT = {name: f"e.{name}" for name in ENTRY if name not in ("id", "series", "counted")} | {
    "fingerprint": "cast(e.fingerprint as text)",  # has more digits than a number in JSON may have
    "day": "local_day(e.ts_ms)",
    **{name: f"r.{name}" for name in OF_ROUTE},
    "credential": "c.label",
    "client": "k.label",
    "price": "p.price",
    "basis": _word_of("e.basis", Basis),
    "billing": _word_of("e.billing", Billing),
    "live": "json(iif(e.live, 'true', 'false'))",
    "requests": "e.counted",
}
"""What the history has of an entry: its columns, with names in place of ids. Nothing in it names a person."""
_AS_JSON = ", ".join(f"'{name}', {value}" for name, value in _SENT.items())
_ENTRIES = f"""
{ROOTS} select e.id, json_object({_AS_JSON})
from entry e
cross join series s on s.id = e.series
cross join route r on r.id = s.route and r.proxy = ?
cross join root on root.id = s.credential
cross join credential c on c.id = root.root
cross join client k on k.id = s.client
cross join price p on p.id = e.price
"""  # cross joins, so that the entries are read in the order of their ids
_COUNT_WAITING = f"select count(*) from entry where id > (select history_sent from proxy where id = ?1) and {OF_PROXY}"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The next entries of a proxy. Once Supabase has them, the cursor moves to ``until``.

    ``state`` is the proxy's at the same moment of the ledger, or None if further entries follow these.
    """

    entries: Sequence[SentEntry]
    until: int
    state: ProxyState | None


class Backlog:
    """Reads what has to be sent, and stores what was sent. For one thread. All methods raise LedgerError."""

    def __init__(self, database: Database, name_store: NameStore, zone: tzinfo) -> None:
        """``day`` of an entry is its day in ``zone``."""
        self._database = database
        self._name_store = name_store
        self._zone = zone

    def read(self, proxy: str, *, limit: int) -> Outgoing:
        """At most ``limit`` entries of ``proxy`` that have not been sent, oldest first."""
        with self._database.reading() as connection:
            sent, last = connection.execute(
                "select history_sent, (select coalesce(max(id), 0) from entry) from proxy where name = ?", (proxy,)
            ).fetchone()
            entries = self._entries(connection, proxy, "where e.id > ? order by e.id limit ?", sent, limit)
            if len(entries) == limit:
                return Outgoing(entries, entries[-1][0], None)
            state = read_state(connection, self._name_store.proxies[proxy])
        return Outgoing(entries, max(sent, last), state)

    def sent(self, proxy: str, until: int, *, refused: Mapping[int, str] | None = None, now_ms: int = 0) -> None:
        """Note that Supabase has the entries of ``proxy`` up to ``until``, but for ``refused``: entry → reason."""
        with self._database.transaction() as connection:
            connection.execute("update proxy set history_sent = ? where name = ?", (until, proxy))
            connection.executemany(
                "insert or replace into set_aside (entry, proxy, reason, at_ms) values (?, ?, ?, ?)",
                [(entry, self._name_store.proxies[proxy], why, now_ms) for entry, why in (refused or {}).items()],
            )

    def set_aside(self, proxy: str, *, after: int, limit: int) -> list[SentEntry]:
        """At most ``limit`` refused entries with ids above ``after``."""
        chosen = "where e.id in (select entry from set_aside) and e.id > ? order by e.id limit ?"
        with self._database.reading() as connection:
            return self._entries(connection, proxy, chosen, after, limit)

    def accepted(self, entries: Sequence[int]) -> None:
        """Note that these entries are no longer refused."""
        with self._database.transaction() as connection:
            connection.executemany("delete from set_aside where entry = ?", [(entry,) for entry in entries])

    def size(self, proxy: str) -> int:
        """How many entries of ``proxy`` wait."""
        with self._database.reading() as connection:
            return int(connection.execute(_COUNT_WAITING, (self._name_store.proxies[proxy],)).fetchone()[0])

    def refused(self) -> int:
        """How many entries of all proxies were refused."""
        return int(self._database.value("select count(*) from set_aside"))

    def stage(self, proxy: str) -> int:
        """How far the claim of ``proxy`` has come: a stage of ``exporter.ledger.schema``."""
        return int(self._database.value("select history_stage from proxy where name = ?", proxy))

    def enter_stage(self, proxy: str, stage: int) -> None:
        with self._database.transaction() as connection:
            connection.execute("update proxy set history_stage = ? where name = ?", (stage, proxy))

    def enter_project(self, project: str) -> bool:
        """Note which project the history is in. If it was another one before, nothing counts as sent any more."""
        with self._database.transaction() as connection:
            (before,) = connection.execute("select history_project from installation").fetchone()
            if before == project:
                return False
            connection.execute("update installation set history_project = ?", (project,))
            if before is None:
                return False
            # Below all ids, also the negative ones of entries from the last project: this one has none of them.
            connection.execute(
                "update proxy set history_sent = ?, history_stage = ?, history_restore = null",
                (-(2**62), NEVER_CLAIMED),
            )
            connection.execute("delete from set_aside")
        return True

    def made_ms(self) -> int | None:
        """When this ledger was made; None if it was made before ledgers noted that."""
        made_ms: int | None = self._database.value("select made_ms from installation")
        return made_ms

    def _entries(self, connection: sqlite3.Connection, proxy: str, chosen: str, *values: int) -> list[SentEntry]:
        connection.create_function("local_day", 1, lambda ts_ms: _day(ts_ms // BUCKET_MS, self._zone))
        return connection.execute(_ENTRIES + chosen, (self._name_store.proxies[proxy], *values)).fetchall()


@lru_cache(maxsize=1000)
def _day(bucket: int, zone: tzinfo) -> str:
    """The local day of a quarter of an hour, as ISO text. In every zone, days begin with such a quarter."""
    return local_date(bucket * BUCKET_MS, zone).isoformat()
