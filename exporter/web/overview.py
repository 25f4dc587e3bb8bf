"""The figures of the status page: periods, models, clients, credentials, and the last 24 hours.

Totals and models are the numbers of ``Periods.current``, so the page and the gauges of ``/metrics`` cannot differ at
any moment. All else is read from the ledger in one transaction, once per change of ``Periods.current`` or in
``_FRESH_SECONDS``, however many people look. What lies before today is summed anew only when a day begins or a late
record arrives. Kinds of billing stay apart: money spent and the value of what a subscription covers have no sum.
"""

import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, tzinfo

from exporter.clock import Clock
from exporter.days import day_start_ms, local_date, next_day, next_month, previous_day
from exporter.ledger.labels import Labels
from exporter.ledger.ledger import Ledger
from exporter.ledger.schema import BUCKET_MS
from exporter.ledger.views.periods import MONTH, TODAY, YESTERDAY, PeriodTotals
from exporter.records import Basis, Billing

SPARK_BUCKETS = 24 * 3600 * 1000 // BUCKET_MS
MOST_REJECTED = 10_000
"""Kept rejected records are counted up to here: their rows are long, and more would not tell an operator more."""

_FRESH_SECONDS = 10.0
_PERIODS = (TODAY, YESTERDAY, MONTH)

_SUM = """
select coalesce(s.shown, s.id), r.billing, r.basis, sum(r.requests),
       sum(r.uncached + r.cache_read + r.cache_write + r.output + r.unclassified), sum(r.nano_usd),
       sum(r.failed), sum(r.unpriced)
from rollup r join series s on s.id = r.series
where r.bucket >= ? and r.bucket < ?
group by 1, 2, 3
"""
_SPARK = "select bucket, billing, sum(requests), sum(nano_usd) from rollup where bucket >= ? group by 1, 2"
_NEWEST_ENTRY = "select coalesce(max(id), 0) from entry"
# "+" keeps SQLite on the ids: by time it would walk through all that is older.
_LATE = "select exists (select 1 from entry where id > ? and +ts_ms < ?)"
_REJECTED = """
select p.name, r.reason, count(*)
from (select proxy, reason from rejected order by id desc limit ?) r join proxy p on p.id = r.proxy
group by 1, 2
"""

_Rows = list[tuple[int, int, int, int, int, int, int, int]]
"""shown series, billing, basis, requests, tokens, nano-USD, failed, unpriced"""


@dataclass(slots=True)
class Sums:
    """Sums of one period. ``cost`` is nano-USD by billing; a billing that never occurred is not in it.

    ``failed`` of ``attempted`` requests failed: the two were read at one moment, which may be later than that of
    ``requests``.
    """

    requests: int = 0
    tokens: int = 0
    cost: Counter[int] = field(default_factory=Counter)
    failed: int = 0
    attempted: int = 0

    @property
    def error_share(self) -> float | None:
        """Between 0 and 1, None without requests."""
        return self.failed / self.attempted if self.attempted else None


@dataclass(slots=True)
class Row:
    """A line of a table: ``name`` is what it is about, ``note`` what tells it from another of that name."""

    name: str
    note: str
    today: Sums
    month: Sums


