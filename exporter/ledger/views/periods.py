"""Cost, tokens and requests of today, yesterday and this month, in the user's zone, from the roll-up.

A record belongs to the day in which it happened, whenever it was read. The month is the whole one, as in a monthly
limit, so it includes records that a clock ahead of ours dates into a later day. What lies before today is summed again
only when a day begins or a late record arrives, the rest after each booking. The gauges and the status page use the
same rows, so they cannot differ.
"""

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import NamedTuple

from exporter.clock import Clock
from exporter.days import day_start_ms, local_date, next_day, next_month, previous_day
from exporter.ledger.database import Database
from exporter.ledger.label_store import OTHER, LabelStore
from exporter.ledger.schema import BUCKET_MS

TODAY, YESTERDAY, MONTH = "today", "yesterday", "month"

_SUM = """
select shown.id, shown.route, r.billing, r.basis, sum(r.requests),
       sum(r.uncached + r.cache_read + r.cache_write + r.output + r.unclassified), sum(r.nano_usd),
       sum(r.failed), sum(r.unpriced)
from rollup r
join series own on own.id = r.series
join series shown on shown.id = coalesce(own.shown, own.id)
where r.bucket >= ? and r.bucket < ?
group by 1, 3, 4
"""


class PeriodRow(NamedTuple):
    """The sums of one shown series in a period. ``failed`` and ``unpriced`` are requests."""

    series: int
    route: int
    billing: int
    basis: int
    requests: int
    tokens: int
    nano_usd: int
    failed: int
    unpriced: int


@dataclass(frozen=True, slots=True)
class PeriodTotals:
    """Sums by (route, period), the cost by (route, billing, period) in nano-USD; ``rows`` are their parts."""

    requests: dict[tuple[int, str], int] = field(default_factory=dict)
    tokens: dict[tuple[int, str], int] = field(default_factory=dict)
    cost: dict[tuple[int, int, str], int] = field(default_factory=dict)
    rows: dict[str, list[PeriodRow]] = field(default_factory=lambda: {TODAY: [], YESTERDAY: [], MONTH: []})


class Periods:
    """Keeps ``current`` up to date; call ``refresh`` at every tick, so that midnight shows without traffic."""

    def __init__(self, database: Database, *, clock: Clock, zone: tzinfo) -> None:
        self._database = database
        self._clock = clock
        self._zone = zone
        self._lock = threading.Lock()
        self._oldest_touched: int | None = None
        self._sums: dict[tuple[int, int], list[PeriodRow]] = {}
        """By the buckets from which and until which they are."""
        self.current = PeriodTotals()

    def touched(self, bucket: int) -> None:
        """Note that something was booked in ``bucket`` or later."""
        with self._lock:
            if self._oldest_touched is None or bucket < self._oldest_touched:
                self._oldest_touched = bucket

    def refresh(self) -> None:
        """Bring ``current`` up to date. Raises LedgerError."""
        day = local_date(self._clock.now_ms(), self._zone)
        days = (previous_day(day), day.replace(day=1), day, next_day(day), next_month(day))
        yesterday, month, today, tomorrow, end = (day_start_ms(each, self._zone) // BUCKET_MS for each in days)
        spans = ((yesterday, today), (month, today), (today, tomorrow), (tomorrow, end))
        with self._lock:
            touched, self._oldest_touched = self._oldest_touched, None
        known = {span: rows for span, rows in self._sums.items() if touched is None or span[1] <= touched}
        if known.keys() >= {*spans}:
            return
        self._sums = {}  # if reading fails, the next tick starts over
        with self._database.reading() as connection:
            for span in {*spans} - known.keys():
                known[span] = [PeriodRow._make(row) for row in connection.execute(_SUM, span)]
        self._sums = {span: known[span] for span in spans}
        day_before, before, now, later = (known[span] for span in spans)
        self.current = _totals({TODAY: now, YESTERDAY: day_before, MONTH: [*before, *now, *later]})


def used_lately(periods: PeriodTotals, dictionary: LabelStore) -> dict[tuple[str, str], int]:
    """The requests of today and yesterday by (provider, model), for those in use that are not folded."""
    found: defaultdict[tuple[str, str], int] = defaultdict(int)
    for (id_, period), requests in periods.requests.items():
        route = dictionary.routes[id_]
        if requests and period in (TODAY, YESTERDAY) and route.model != OTHER:
            found[(route.provider, route.model)] += requests
    return dict(found)


def _totals(rows: dict[str, list[PeriodRow]]) -> PeriodTotals:
    found = PeriodTotals(rows=rows)
    used = {(row.route, row.billing) for each in rows.values() for row in each}
    for period in rows:
        for route, billing in used:  # if not in this period, it is a known 0
            found.requests[route, period] = found.tokens[route, period] = found.cost[route, billing, period] = 0
    for period, each in rows.items():
        for row in each:
            found.requests[row.route, period] += row.requests
            found.tokens[row.route, period] += row.tokens
            found.cost[row.route, row.billing, period] += row.nano_usd
    return found
