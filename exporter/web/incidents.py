"""Failed and unpriced requests by day, counted from the entries: the roll-up does not tell them apart.

The entries of the past are read once; afterwards only what was booked since, so that a view of the page does not read a
month of records. A day whose entries were pruned before they were counted is not known.
"""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable
from datetime import date, tzinfo

from exporter.days import day_start_ms, local_date
from exporter.ledger.booking import BUCKET_MS

_INCIDENTS = """
select e.ts_ms / 900000, coalesce(s.shown, s.id), sum(e.counted and e.code <> ''), sum(e.unpriced <> '')
from entry e join series s on s.id = e.series
where %s and (e.code <> '' or e.unpriced <> '')
group by 1, 2
"""
_OF_THE_PAST = _INCIDENTS % "e.ts_ms >= ?"
_NEW = _INCIDENTS % "e.id > ?"
_NOTHING_NEW = 2**62


class Incidents:
    """Counts by day in ``zone`` and shown series. One thread at a time."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._cursor: int | None = None
        self._pruned_before_ms = 0
        self._failed: dict[date, Counter[int]] = {}
        self._unpriced: dict[date, Counter[int]] = {}

    def follow(self, connection: sqlite3.Connection, *, from_bucket: int) -> int:
        """Count what was booked since the last call, forget what is before ``from_bucket``.

        Returns the oldest bucket in which something was booked.
        """
        if self._cursor is None:
            (pruned,) = connection.execute("select max(pruned_before_ms) from proxy").fetchone()
            (newest,) = connection.execute("select coalesce(max(id), 0) from entry").fetchone()
            self._add(connection.execute(_OF_THE_PAST, (from_bucket * BUCKET_MS,)).fetchall())
            self._cursor, self._pruned_before_ms = newest, pruned or 0
            return from_bucket
        newest, oldest_ms = connection.execute(
            "select max(id), min(ts_ms) from entry where id > ?", (self._cursor,)
        ).fetchone()
        if newest is not None:
            self._add(connection.execute(_NEW, (self._cursor,)).fetchall())
            self._cursor = newest
        for counts in (self._failed, self._unpriced):
            for day in [day for day in counts if day_start_ms(day, self._zone) < from_bucket * BUCKET_MS]:
                del counts[day]
        return _NOTHING_NEW if oldest_ms is None else oldest_ms // BUCKET_MS

    def _add(self, rows: Iterable[tuple[int, int, int, int]]) -> None:
        days: dict[int, date] = {}
        for bucket, shown, failed, unpriced in rows:
            if bucket not in days:
                days[bucket] = local_date(bucket * BUCKET_MS, self._zone)
            self._failed.setdefault(days[bucket], Counter())[shown] += failed
            self._unpriced.setdefault(days[bucket], Counter())[shown] += unpriced

    def covers(self, day: date) -> bool:
        """Whether every entry since the beginning of ``day`` was counted."""
        return self._pruned_before_ms <= day_start_ms(day, self._zone)

    def days_of_month(self, day: date) -> set[date]:
        """The days of the month of ``day`` up to it."""
        return {day.replace(day=number) for number in range(1, day.day + 1)}

    def failed(self, days: Collection[date]) -> Counter[int]:
        """Failed requests by shown series."""
        return _added(self._failed, days)

    def unpriced(self, days: Collection[date]) -> Counter[int]:
        """Requests with tokens that have no price, by shown series."""
        return _added(self._unpriced, days)


def _added(counts: dict[date, Counter[int]], days: Collection[date]) -> Counter[int]:
    total: Counter[int] = Counter()
    for day in days:
        total.update(counts.get(day, {}))
    return +total
