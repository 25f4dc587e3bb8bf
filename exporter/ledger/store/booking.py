"""Booking: one transaction that turns a stored batch into entries and their sums.

The sums are made by SQL over the entries that this transaction inserted (``id > :before``), so a record that was not
inserted cannot be counted, whatever the reason. The batch is deleted in the same transaction: after a crash it is
either booked or still there.
"""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

from msgspec.structs import astuple

from exporter.ledger.changes import Change
from exporter.ledger.columns import AMOUNTS, ENTRY, OF_COST, OF_PROXY, OF_RECORD, ROLLUP, SUMS, TOTAL
from exporter.ledger.schema import BUCKET_MS, HISTOGRAMS
from exporter.ledger.statements import insert, insert_named, listed
from exporter.ledger.store.day_sums import forget_all_days, forget_days
from exporter.normalize.fingerprint import fingerprint_of_equal
from exporter.records import Cost, UsageRecord

_of_record, _of_cost = attrgetter(*OF_RECORD), attrgetter(*OF_COST)
_FILLED = ENTRY[1:]
"""The columns of an entry that booking fills: all but its id."""

# Not "or ignore", which would swallow every constraint.
_KNOWN_STAYS = "on conflict (ts_ms, fingerprint) do nothing"
_TOGETHER = 25
"""How many entries a statement inserts, if there are that many: each takes a third less time than alone."""
_INSERT_ENTRY, _INSERT_TOGETHER = (f"{insert('entry', _FILLED, rows=n)} {_KNOWN_STAYS}" for n in (1, _TOGETHER))
_INSERT_RESTORED = f"{insert_named('entry', ENTRY)} {_KNOWN_STAYS}"
_FIRST_ID, _LAST_ID = -(2**63), 2**63 - 1
_SUMS_OF_ENTRIES = f"sum(e.counted), {', '.join(f'sum(e.{column})' for column in AMOUNTS)}"


def _add(columns: tuple[str, ...]) -> str:
    return ", ".join(f"{column} = {column} + excluded.{column}" for column in columns)


_NEW_LIVE_SHOWN = (
    "from entry e join series i on i.id = e.series join series s on s.id = coalesce(i.shown, i.id)"
    " where e.id > ? and e.live"
)

_ADD_ROLLUP = (
    f"insert into rollup ({listed(ROLLUP)}, dearest)"
    f" select e.ts_ms / {BUCKET_MS}, e.series, e.basis, e.billing, {_SUMS_OF_ENTRIES},"
    " sum(e.counted * (e.code <> '')), sum(e.counted * (e.unpriced <> '')), max(iif(e.counted, e.nano_usd, 0))"
    " from entry e where {} group by 1, 2, 3, 4"
    f" on conflict do update set {_add((*SUMS, 'failed', 'unpriced'))}, dearest = max(dearest, excluded.dearest)"
)
_ADD_ROLLUPS = f"{insert_named('rollup', ROLLUP)} on conflict do update set {_add((*SUMS, 'failed', 'unpriced'))}"


def _add_histogram(what: str, bounds: tuple[int, ...]) -> str:
    buckets = "".join(f", sum(e.{what}_ms <= {bound})" for bound in bounds)
    names = ("observations", "sum_ms", *(f"le_{bound}" for bound in bounds))
    return (
        f"insert into {what}_histogram select s.route, count(*), sum(e.{what}_ms){buckets} {_NEW_LIVE_SHOWN}"
        f" and e.code = '' and e.{what}_ms > 0 and e.counted group by 1"
        f" on conflict do update set {_add(names)} returning *"
    )


_ADD = {
    "total": (
        f"insert into total ({listed(TOTAL)}) select coalesce(s.shown, s.id), e.basis, e.billing, {_SUMS_OF_ENTRIES}"
        " from entry e join series s on s.id = e.series where e.id > ? and e.live"
        f" group by 1, 2, 3 on conflict do update set {_add(SUMS)} returning {listed(TOTAL)}"
    ),
    "failed_total": (
        f"insert into failed_total select s.route, s.credential, e.code, sum(e.counted) {_NEW_LIVE_SHOWN}"
        f" and e.code <> '' group by 1, 2, 3 on conflict do update set {_add(('requests',))} returning *"
    ),
    "unpriced_total": (
        f"insert into unpriced_total select s.route, e.unpriced, sum(e.counted) {_NEW_LIVE_SHOWN}"
        f" and e.unpriced <> '' group by 1, 2 on conflict do update set {_add(('requests',))} returning *"
    ),
    **{f"{what}_histogram": _add_histogram(what, bounds) for what, bounds in HISTOGRAMS.items()},
}
"""The statements that add live entries to the tables of totals, and return the rows that these then have."""


