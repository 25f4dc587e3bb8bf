"""Retries rejected records, for example after an upgrade that can read them.

One transaction moves a rejected record to where popped ones wait to be booked, so it is booked exactly once: by a
running exporter at its next poll, or by the command line if none is running.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby

from exporter.ledger.database import Database
from exporter.ledger.store.batches import insert_batch

_RECORDS_PER_BATCH = 500


def queue_rejected(database: Database, *, reason: str | None, now_ms: int) -> dict[str, int]:
    """Queue rejected records (of one ``reason``, or all) for booking; return their number by proxy.

    Records kept only as length and hash cannot be tried again and stay. Raises LedgerError.
    """
    queued: dict[str, int] = {}
    with database.transaction() as connection:
        rows = connection.execute(
            "select p.name, r.proxy, r.id, r.line from rejected r join proxy p on p.id = r.proxy"
            " where r.line is not null and (?1 is null or r.reason = ?1) order by r.proxy, r.id",
            (reason,),
        ).fetchall()
        for name, proxy, lines in _batches(rows):
            insert_batch(connection, proxy, now_ms, lines, replayed=True)
            connection.execute("update proxy set replayed = replayed + ? where id = ?", (len(lines), proxy))
            queued[name] = queued.get(name, 0) + len(lines)
        connection.executemany("delete from rejected where id = ?", [(row[2],) for row in rows])
    return queued


def _batches(rows: Iterable[tuple[str, int, int, bytes]]) -> Iterator[tuple[str, int, list[bytes]]]:
    for (name, proxy), group in groupby(rows, key=lambda row: row[:2]):
        lines = [row[3] for row in group]
        for start in range(0, len(lines), _RECORDS_PER_BATCH):
            yield name, proxy, lines[start : start + _RECORDS_PER_BATCH]
