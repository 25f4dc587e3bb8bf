"""The figures of the status page: periods, models, clients, credentials, and the last day.

Everything except the last 24 hours and the rejected records comes from the rows of ``Periods.current``, as do the
gauges of ``/metrics``, so page and gauges can never differ. The rest is read from the ledger when ``Periods.current``
changes or ``_FRESH_SECONDS`` have passed, however many people look. Kinds of billing stay apart: money spent and the
value of a subscription's use are never added up.
"""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, tzinfo
from functools import cache

from exporter.clock import Clock
from exporter.days import local_date
from exporter.ledger.amounts import Amounts
from exporter.ledger.ledger import Ledger
from exporter.ledger.schema import BUCKET_MS
from exporter.ledger.shown_names import ShownNames
from exporter.ledger.views.periods import MONTH, TODAY, PeriodRow, PeriodRows, PeriodTotals, usage_by_period
from exporter.ledger.views.usage import Usage, usage_by
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
    today: Usage
    month: Usage


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that the page shows from the ledger.

    ``tables`` has the lines for each label that usage is summed by. ``spark`` is the usage of the last 24 hours in
    quarters of an hour, oldest first, the last one still running. ``billings`` are the kinds to show. ``unpriced``
    counts this month's requests by model, ``by_default`` is this month's use at the default price, by model.
    ``rejected`` counts kept records by proxy and reason, up to one more than ``MOST_REJECTED``.
    """

    day: date
    periods: Mapping[str, Usage]
    tables: Mapping[str, list[Row]]
    spark: Sequence[Usage]
    billings: tuple[Billing, ...]
    unpriced: Mapping[str, int]
    by_default: Mapping[str, Usage]
    rejected: Mapping[str, Mapping[str, int]]


@dataclass(kw_only=True)
class Overview:
    """Reads ``Figures``. Safe to use from several threads."""

    ledger: Ledger
    shown_names: ShownNames
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
        last_bucket = now_ms // BUCKET_MS
        buckets = range(last_bucket - SPARK_BUCKETS + 1, last_bucket + 1)
        with self.ledger.reading() as connection:
            spark = usage_by(
                (bucket, billing, Amounts(requests=requests, nano_usd=nano_usd))
                for bucket, billing, requests, nano_usd in connection.execute(_SPARK, (buckets[0],))
            )
            rejected: defaultdict[str, dict[str, int]] = defaultdict(dict)
            for proxy, reason, number in connection.execute(_REJECTED, (MOST_REJECTED + 1,)):
                rejected[proxy][reason] = number
        labels = cache(self.shown_names.series)
        has_several = len(self.ledger.name_store.proxies) > 1

        def credential(row: PeriodRow) -> tuple[str, str]:
            return labels(row.series).credential, labels(row.series).proxy if has_several else ""

        rows = periods.rows
        of_all = usage_by((period, row.billing, row.amounts) for period, some in rows.items() for row in some)
        used = usage_by((None, *each) for usage in of_all.values() for each in usage.items())[None]
        unpriced: Counter[str] = Counter()
        for row in rows[MONTH]:
            if row.unpriced:
                unpriced[labels(row.series).model] += row.unpriced
        return Figures(
            day=local_date(now_ms, self.zone),
            periods=of_all,
            tables={
                "model": _table(rows, lambda row: (labels(row.series).model, labels(row.series).provider)),
                "client": _table(rows, lambda row: (labels(row.series).client, "")),
                "credential": _table(rows, credential),
            },
            spark=[spark[bucket] for bucket in buckets],
            billings=used.billings or MONEY_FIRST[:2],
            unpriced=unpriced,
            by_default=usage_by(
                (labels(row.series).model, row.billing, row.amounts)
                for row in rows[MONTH]
                if row.basis == Basis.DEFAULT and row.amounts.nano_usd
            ),
            rejected=rejected,
        )


def _table(rows: PeriodRows, names_of: Callable[[PeriodRow], tuple[str, str]]) -> list[Row]:
    """What was used this month, dearest first."""
    lines = [Row(*names, each[TODAY], each[MONTH]) for names, each in usage_by_period(names_of, rows).items()]
    used = [line for line in lines if any(line.month.total)]
    return sorted(used, key=lambda line: (line.month.rank, line.name, line.note))
