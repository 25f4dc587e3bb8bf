"""The figures of the status page: periods, models, clients, credentials, and the last 24 hours.

All but the last 24 hours come from the rows of ``Periods.current``, as do the gauges of ``/metrics``, so page and
gauges can never differ. The rest is read from the ledger once per change of ``Periods.current`` and per
``_FRESH_SECONDS``, however many people look. Kinds of billing stay apart: money spent and the value of a subscription's
use have no sum.
"""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, tzinfo
from functools import cache

from exporter.clock import Clock
from exporter.days import local_date
from exporter.ledger.labels import Labels
from exporter.ledger.ledger import Ledger
from exporter.ledger.schema import BUCKET_MS
from exporter.ledger.views.periods import MONTH, TODAY, YESTERDAY, PeriodRow, PeriodTotals
from exporter.records import MONEY_FIRST, Basis, Billing

SPARK_BUCKETS = 24 * 3600 * 1000 // BUCKET_MS
MOST_REJECTED = 10_000
"""Rejected records are counted up to here: their rows are long, and a larger number says no more to an operator."""

_FRESH_SECONDS = 10.0
_PERIODS = (TODAY, YESTERDAY, MONTH)

_SPARK = "select bucket, billing, sum(requests), sum(nano_usd) from rollup where bucket >= ? group by 1, 2"
_REJECTED = """
select p.name, r.reason, count(*)
from (select proxy, reason from rejected order by id desc limit ?) r join proxy p on p.id = r.proxy
group by 1, 2
"""


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


@dataclass(slots=True)
class Row:
    """A line of a table. ``name`` is its subject; ``note`` distinguishes it from others with that name."""

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
    """Everything that the page shows from the ledger.

    ``billings`` are the kinds to show. ``unpriced`` counts this month's requests by model, ``by_default`` is this
    month's money from the default price, by model and billing. ``rejected`` counts kept records by proxy and reason, up
    to one more than ``MOST_REJECTED``.
    """

    day: date
    periods: Mapping[str, Sums]
    models: list[Row]
    clients: list[Row]
    credentials: list[Row]
    spark: Spark
    billings: tuple[Billing, ...]
    unpriced: Mapping[str, int]
    by_default: Mapping[str, Counter[int]]
    rejected: Mapping[str, Mapping[str, int]]


@dataclass(kw_only=True)
class Overview:
    """Reads ``Figures``. Safe to use from several threads."""

    ledger: Ledger
    labels: Labels
    clock: Clock
    zone: tzinfo

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._figures: Figures | None = None
        self._periods: PeriodTotals | None = None
        self._read_at = 0.0

    def figures(self) -> Figures:
        """The figures now, or those of a few seconds ago. Raises LedgerError."""
        with self._lock:
            periods, now = self.ledger.periods.current, self.clock.monotonic()
            if self._figures is None or periods is not self._periods or now - self._read_at >= _FRESH_SECONDS:
                self._figures = self._read(periods)
                self._periods, self._read_at = periods, now
            return self._figures

    def _read(self, periods: PeriodTotals) -> Figures:
        now_ms = int(self.clock.now() * 1000)
        first_bucket = now_ms // BUCKET_MS - SPARK_BUCKETS + 1
        with self.ledger.reading() as connection:
            spark = connection.execute(_SPARK, (first_bucket,)).fetchall()
            rejected = connection.execute(_REJECTED, (MOST_REJECTED + 1,)).fetchall()
        dictionary = self.ledger.dictionary
        names = {id_: name for name, id_ in dictionary.proxies.items()}
        series, routes = dictionary.series, dictionary.routes

        def model(shown: int) -> tuple[str, str]:
            route = routes[series[shown].route]
            return route.model, route.provider

        def client(shown: int) -> tuple[str, str]:
            return self.labels.client(series[shown].client), ""

        def credential(shown: int) -> tuple[str, str]:
            found = series[shown]
            note = names[routes[found.route].proxy] if len(names) > 1 else ""
            return self.labels.credential(found.credential), note

        rows = periods.rows
        models = _table(rows, model)
        everything = _table(rows, lambda _: ("", "")).get(("", ""), _fresh_sums())
        by_default: defaultdict[str, Counter[int]] = defaultdict(Counter)
        unpriced: Counter[str] = Counter()
        for row in rows[MONTH]:
            if row.basis == Basis.DEFAULT and row.nano_usd:
                by_default[model(row.series)[0]][row.billing] += row.nano_usd
            if row.unpriced:
                unpriced[model(row.series)[0]] += row.unpriced
        by_proxy: dict[str, dict[str, int]] = {}
        for proxy, reason, number in rejected:
            by_proxy.setdefault(proxy, {})[reason] = number
        return Figures(
            day=local_date(now_ms, self.zone),
            periods=everything,
            models=_sorted(models),
            clients=_sorted(_table(rows, client)),
            credentials=_sorted(_table(rows, credential)),
            spark=_spark(spark, first_bucket),
            billings=_billings(periods),
            unpriced=unpriced,
            by_default=by_default,
            rejected=by_proxy,
        )


def _billings(periods: PeriodTotals) -> tuple[Billing, ...]:
    """The kinds of billing worth showing, money first. If there are none: money and value."""
    used = {billing for (_, billing, _) in periods.cost}
    worth = {billing for (_, billing, _), nano_usd in periods.cost.items() if nano_usd}
    return tuple(billing for billing in MONEY_FIRST if billing in (worth or used)) or MONEY_FIRST[:2]


def _fresh_sums() -> dict[str, Sums]:
    return {period: Sums() for period in _PERIODS}


def _table(
    rows: Mapping[str, list[PeriodRow]], key: Callable[[int], tuple[str, str]]
) -> dict[tuple[str, str], dict[str, Sums]]:
    lines: defaultdict[tuple[str, str], dict[str, Sums]] = defaultdict(_fresh_sums)

    @cache
    def line(series: int) -> dict[str, Sums]:
        return lines[key(series)]

    for period, some in rows.items():
        for row in some:
            sums = line(row.series)[period]
            sums.requests += row.requests
            sums.tokens += row.tokens
            sums.cost[row.billing] += row.nano_usd
            sums.failed += row.failed
    return lines


def _sorted(lines: Mapping[tuple[str, str], dict[str, Sums]]) -> list[Row]:
    """Dearest first: money spent this month decides before the value of subscriptions, which is no money."""
    rows = [Row(name, note, sums[TODAY], sums[MONTH]) for (name, note), sums in lines.items()]
    used = [row for row in rows if row.month.requests or row.month.tokens or row.month.cost.total()]

    def rank(row: Row) -> tuple[int | str, ...]:
        costs = [-row.month.cost[billing] for billing in MONEY_FIRST]
        return (*costs, -row.month.requests, row.name, row.note)

    return sorted(used, key=rank)


def _spark(rows: Iterable[tuple[int, int, int, int]], first: int) -> Spark:
    cost: defaultdict[int, list[int]] = defaultdict(lambda: [0] * SPARK_BUCKETS)
    requests = [0] * SPARK_BUCKETS
    for bucket, billing, some, nano_usd in rows:
        if first <= bucket < first + SPARK_BUCKETS:
            cost[billing][bucket - first] += nano_usd
            requests[bucket - first] += some
    return Spark(cost=dict(cost), requests=requests)
