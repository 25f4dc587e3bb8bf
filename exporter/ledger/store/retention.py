"""Pruning: old entries and old rejected records go, their sums stay.

It works in small transactions, so that booking never waits long, and then shrinks the file in small steps. Totals,
roll-up and periods are sums of their own and stay as they are.
"""

import sqlite3
from collections.abc import Callable, Iterator

from exporter.ledger.database import Database
from exporter.ledger.schema import RESTORED
from exporter.ledger.views.totals import Totals, count_unbooked

_CLOCK_DOUBT_MS = 3 * 86_400_000
_ROWS_PER_STEP = 5_000
_PAGES_PER_STEP = 500
_SLACK_PAGES = 2_000
"""Free pages that stay in the file (4 MB; 8 MB in older ledgers): the next entries fill them."""
_OLD = "select id from entry where ts_ms < ?"
_OLD_AND_SENT = (
    "select e.id from entry e join series s on s.id = e.series join route r on r.id = s.route"
    " join proxy p on p.id = r.proxy where e.ts_ms < ? and e.id <= p.history_sent"
    " and not exists (select 1 from set_aside a where a.entry = e.id)"
)

# If a time was rejected because our clock was far behind, and is possible now, it shows the age of the record.
_OLD_REJECTED = """
delete from rejected where id in (select id from rejected where received_ms < ?1 and coalesce(iif(
    reason = 'impossible_time', strftime('%s', json_extract(cast(line as text), '$.timestamp')), null) * 1000
    not between ?1 and ?1 + 60 * 86400000, true) order by id limit ?2)
"""


class Retention:
    def __init__(self, database: Database, totals: Totals) -> None:
        self._database = database
        self._totals = totals

    def believable_now_ms(self, now_ms: int) -> int | None:
        """The time by which age is judged: ours, or the proxies' if ours is far ahead of it; None without records.

        A clock that is wrong once must not delete recent entries. Without any, the last rejected record tells the time.
        """
        newest = "select coalesce(max(ts_ms), (select max(received_ms) from rejected)) from entry"
        newest_ms: int | None = self._database.value(newest)
        return None if newest_ms is None else min(now_ms, newest_ms + _CLOCK_DOUBT_MS)

    def prune(
        self,
        *,
        entries_before_ms: int,
        rejected_before_ms: int,
        stopping: Callable[[], bool],
        sent_only: bool = False,
    ) -> tuple[int, int]:
        """Delete entries that happened, and rejected records that were received, before these times; count both.

        ``sent_only``: entries that are not in the history yet stay. It stops early when ``stopping`` says so; the next
        call continues. Raises LedgerError.
        """
        # From the first step on, a snapshot that still shows such a record must not book it again.
        pruned = "update proxy set pruned_before_ms = max(coalesce(pruned_before_ms, 0), ?)"
        if sent_only:  # this takes nothing from a proxy that is not restored yet
            pruned += f" where history_stage = {RESTORED}"

        def delete_entries(connection: sqlite3.Connection) -> int:
            gone = _OLD_AND_SENT if sent_only else _OLD
            statement = f"delete from entry where id in ({gone} order by ts_ms limit ?)"
            rows = _delete(connection, statement, entries_before_ms)
            if rows:
                connection.execute(pruned, (entries_before_ms,))
                count_unbooked(connection, -rows)
            return rows

        entries = 0
        for rows in self._steps(delete_entries, stopping):
            entries += rows
            with self._totals.lock:
                self._totals.entries -= rows
        rejected = sum(self._steps(lambda connection: _delete(connection, _OLD_REJECTED, rejected_before_ms), stopping))
        if entries or rejected:
            _shrink(self._database, stopping)
        return entries, rejected

    def _steps(self, delete: Callable[[sqlite3.Connection], int], stopping: Callable[[], bool]) -> Iterator[int]:
        """Delete in a transaction for each step; yields its number of rows."""
        rows = _ROWS_PER_STEP
        while rows == _ROWS_PER_STEP and not stopping():
            with self._database.transaction() as connection:
                rows = delete(connection)
            yield rows


def _delete(connection: sqlite3.Connection, statement: str, before_ms: int) -> int:
    return connection.execute(statement, (before_ms, _ROWS_PER_STEP)).rowcount


def _shrink(database: Database, stopping: Callable[[], bool]) -> None:
    before: int | None = None
    while not stopping():
        with database.transaction() as connection:
            (free,) = connection.execute("pragma freelist_count").fetchone()
            if free <= _SLACK_PAGES or free == before:  # no change: a tool rebuilt the file without auto_vacuum
                return
            before = free
            connection.execute(f"pragma incremental_vacuum({_PAGES_PER_STEP})").fetchall()