def book_entries(change: Change, records: Sequence[tuple[UsageRecord, Cost]], *, live: bool) -> None:
    """Insert ``records`` of a queue and add them to all sums.

    A record popped from a queue is new by definition: if its identity is taken, it gets the next free one. Records that
    are not ``live`` are from the past: they count in the roll-up and in periods, but not in the totals behind the
    counters.
    """
    if not records:
        return
    connection, name_store = change.connection, change.name_store
    before = connection.execute("select coalesce(max(id), 0) from entry").fetchone()[0]
    series = [name_store.series_of(connection, change.proxy, record) for record, _ in records]
    _insert_entries(
        connection,
        [
            (
                *(id_, name_store.price_id(connection, cost.price), int(live)),
                *(record.counted, int(record.billing), int(cost.basis)),
                *_of_record(record),
                *astuple(record.tokens),
                *_of_cost(cost),
            )
            for id_, (record, cost) in zip(series, records, strict=True)
        ],
        before=before,
    )
    if live:
        _count_by_credential(change, series, records)
        change.extra += sum(record.extra for record, _ in records)
    needed = {
        "failed_total": any(record.code for record, _ in records),
        "unpriced_total": any(cost.unpriced for _, cost in records),
    }
    for table, statement in _ADD.items():
        if needed.get(table, True):
            change.rows[table] += connection.execute(statement, (before,))
    buckets = [record.ts_ms // BUCKET_MS for record, _ in records]
    roll_up(connection, before + 1, _LAST_ID)
    forget_days(connection, min(buckets), max(buckets))
    change.booked += len(records)
    change.backfilled += 0 if live else len(records)
    change.touched += buckets


def insert_restored(change: Change, entries: Sequence[dict[str, Any]]) -> None:
    """Insert entries that another ledger booked, unless they are here.

    They are values by column. Their ids are negative, so every cursor of the backlog is past them. They count only in
    the roll-up.
    """
    connection = change.connection
    (lowest,) = connection.execute("select min(coalesce(min(id), 0), 0) from entry").fetchone()
    numbered = [entry | {"id": lowest - place} for place, entry in enumerate(entries, 1)]
    change.unbooked += connection.executemany(_INSERT_RESTORED, numbered).rowcount if numbered else 0
    roll_up(connection, lowest - len(numbered), lowest - 1)
    forget_all_days(connection)
    change.touched += [entry["ts_ms"] // BUCKET_MS for entry in entries]


def sum_all(connection: sqlite3.Connection) -> None:
    """Add all entries to all sums, inside the caller's transaction."""
    for statement in _ADD.values():
        connection.execute(statement, (_FIRST_ID,)).fetchall()
    roll_up(connection, _FIRST_ID, _LAST_ID)
    forget_all_days(connection)


def roll_up(connection: sqlite3.Connection, first_id: int, last_id: int) -> None:
    """Add the entries with these ids to the roll-up, inside the caller's transaction."""
    connection.execute(_ADD_ROLLUP.format("e.id between ? and ?"), (first_id, last_id))


def roll_up_again(connection: sqlite3.Connection, proxy: int) -> None:
    """Make the roll-up of a proxy from its entries, inside the caller's transaction."""
    connection.execute(f"delete from rollup where {OF_PROXY}", (proxy,))
    connection.execute(_ADD_ROLLUP.format(f"e.{OF_PROXY}"), (proxy,))
    forget_all_days(connection)


def add_rollups(change: Change, rows: Sequence[dict[str, Any]]) -> None:
    """Add rows, values by column, to the roll-up."""
    change.connection.executemany(_ADD_ROLLUPS, rows)
    forget_all_days(change.connection)
    change.touched += [row["bucket"] for row in rows]


def _count_by_credential(change: Change, series: Sequence[int], records: Sequence[tuple[UsageRecord, Cost]]) -> None:
    """Count the records that arrived for each credential, to compare with the proxy's own count of attempts."""
    known = change.name_store.series
    arrived = Counter(
        known[id_].credential for id_, (record, _) in zip(series, records, strict=True) if not record.extra
    )
    change.connection.executemany(
        "update credential set records = records + ? where id = ?", [(n, id_) for id_, n in arrived.items()]
    )


def _insert_entries(connection: sqlite3.Connection, rows: list[tuple[int | str, ...]], *, before: int) -> None:
    """Insert ``rows``, in a transaction that has inserted nothing else after the entry with the id ``before``."""
    odd = len(rows) % _TOGETHER
    together = [[*chain.from_iterable(rows[at : at + _TOGETHER])] for at in range(odd, len(rows), _TOGETHER)]
    inserts = ((_INSERT_ENTRY, rows[:odd]), (_INSERT_TOGETHER, together))
    if sum(connection.executemany(*each).rowcount for each in inserts) == len(rows):
        return
    # Equal records: none among 20,000 recorded ones, but CPA does not rule them out. Rare enough to go one by one.
    connection.execute("delete from entry where id > ?", (before,))
    for row in rows:
        values = dict(zip(_FILLED, row, strict=True))
        while connection.execute(_INSERT_ENTRY, tuple(values.values())).rowcount == 0:
            values["fingerprint"] = fingerprint_of_equal(int(values["fingerprint"]), 1)
