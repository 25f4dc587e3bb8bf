"""What is booked and not in the history yet: a cursor over the entries of each proxy.

Ids rise in the order of booking and are never reused, so everything up to the cursor has been sent, and pruning cannot
hide anything from it. The cursor moves when Supabase has confirmed; Supabase recognizes what is sent twice.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.ledger.columns import Entry, listed
from exporter.ledger.database import Database
from exporter.ledger.label_store import LabelStore
from exporter.ledger.schema import NEVER_CLAIMED
from exporter.ledger.sync.export_state import ProxyState, read_state

_ENTRIES = f"select {listed(Entry._fields, 'e.')} from entry e"
_OF_PROXY = (
    "e.series in (select s.id from series s join route r on r.id = s.route join proxy x on x.id = r.proxy"
    " where x.name = ?)"
)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The next entries of a proxy. Once Supabase has them, the cursor moves to ``until``.

    ``state`` is the proxy's in the same moment of the ledger, or None if further entries follow these.
    """

    entries: Sequence[Entry]
    until: int
    state: ProxyState | None


class Backlog:
    """Reads what has to be sent, and remembers what was sent. For one thread. All methods raise LedgerError."""

    def __init__(self, database: Database, dictionary: LabelStore) -> None:
        self._database = database
        self._dictionary = dictionary
        self._cursors: dict[str, int] = {}

    def read(self, proxy: str, *, limit: int) -> Outgoing:
        """At most ``limit`` entries of ``proxy`` that have not been sent, oldest first."""
        with self._database.reading() as connection:
            cursor = self._cursor(connection, proxy)
            (last,) = connection.execute("select coalesce(max(id), 0) from entry").fetchone()
            rows = connection.execute(
                f"{_ENTRIES} where e.id > ? and {_OF_PROXY} order by e.id limit ?", (cursor, proxy, limit)
            )
            entries = [Entry._make(row) for row in rows]
            if len(entries) == limit:
                return Outgoing(entries, entries[-1].id, None)
            state = read_state(connection, self._dictionary.proxies[proxy])
        return Outgoing(entries, max(cursor, last), state)

    def sent(self, proxy: str, until: int, *, refused: Mapping[int, str] | None = None, now_ms: int = 0) -> None:
        """Note that Supabase has the entries of ``proxy`` up to ``until``, but for ``refused``: entry → reason."""
        with self._database.transaction() as connection:
            connection.execute("update proxy set history_sent = ? where name = ?", (until, proxy))
            connection.executemany(
                "insert or replace into set_aside (entry, proxy, reason, at_ms) values (?, ?, ?, ?)",
                [(entry, self._dictionary.proxies[proxy], why, now_ms) for entry, why in (refused or {}).items()],
            )
        self._cursors[proxy] = until

    def passed(self, proxy: str, until: int) -> None:
        """Note that ``proxy`` has no entry left up to ``until``. It is not stored: looking again is cheap."""
        self._cursors[proxy] = until

    def set_aside(self, proxy: str, *, after: int, limit: int) -> list[Entry]:
        """At most ``limit`` refused entries with ids above ``after``."""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"{_ENTRIES} join set_aside a on a.entry = e.id where {_OF_PROXY} and e.id > ? order by e.id limit ?",
                (proxy, after, limit),
            )
            return [Entry._make(row) for row in rows]

    def accepted(self, entries: Sequence[int]) -> None:
        """Note that these entries are no longer refused."""
        with self._database.transaction() as connection:
            connection.executemany("delete from set_aside where entry = ?", [(entry,) for entry in entries])

    def size(self, proxy: str) -> int:
        """How many entries of ``proxy`` wait."""
        with self._database.reading() as connection:
            cursor = self._cursor(connection, proxy)
            statement = f"select count(*) from entry e where e.id > ? and {_OF_PROXY}"
            waiting: int = connection.execute(statement, (cursor, proxy)).fetchone()[0]
        return waiting

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
            # Below all ids: what came from the last project is new to this one.
            connection.execute(
                "update proxy set history_sent = ?, history_stage = ?, history_restore = null",
                (-(2**62), NEVER_CLAIMED),
            )
            connection.execute("delete from set_aside")
        self._cursors.clear()
        return True

    def made_ms(self) -> int | None:
        """When this ledger was made; None if it is older than this note."""
        made_ms: int | None = self._database.value("select made_ms from installation")
        return made_ms

    def _cursor(self, connection: sqlite3.Connection, proxy: str) -> int:
        if proxy not in self._cursors:
            (sent,) = connection.execute("select history_sent from proxy where name = ?", (proxy,)).fetchone()
            self._cursors[proxy] = sent
        return self._cursors[proxy]
