"""The figures of the status page: periods, models, clients, credentials, and the last 24 hours.

All but the last 24 hours come from the rows of ``Periods.current``, as do the gauges of ``/metrics``, so page and
gauges can never differ. The rest is read from the ledger once per change of ``Periods.current`` and per
``_FRESH_SECONDS``, however many people look. Kinds of billing stay apart: money spent and the value of a subscription's
use have no sum.
"""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, tzinfo
from functools import cache

from exporter.clock import Clock
from exporter.days import local_date
from exporter.ledger.labels import Labels
from exporter.ledger.ledger import Ledger
from exporter.ledger.schema import BUCKET_MS
from exporter.ledger.views.periods import MONTH, TODAY, PeriodRows, PeriodTotals, Sums, sums_by
from exporter.records import MONEY_FIRST, Basis, Billing

SPARK_BUCKETS = 24 * 3600 * 1000 // BUCKET_MS
MOST_REJECTED = 10_000
"""Rejected records are counted up to here: their rows are long, and a larger number says no more to an operator."""

_FRESH_SECONDS = 10.0

_SPARK = "select bucket, billing, sum(requests), sum(nano_usd) from rollup where bucket >= ? group by 1, 2"
_REJECTED = """
select p.name, r.reason, count(*)
from (select proxy, reason from rejected order by id desc limit ?) r join proxy p on p.id = r.proxy
group by 1, 2
"""


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
        now_ms = self.clock.now_ms()
        first_bucket = now_ms // BUCKET_MS - SPARK_BUCKETS + 1
        with self.ledger.reading() as connection:
            spark = connection.execute(_SPARK, (first_bucket,)).fetchall()
            rejected = connection.execute(_REJECTED, (MOST_REJECTED + 1,)).fetchall()
        label = cache(self.labels.series)
        has_several = len(self.ledger.dictionary.proxies) > 1

        def credential(series: int) -> tuple[str, str]:
            return label(series).credential, label(series).proxy if has_several else ""

        rows = periods.rows
        sums = sums_by(lambda _: None, rows)[None]
        by_default: defaultdict[str, Counter[int]] = defaultdict(Counter)
        unpriced: Counter[str] = Counter()
        for row in rows[MONTH]:
            if row.basis == Basis.DEFAULT and row.nano_usd:
                by_default[label(row.series).model][row.billing] += row.nano_usd
            if row.unpriced:
                unpriced[label(row.series).model] += row.unpriced
        by_proxy: dict[str, dict[str, int]] = {}
        for proxy, reason, number in rejected:
            by_proxy.setdefault(proxy, {})[reason] = number
        return Figures(
            day=local_date(now_ms, self.zone),
            periods=sums,
            models=_table(rows, lambda series: (label(series).model, label(series).provider)),
            clients=_table(rows, lambda series: (label(series).client, "")),
            credentials=_table(rows, credential),
            spark=_spark(spark, first_bucket),
            billings=_billings(sums.values()),
            unpriced=unpriced,
            by_default=by_default,
            rejected=by_proxy,
        )


def _billings(sums: Collection[Sums]) -> tuple[Billing, ...]:
    """The kinds of billing worth showing, money first. If there are none: money and value."""
    used = {billing for each in sums for billing in each.cost}
    worth = {billing for each in sums for billing, nano_usd in each.cost.items() if nano_usd}
    return tuple(billing for billing in MONEY_FIRST if billing in (worth or used)) or MONEY_FIRST[:2]


def _table(rows: PeriodRows, names_of: Callable[[int], tuple[str, str]]) -> list[Row]:
    """Dearest first: money spent this month decides before the value of subscriptions, which is no money."""
    names_of = cache(names_of)
    by_names = sums_by(lambda row: names_of(row.series), rows)
    lines = [Row(*names, sums[TODAY], sums[MONTH]) for names, sums in by_names.items()]
    used = [line for line in lines if line.month.requests or line.month.tokens or line.month.cost.total()]

    def rank(line: Row) -> tuple[int | str, ...]:
        costs = [-line.month.cost[billing] for billing in MONEY_FIRST]
        return (*costs, -line.month.requests, line.name, line.note)

    return sorted(used, key=rank)


def _spark(rows: Iterable[tuple[int, int, int, int]], first: int) -> Spark:
    cost: defaultdict[int, list[int]] = defaultdict(lambda: [0] * SPARK_BUCKETS)
    requests = [0] * SPARK_BUCKETS
    for bucket, billing, some, nano_usd in rows:
        if first <= bucket < first + SPARK_BUCKETS:
            cost[billing][bucket - first] += nano_usd
            requests[bucket - first] += some
    return Spark(cost=dict(cost), requests=requests)