@dataclass(frozen=True, slots=True)
class Spark:
    """The last 24 hours in quarters of an hour, oldest first, the last one still running."""

    cost: Mapping[int, list[int]]
    requests: list[int]


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that the page shows of the ledger.

    ``billings`` are the kinds that are shown. ``unpriced`` counts this month's requests by model, ``by_default`` is
    this month's money by model and billing that the default price made up, ``rejected`` counts kept records by proxy
    and reason, no more than ``MOST_REJECTED`` and one of them.
    """

    day: date
    periods: Mapping[str, Sums]
    models: list[Row]
    clients: list[Row]
    credentials: list[Row]
    spark: Spark
    billings: tuple[int, ...]
    unpriced: Mapping[str, int]
    by_default: Mapping[str, Counter[int]]
    rejected: Mapping[str, Mapping[str, int]]


class Overview:
    """Reads ``Figures``. Safe to use from several threads."""

    def __init__(self, *, ledger: Ledger, labels: Labels, clock: Clock, zone: tzinfo) -> None:
        self.zone = zone
        self._ledger = ledger
        self._labels = labels
        self._clock = clock
        self._lock = threading.Lock()
        self._newest_entry = 0
        self._restored = 0
        self._day: date | None = None
        self._past: dict[str, _Rows] = {}
        self._figures: Figures | None = None
        self._periods: PeriodTotals | None = None
        self._read_at = 0.0

    def figures(self) -> Figures:
        """The figures now, or those of a few seconds ago. Raises LedgerError."""
        with self._lock:
            periods, now = self._ledger.periods.current, self._clock.monotonic()
            if self._figures is None or periods is not self._periods or now - self._read_at >= _FRESH_SECONDS:
                self._figures = self._read(periods)
                self._periods, self._read_at = periods, now
            return self._figures

    # --- reading ---------------------------------------------------------------------------------------------------

    def _read(self, periods: PeriodTotals) -> Figures:
        now_ms = int(self._clock.now() * 1000)
        day = local_date(now_ms, self.zone)
        first_bucket = now_ms // BUCKET_MS - SPARK_BUCKETS + 1
        try:
            with self._ledger.reading() as connection:
                rows = self._sums(connection, day)
                spark = connection.execute(_SPARK, (first_bucket,)).fetchall()
                rejected = connection.execute(_REJECTED, (MOST_REJECTED + 1,)).fetchall()
        except BaseException:
            self._day = None  # whatever was read so far: start over at the next view
            raise
        return self._figures_of(day, periods, rows, _spark(spark, first_bucket), rejected)

    def _sums(self, connection: sqlite3.Connection, day: date) -> dict[str, _Rows]:
        today = self._bucket(day)
        yesterday, month = self._bucket(previous_day(day)), self._bucket(day.replace(day=1))
        restored = self._ledger.restoring.steps
        if day != self._day or restored != self._restored or self._is_late(connection, today):
            self._past = {
                YESTERDAY: connection.execute(_SUM, (yesterday, today)).fetchall(),
                MONTH: connection.execute(_SUM, (month, today)).fetchall(),
            }
            self._day, self._restored = day, restored
        (self._newest_entry,) = connection.execute(_NEWEST_ENTRY).fetchone()
        tomorrow = self._bucket(next_day(day))
        rows: _Rows = connection.execute(_SUM, (today, tomorrow)).fetchall()
        later: _Rows = connection.execute(_SUM, (tomorrow, self._bucket(next_month(day)))).fetchall()
        return {TODAY: rows, YESTERDAY: self._past[YESTERDAY], MONTH: self._past[MONTH] + rows + later}

    def _is_late(self, connection: sqlite3.Connection, today: int) -> bool:
        """Whether something was booked since the last view that happened before today."""
        late: int = connection.execute(_LATE, (self._newest_entry, today * BUCKET_MS)).fetchone()[0]
        return bool(late)

    def _bucket(self, day: date) -> int:
        return day_start_ms(day, self.zone) // BUCKET_MS

    # --- adding up -------------------------------------------------------------------------------------------------

    def _figures_of(
        self,
        day: date,
        periods: PeriodTotals,
        rows: dict[str, _Rows],
        spark: Spark,
        rejected: Iterable[tuple[str, str, int]],
    ) -> Figures:
        dictionary = self._ledger.dictionary
        names = {id_: name for name, id_ in dictionary.proxies.items()}
        series, routes = dictionary.series, dictionary.routes

        def model(shown: int) -> tuple[str, str]:
            route = routes[series[shown].route]
            return route.model, route.provider

        def client(shown: int) -> tuple[str, str]:
            return self._labels.client(series[shown].client), ""

        def credential(shown: int) -> tuple[str, str]:
            found = series[shown]
            note = names[routes[found.route].proxy] if len(names) > 1 else ""
            return self._labels.credential(found.credential), note

        models = _table(rows, model)
        everything = _fresh_sums()
        for line in models.values():
            for period, sums in line.items():
                everything[period].attempted += sums.attempted
                everything[period].failed += sums.failed
        self._take_periods(periods, everything, models)
        used = {billing for (_, billing, _) in periods.cost}
        by_default: defaultdict[str, Counter[int]] = defaultdict(Counter)
        unpriced: Counter[str] = Counter()
        for shown, billing, basis, _, _, nano_usd, _, without_price in rows[MONTH]:
            if basis == Basis.DEFAULT and nano_usd:
                by_default[model(shown)[0]][billing] += nano_usd
            if without_price:
                unpriced[model(shown)[0]] += without_price
        by_proxy: dict[str, dict[str, int]] = {}
        for proxy, reason, number in rejected:
            by_proxy.setdefault(proxy, {})[reason] = number
        return Figures(
            day=day,
            periods=everything,
            models=_sorted(models),
            clients=_sorted(_table(rows, client)),
            credentials=_sorted(_table(rows, credential)),
            spark=spark,
            billings=(
                Billing.METERED,
                Billing.SUBSCRIPTION,
                *([Billing.UNKNOWN] if Billing.UNKNOWN in used else []),
            ),
            unpriced=unpriced,
            by_default=by_default,
            rejected=by_proxy,
        )

    def _take_periods(
        self, periods: PeriodTotals, everything: dict[str, Sums], models: dict[tuple[str, str], dict[str, Sums]]
    ) -> None:
        """Put the gauges' own numbers in place of what was just read, which may be a few seconds newer."""
        routes = self._ledger.dictionary.routes
        targets = [everything, *models.values()]
        for target in targets:
            for sums in target.values():
                sums.requests, sums.tokens, sums.cost = 0, 0, Counter()

        def both(route: int, period: str) -> Iterable[Sums]:
            found = routes[route]
            yield everything[period]
            if (sums := models.get((found.model, found.provider))) is not None:
                yield sums[period]

        for (route, period), number in periods.requests.items():
            for sums in both(route, period):
                sums.requests += number
        for (route, period), number in periods.tokens.items():
            for sums in both(route, period):
                sums.tokens += number
        for (route, billing, period), nano_usd in periods.cost.items():
            for sums in both(route, period):
                sums.cost[billing] += nano_usd


