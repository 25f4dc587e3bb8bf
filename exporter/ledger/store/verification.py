"""Checks a ledger that did not end cleanly: its structure, names and sums.

What a batch adds to the sums has no checksum, but entries, totals and roll-up each hold it. Totals are compared with
the roll-up, and in a small file all sums are made again from the entries, as far as these have not been pruned. If only
the totals differ from both, they are the damaged ones and are replaced.
"""

import json
import sqlite3
from itertools import pairwise
from pathlib import Path
from typing import Any

import structlog

from exporter.clock import Clock
from exporter.errors import LedgerCorruptError
from exporter.ledger.columns import SUMS, TOTAL
from exporter.ledger.database import Database, damaged, explained_opening
from exporter.ledger.schema import BUCKET_MS, CLAIMED, HISTOGRAMS, RESTORED
from exporter.ledger.statements import insert, listed
from exporter.ledger.store.booking import sum_all
from exporter.ledger.store.checksums import changed_tables
from exporter.ledger.store.day_sums import forget_all_days
from exporter.ledger.views.totals import TOTALS, Totals

LARGEST_SUMMED_BYTES = 16 * 1024 * 1024
"""The sums of a larger file are not made again: a start would take more than a second or so."""
LARGEST_READ_BYTES = 256 * 1024 * 1024
"""A larger file is not read as a whole."""

_FLOW = (
    "select p.name from proxy p where received + replayed <> booked + duplicate"
    " + (select coalesce(sum(records), 0) from rejected_total where proxy = p.id)"
    " + (select coalesce(sum(records), 0) from batch where proxy = p.id)"
)
# Whether live entries are missing while their sums stayed.
_PRUNED = "select count(*) <> (select coalesce(sum(booked - backfilled), 0) from proxy) from entry where live"
# Whether the roll-up sums entries that are not in the totals.
_HAS_PAST = (
    "select exists (select 1 from entry where not live)"
    " or exists (select 1 from installation where history_project is not null)"
    f" or exists (select 1 from proxy where backfilled or history_stage in ({CLAIMED}, {RESTORED}))"
)
_SHOWN = "rollup r join series i on i.id = r.series join series s on s.id = coalesce(i.shown, i.id)"
_COMPARED = {
    "total": (
        3,
        f"select {listed(TOTAL)} from total",
        f"select s.id, r.basis, r.billing, {', '.join(f'sum(r.{column})' for column in SUMS)} from {_SHOWN}"
        " group by 1, 2, 3",
    ),
    "failed_total": (
        2,
        "select route, credential, sum(requests) from failed_total group by 1, 2",
        f"select s.route, s.credential, sum(r.failed) from {_SHOWN} group by 1, 2",
    ),
    "unpriced_total": (
        1,
        "select route, sum(requests) from unpriced_total group by 1",
        f"select s.route, sum(r.unpriced) from {_SHOWN} group by 1",
    ),
}
"""For each table of totals: how many columns its key has, its rows, and the same rows from the roll-up."""

_log = structlog.get_logger("exporter")


def examine(database: Database, clock: Clock) -> None:
    """Check an open ledger and log the result. Raises LedgerError and its subclasses."""
    began = clock.monotonic()
    size = database.bytes_on_disk()
    with explained_opening(database.path), database.transaction() as connection:
        rebuilt = _verify(connection, database.path, size)
        forget_all_days(connection)
    _log.info("ledger_checked", seconds=round(clock.monotonic() - began, 1), from_entries=size <= LARGEST_SUMMED_BYTES)
    if rebuilt:
        _log.warning(
            "ledger_rebuilt",
            message="The ledger was damaged: its totals were not what was written. They were computed again from the"
            " entries, which the roll-up confirms, so they are correct again. Check the disk.",
        )


def _verify(connection: sqlite3.Connection, path: Path, size: int) -> bool:
    """Check the ledger, inside the caller's transaction; return whether its totals had to be made again.

    Raises LedgerCorruptError if there is damage that the rest cannot repair.
    """
    small = size <= LARGEST_SUMMED_BYTES
    check = "integrity_check" if small else "quick_check"
    if size <= LARGEST_READ_BYTES and connection.execute(f"pragma {check}(1)").fetchone() != ("ok",):
        raise LedgerCorruptError(damaged(path))
    changed = changed_tables(connection)
    if connection.execute(_FLOW).fetchone():
        changed.add("proxy")
    exported = Totals().unknown({table: _rows(connection, table) for table in TOTALS})
    attempts = connection.execute("select 'a', id from credential where success_seen is not null")
    births = {tuple(json.loads(key)) for (key,) in connection.execute("select key from birth")}
    if not births <= {*exported, *attempts}:
        changed.add("birth")
    changed |= {f"{what}_histogram" for what in HISTOGRAMS if not _rises(connection, what)}
    (past,) = connection.execute(_HAS_PAST).fetchone()
    if not small:
        changed |= {table for table in _COMPARED if not _agrees(connection, table, past=past)}
    elif not changed:
        before = {table: _rows(connection, table) for table in (*TOTALS, "rollup")}
        (pruned,) = connection.execute(_PRUNED).fetchone()
        connection.execute("savepoint sums")
        for table in before:
            connection.execute(f"delete from {table}")
        sum_all(connection)
        (horizon,) = connection.execute("select max(pruned_before_ms) from proxy").fetchone()
        after = {table: _rows(connection, table) for table in before}
        connection.execute("rollback to sums")
        if not connection.execute(f"select 1 from proxy where history_stage = {CLAIMED}").fetchone():
            first = horizon // BUCKET_MS + 1 if horizon else 0
            if any(row[0] >= first for row in before["rollup"] ^ after["rollup"]):
                changed.add("rollup")
        if pruned:
            changed |= {table for table in _COMPARED if not _agrees(connection, table, past=past)}
        else:
            changed |= {table for table in TOTALS if before[table] != after[table]}
        if changed == {"total"} and not pruned and not past:
            connection.execute("delete from total")
            connection.executemany(insert("total", TOTAL), after["total"])
            return True
    if changed:
        raise LedgerCorruptError(
            damaged(path, f"is damaged: what the tables {', '.join(sorted(changed))} hold is not what was written")
        )
    return False


def _rows(connection: sqlite3.Connection, table: str) -> set[tuple[Any, ...]]:
    return set(connection.execute(f"select * from {table}"))


def _rises(connection: sqlite3.Connection, what: str) -> bool:
    """Whether no bucket of a histogram holds less than the one below it: all that shows without its entries."""
    steps = pairwise(["0", *(f"le_{bound}" for bound in HISTOGRAMS[what]), "observations"])
    rising = " and ".join(f"{lower} <= {upper}" for lower, upper in steps)
    query = f"select 1 from {what}_histogram where not (sum_ms >= 0 and {rising})"
    return connection.execute(query).fetchone() is None


def _agrees(connection: sqlite3.Connection, table: str, *, past: bool) -> bool:
    """Whether the roll-up agrees with ``table``; with a past it may hold more."""
    width, shown, summed = _COMPARED[table]
    totals = {row[:width]: row[width:] for row in connection.execute(shown)}
    rollup = {row[:width]: row[width:] for row in connection.execute(summed)}
    if not past:
        return all(totals.get(each, (0,)) == values for each, values in rollup.items() if any(values)) and (
            totals.keys() <= rollup.keys()
        )
    return all(
        each in rollup and all(a <= b for a, b in zip(values, rollup[each], strict=True))
        for each, values in totals.items()
    )
