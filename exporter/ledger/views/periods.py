"""Cost, tokens and requests of today, yesterday and this month, in the user's zone, from the roll-up.

A record belongs to the day in which it happened, whenever it was read. The month is the whole one, as in a monthly
limit, so it includes records that a clock ahead of ours dates into a later day. What lies before today is summed again
only when a day begins or a late record arrives, the rest after each booking. The gauges and the status page use the
same rows, so they cannot differ.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from operator import attrgetter
from typing import NamedTuple, TypeVar

from exporter.clock import Clock
from exporter.days import day_start_ms, local_date, next_day, next_month, previous_day
from exporter.ledger.database import Database
from exporter.ledger.entry_columns import TOKENS
from exporter.ledger.label_store import OTHER, LabelStore
from exporter.ledger.schema import BUCKET_MS

TODAY, YESTERDAY, MONTH = PERIODS = "today", "yesterday", "month"

_Key = TypeVar("_Key", bound=Hashable)

_SUM = f"""
select shown.id, shown.route, r.billing, r.basis, sum(requests), sum({TOKENS}), sum(nano_usd),
       sum(failed), sum(unpriced)
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


@dataclass(slots=True)
class Sums:
    """Sums of one period. ``cost`` is nano-USD by billing, without kinds that never occurred."""

    requests: int = 0
    tokens: int = 0
    cost: Counter[int] = field(default_factory=Counter)
    failed: int = 0

    @property
    def error_share(self) -> float | None:
        """Between 0 and 1, None without requests."""
        return self.failed / self.requests if self.requests else None


PeriodRows = Mapping[str, Sequence[PeriodRow]]
"""The rows of each of ``PERIODS``."""


def sums_by(key: Callable[[PeriodRow], _Key], rows: PeriodRows) -> defaultdict[_Key, dict[str, Sums]]:
    """The sums of the rows that have the same key, by period; what is in one period only is a known 0 in the others."""
    found: defaultdict[_Key, dict[str, Sums]] = defaultdict(lambda: {period: Sums() for period in PERIODS})
    for period, some in rows.items():
        for row in some:
            sums = found[key(row)][period]
            sums.requests += row.requests
            sums.tokens += row.tokens
            sums.cost[row.billing] += row.nano_usd
            sums.failed += row.failed
    return found


@dataclass(frozen=True, slots=True)
class PeriodTotals:
    """The ``rows`` of the periods, and their sums by route and period."""

    rows: PeriodRows = field(default_factory=lambda: dict.fromkeys(PERIODS, ()))
    routes: Mapping[int, Mapping[str, Sums]] = field(default_factory=dict)


class Periods:
    """Keeps ``current`` up to date; call ``refresh`` at every tick, so that midnight shows without traffic."""

    def __init__(self, database: Database, *, clock: Clock, zone: tzinfo) -> None:
        self._database = database
        self._clock = clock
        self._zone = zone
        self.touched: deque[int] = deque()
        """Buckets from which on something was booked since the last refresh."""
        self._sums: dict[tuple[int, int], list[PeriodRow]] = {}
        """By the buckets from which and until which they are."""
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
                known[span] = [PeriodRow._make(row) for row in connection.execute(_SUM, span)]
        self._sums = {span: known[span] for span in spans}
        day_before, before, now, later = (known[span] for span in spans)
        rows = {TODAY: now, YESTERDAY: day_before, MONTH: [*before, *now, *later]}
        self.current = PeriodTotals(rows, sums_by(attrgetter("route"), rows))


def used_lately(periods: PeriodTotals, dictionary: LabelStore) -> dict[tuple[str, str], int]:
    """The requests of today and yesterday by (provider, model), for those in use that are not folded."""
    found: defaultdict[tuple[str, str], int] = defaultdict(int)
    for id_, sums in periods.routes.items():
        route, requests = dictionary.routes[id_], sums[TODAY].requests + sums[YESTERDAY].requests
        if requests and route.model != OTHER:
            found[(route.provider, route.model)] += requests
    return dict(found)
