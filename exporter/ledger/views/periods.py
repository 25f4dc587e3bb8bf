"""Cost, tokens and requests of today, yesterday and this month, in the user's zone, from the roll-up.

A record belongs to the day in which it happened, whenever it was read. The month is the whole one, as in a monthly
limit, so it includes records that a clock ahead of ours dates into a later day. What lies before today is summed again
only when a day begins or a late record arrives, the rest after each booking. The gauges and the status page use the
same rows, so they cannot differ.
"""

from collections import Counter, deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import tzinfo
from itertools import chain
from operator import attrgetter
from typing import NamedTuple, TypeVar

from exporter.clock import Clock
from exporter.days import day_start_ms, local_date, next_day, next_month, previous_day
from exporter.ledger.amounts import DAY_SUMS, Amounts
from exporter.ledger.database import Database
from exporter.ledger.name_store import OTHER, NameStore
from exporter.ledger.schema import BUCKET_MS
from exporter.ledger.views.usage import Usage, usage_by

_Key = TypeVar("_Key", bound=Hashable)

TODAY, YESTERDAY, MONTH = PERIODS = "today", "yesterday", "month"

_SUM = f"""
select shown.id, shown.route, r.billing, r.basis, sum(unpriced),
       {", ".join(f"sum({amount})" for amount in DAY_SUMS.values())}
from rollup r
join series own on own.id = r.series
join series shown on shown.id = coalesce(own.shown, own.id)
where r.bucket >= ? and r.bucket < ?
group by 1, 3, 4
"""


class PeriodRow(NamedTuple):
    """The sums of one shown series in a period. ``unpriced`` are requests."""

    series: int
    route: int
    billing: int
    basis: int
    unpriced: int
    amounts: Amounts


PeriodRows = Mapping[str, Sequence[PeriodRow]]
"""The rows of each of ``PERIODS``."""


def usage_by_period(key: Callable[[PeriodRow], _Key], rows: PeriodRows) -> dict[_Key, dict[str, Usage]]:
    """The usage of the rows that have the same key; what is in one period only is a known 0 in the others."""
    found = {period: usage_by((key(row), row.billing, row.amounts) for row in some) for period, some in rows.items()}
    keys = dict.fromkeys(chain.from_iterable(found.values()))
    return {each: {period: found[period][each] for period in PERIODS} for each in keys}


class PeriodTotals(NamedTuple):
    """The rows of the periods, their usage by route and period, and when they began, in ms since the epoch."""

    rows: PeriodRows = dict.fromkeys(PERIODS, ())
    routes: Mapping[int, Mapping[str, Usage]] = {}
    starts: Mapping[str, int] = {}


class Periods:
    """Keeps ``current`` up to date; call ``refresh`` at every tick, so that midnight shows without traffic."""

    def __init__(self, database: Database, *, clock: Clock, zone: tzinfo) -> None:
        self._database = database
        self._clock = clock
        self._zone = zone
        self.touched: deque[int] = deque()
        """The oldest bucket of each change since the last refresh."""
        self._sums: dict[tuple[int, int], list[PeriodRow]] = {}
        """By their first bucket and their end."""
        self.current = PeriodTotals()

    def refresh(self) -> None:
        """Bring ``current`` up to date. Raises LedgerError."""
        day = local_date(self._clock.now_ms(), self._zone)
        days = (previous_day(day), day.replace(day=1), day, next_day(day), next_month(day))
        yesterday, month, today, tomorrow, end = (day_start_ms(each, self._zone) // BUCKET_MS for each in days)
        spans = ((yesterday, today), (month, today), (today, tomorrow), (tomorrow, end))
        touched = min((self.touched.popleft() for _ in range(len(self.touched))), default=None)
        known = {span: rows for span, rows in self._sums.items() if touched is None or span[1] <= touched}
        if known.keys() >= {*spans}:
            return
        self._sums = {}  # if reading fails, the next tick starts over
        with self._database.reading() as connection:
            for span in {*spans} - known.keys():
                rows = connection.execute(_SUM, span)
                known[span] = [PeriodRow._make((*row[:5], Amounts._make(row[5:]))) for row in rows]
        self._sums = {span: known[span] for span in spans}
        day_before, before, now, later = (known[span] for span in spans)
        periods = {TODAY: now, YESTERDAY: day_before, MONTH: [*before, *now, *later]}
        starts = {TODAY: today * BUCKET_MS, YESTERDAY: yesterday * BUCKET_MS, MONTH: month * BUCKET_MS}
        self.current = PeriodTotals(periods, usage_by_period(attrgetter("route"), periods), starts)


def used_lately(periods: PeriodTotals, name_store: NameStore) -> dict[tuple[str, str], int]:
    """The requests of today and yesterday by (provider, model), of those that were used and are not folded."""
    found: Counter[tuple[str, str]] = Counter()
    for id_, by_period in periods.routes.items():
        route = name_store.routes[id_]
        if route.model != OTHER:
            found[(route.provider, route.model)] += sum(by_period[each].total.requests for each in (TODAY, YESTERDAY))
    return +found