def _fresh_sums() -> dict[str, Sums]:
    return {period: Sums() for period in _PERIODS}


def _table(rows: Mapping[str, _Rows], key: Callable[[int], tuple[str, str]]) -> dict[tuple[str, str], dict[str, Sums]]:
    lines: dict[tuple[str, str], dict[str, Sums]] = {}
    keys: dict[int, dict[str, Sums]] = {}

    def line(shown: int) -> dict[str, Sums]:
        found = keys.get(shown)
        if found is None:
            name = key(shown)
            if name not in lines:
                lines[name] = _fresh_sums()
            found = keys[shown] = lines[name]
        return found

    for period, some in rows.items():
        for shown, billing, _, requests, tokens, nano_usd, failed, _ in some:
            sums = line(shown)[period]
            sums.requests += requests
            sums.attempted += requests
            sums.tokens += tokens
            sums.cost[billing] += nano_usd
            sums.failed += failed
    return lines


def _sorted(lines: Mapping[tuple[str, str], dict[str, Sums]]) -> list[Row]:
    """The dearest first: money spent this month decides before the value of subscriptions, which is no money."""
    rows = [Row(name, note, sums[TODAY], sums[MONTH]) for (name, note), sums in lines.items()]

    def rank(row: Row) -> tuple[int, ...]:
        cost = row.month.cost
        return (
            -cost[Billing.METERED],
            -cost[Billing.SUBSCRIPTION],
            -cost[Billing.UNKNOWN],
            -row.month.requests,
        )

    used = [row for row in rows if row.month.requests or row.month.tokens or row.month.cost.total()]
    return sorted(used, key=lambda row: (rank(row), row.name, row.note))


def _spark(rows: Iterable[tuple[int, int, int, int]], first: int) -> Spark:
    cost: defaultdict[int, list[int]] = defaultdict(lambda: [0] * SPARK_BUCKETS)
    requests = [0] * SPARK_BUCKETS
    for bucket, billing, some, nano_usd in rows:
        if first <= bucket < first + SPARK_BUCKETS:
            cost[billing][bucket - first] += nano_usd
            requests[bucket - first] += some
    return Spark(cost=dict(cost), requests=requests)
