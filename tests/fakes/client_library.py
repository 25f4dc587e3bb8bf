"""The ledger's totals through prometheus_client's own classes, to compare with our text, in content and cost."""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.ledger.views.totals import SERIES_NUMBERS
from exporter.metrics.family import Family
from exporter.metrics.usage import (
    COST,
    FAILED_REQUESTS,
    LATENCY,
    LATENCY_BOUNDS,
    OF_SERIES,
    TTFT,
    TTFT_BOUNDS,
    UNPRICED_REQUESTS,
)
from exporter.records import Basis, Billing


class ClientLibrary(Collector):
    """Looks up all label values at once and makes new families at each scrape."""

    def __init__(self, ledger: Ledger, shown_names: ShownNames) -> None:
        name_store, totals = ledger.name_store, ledger.totals

        def route(id_: int) -> list[str]:
            return [*name_store.routes[id_]]

        def series(id_: int) -> list[str]:
            found = name_store.series[id_]
            return [*route(found.route), shown_names.credential(found.credential), shown_names.client(found.client)]

        self._series = [(series(id_), numbers) for id_, numbers in totals.series.items()]
        self._costs = [
            ([*series(id_), Basis(basis).word, Billing(billing).word], nano_usd / 1e9)
            for (id_, basis, billing), nano_usd in totals.costs.items()
        ]
        self._failed = [
            ([*route(id_), shown_names.credential(credential), code], number)
            for (id_, credential, code), number in totals.failed.items()
        ]
        self._unpriced = [([*route(id_), reason], number) for (id_, reason), number in totals.unpriced.items()]
        self._latency = [(route(id_), numbers) for id_, numbers in totals.latency.items()]
        self._ttft = [(route(id_), numbers) for id_, numbers in totals.ttft.items()]

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        for family in OF_SERIES:
            index = SERIES_NUMBERS.index(family.shows)
            yield _counter(family, ((labels, numbers[index]) for labels, numbers in self._series))
        yield _counter(COST, self._costs)
        yield _counter(FAILED_REQUESTS, self._failed)
        yield _counter(UNPRICED_REQUESTS, self._unpriced)
        yield _histogram(LATENCY, LATENCY_BOUNDS, self._latency)
        yield _histogram(TTFT, TTFT_BOUNDS, self._ttft)


def _counter(family: Family, rows: Iterable[tuple[list[str], float]]) -> Metric:
    made = CounterMetricFamily(family.name, family.help, labels=family.labels)
    for labels, value in rows:
        made.add_metric(labels, value)
    return made


def _histogram(family: Family, bounds: Sequence[str], rows: Iterable[tuple[list[str], tuple[int, ...]]]) -> Metric:
    made = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for labels, (observations, sum_ms, *buckets) in rows:
        pairs = [*zip(bounds, buckets, strict=True), ("+Inf", observations)]
        made.add_metric(labels, pairs, sum_ms / 1000)
    return made
