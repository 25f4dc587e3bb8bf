"""The ledger's sums in memory: what a scrape shows without touching the database.

Booking hands over the rows that its statements returned, after their commit, and they are *set* here, not added, so
memory cannot drift from the file.
"""

import sqlite3
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

SeriesKey = tuple[str | int, ...]
"""A family's letter and the ids of one exported series: ``("s", series)``, ``("c", series, basis, billing)``,
``("f", route, credential, code)``, ``("u", route, reason)``, ``("l", route)``, ``("t", route)``,
``("a", credential)``."""

SERIES_NUMBERS = ("requests", "input", "output", "cache_read", "cache_write", "reasoning", "unclassified")
"""The numbers in ``Totals.series``: input includes cache, output includes reasoning."""

TOTALS = ("total", "failed_total", "unpriced_total", "latency_histogram", "ttft_histogram")
"""The tables of totals."""

# Counting entries would read their whole index at each start.
_COUNT_ENTRIES = "select (select coalesce(sum(booked), 0) from proxy) + unbooked_entries from installation"


@dataclass(slots=True)
class Flow:
    """What became of a proxy's records: received + replayed = booked + duplicate + rejected + pending.

    ``missed`` estimates the records that the proxy counted and that never arrived; it last grew at ``missed_ms``.
    ``retention_gaps`` is how often the proxy went unread for longer than it keeps a record, or the answer to a pop was
    lost: the last time for ``gap_seconds`` (None: a lost answer), until ``gap_ms``.
    """

    received: int = 0
    replayed: int = 0
    booked: int = 0
    duplicate: int = 0
    backfilled: int = 0
    pending: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    missed: int = 0
    missed_ms: int | None = None
    retention_gaps: int = 0
    gap_ms: int | None = None
    gap_seconds: int | None = None
    restarts: int = 0
    false_starts: int = 0
    last_success_ms: int | None = None


@dataclass(slots=True)
class Attempts:
    """The proxy's own count of a credential's attempts, continued over its restarts."""

    success: int
    failed: int


class Totals:
    """Sums over live entries, by shown series. Guarded by ``lock``: hold it while reading several of them."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.series: dict[int, list[int]] = {}
        """See ``SERIES_NUMBERS``."""
        self.costs: dict[tuple[int, int, int], int] = {}
        """nano-USD by series, basis, billing"""
        self.failed: dict[tuple[int, int, str], int] = {}
        self.unpriced: dict[tuple[int, str], int] = {}
        self.latency: dict[int, tuple[int, ...]] = {}
        """observations, sum in ms, cumulative buckets"""
        self.ttft: dict[int, tuple[int, ...]] = {}
        self.attempts: dict[int, Attempts] = {}
        self.flows: dict[int, Flow] = {}
        self.entries = 0
        self._rows: dict[int, dict[tuple[int, int], tuple[int, ...]]] = {}

    def load(self, connection: sqlite3.Connection) -> None:
        """Read everything, before anybody else does."""
        self.take_over({table: connection.execute(f"select * from {table}").fetchall() for table in TOTALS})
        counted = connection.execute("select id, success, failed from credential where success_seen is not null")
        self.attempts = {id_: Attempts(success, failed) for id_, success, failed in counted}
        self.entries = connection.execute(_COUNT_ENTRIES).fetchone()[0]
        proxies = connection.execute("select id from proxy").fetchall()
        self.flows = {proxy: read_flow(connection, proxy) for (proxy,) in proxies}

    def take_over(self, rows: Mapping[str, Collection[tuple[Any, ...]]]) -> None:
        """Show rows of the tables of totals. Call it once they are on disk, holding ``lock``."""
        self.failed.update({row[:3]: row[3] for row in rows.get("failed_total", ())})
        self.unpriced.update({row[:2]: row[2] for row in rows.get("unpriced_total", ())})
        self.latency.update({row[0]: row[1:] for row in rows.get("latency_histogram", ())})
        self.ttft.update({row[0]: row[1:] for row in rows.get("ttft_histogram", ())})
        for row in rows.get("total", ()):
            series, basis, billing = row[:3]
            self._rows.setdefault(series, {})[(basis, billing)] = row[3:]
            self.costs[(series, basis, billing)] = row[10]
            parts = list(self._rows[series].values())
            requests, uncached, read, write, output, reasoning, unclassified = (
                parts[0][:7]
                if len(parts) == 1
                else (sum(column) for column in zip(*(part[:7] for part in parts), strict=True))
            )
            self.series[series] = [requests, uncached + read + write, output, read, write, reasoning, unclassified]

    def unknown(self, rows: Mapping[str, Collection[tuple[Any, ...]]]) -> list[SeriesKey]:
        """The series in rows of the tables of totals that have not been exported before."""
        totals = rows.get("total", ())
        new: list[SeriesKey] = [("s", series) for series in {row[0] for row in totals} - self.series.keys()]
        new += [("c", *row[:3]) for row in totals if row[:3] not in self.costs]
        new += [("f", *row[:3]) for row in rows.get("failed_total", ()) if row[:3] not in self.failed]
        new += [("u", *row[:2]) for row in rows.get("unpriced_total", ()) if row[:2] not in self.unpriced]
        new += [("l", row[0]) for row in rows.get("latency_histogram", ()) if row[0] not in self.latency]
        new += [("t", row[0]) for row in rows.get("ttft_histogram", ()) if row[0] not in self.ttft]
        return new


_COUNTS = tuple(each.name for each in fields(Flow) if each.name != "rejected")
_COUNTED = {
    "pending": "(select coalesce(sum(records), 0) from batch where proxy = p.id)",
    "false_starts": "(select count(*) from false_start where proxy = p.id)",
}
_READ_FLOW = f"select {', '.join(_COUNTED.get(name, name) for name in _COUNTS)} from proxy p where id = ?"


def read_flow(connection: sqlite3.Connection, proxy: int) -> Flow:
    """The flow of a proxy as the ledger has it."""
    row = connection.execute(_READ_FLOW, (proxy,)).fetchone()
    rejected = dict(connection.execute("select reason, records from rejected_total where proxy = ?", (proxy,)))
    return Flow(**dict(zip(_COUNTS, row, strict=True)), rejected=rejected)


def count_unbooked(connection: sqlite3.Connection, entries: int) -> None:
    """Count entries that were added (if negative, removed) without a booking, inside the caller's transaction."""
    connection.execute("update installation set unbooked_entries = unbooked_entries + ?", (entries,))
