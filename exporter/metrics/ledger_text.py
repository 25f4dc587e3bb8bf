"""The ledger's families as exposition text, written directly: they are the many series, and this is 25 times faster.

The output is what prometheus_client would write of the same samples. All lines are made anew at each scrape; only the
label blocks are kept, because a label changes rarely and escaping it is the dear part.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from exporter.ledger.label_store import LabelStore
from exporter.ledger.labels import Labels
from exporter.ledger.views.totals import SeriesKey, Totals
from exporter.metrics.families import (
    CACHE_READ_TOKENS,
    CACHE_WRITE_TOKENS,
    COST,
    FAILED_REQUESTS,
    INPUT_TOKENS,
    LATENCY,
    LATENCY_BOUNDS,
    OUTPUT_TOKENS,
    REASONING_TOKENS,
    REQUESTS,
    TTFT,
    TTFT_BOUNDS,
    UNCLASSIFIED_TOKENS,
    UNPRICED_REQUESTS,
    Family,
)
from exporter.records import Basis, Billing

_SERIES_FAMILIES = (
    REQUESTS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    CACHE_READ_TOKENS,
    CACHE_WRITE_TOKENS,
    REASONING_TOKENS,
    UNCLASSIFIED_TOKENS,
)
"""In the order of ``Totals.series``."""

_Row = TypeVar("_Row", bound="int | tuple[int | str, ...]")
_Numbers = TypeVar("_Numbers", int, Sequence[int])


class LedgerText:
    """Renders the totals. Safe to call from several threads."""

    def __init__(self, totals: Totals, dictionary: LabelStore, labels: Labels) -> None:
        self._totals = totals
        self._dictionary = dictionary
        self._labels = labels
        self._version = -1
        self._proxies: dict[int, str] = {}
        self._blocks: dict[str, _Blocks] = {}

    def render(self, *, openmetrics: bool, for_prometheus: bool) -> tuple[str, list[SeriesKey]]:
        """The families as text, and the series that it shows at 0 because they are young.

        ``for_prometheus``: whether young series are shown at 0; people always see the value. When the text has been
        sent, hand the keys to ``Totals.told``.
        """
        totals = self._totals
        with totals.lock:
            if self._version != self._labels.version:
                self._version = self._labels.version
                self._proxies = {id_: name for name, id_ in self._dictionary.proxies.items()}
                self._blocks = {letter: _Blocks() for letter in "scfult"}
            young = [key for key in totals.pending_zero if key[0] in self._blocks] if for_prometheus else []
            series = self._lines("s", totals.series, self._series_block, young)
            costs = self._lines("c", totals.costs, self._cost_block, young)
            failed = self._lines("f", totals.failed, self._failed_block, young)
            unpriced = self._lines("u", totals.unpriced, self._unpriced_block, young)
            latency = self._lines("l", totals.latency, self._route_block, young)
            ttft = self._lines("t", totals.ttft, self._route_block, young)
        out: list[str] = []
        for index, family in enumerate(_SERIES_FAMILIES):
            name = _head(out, family, openmetrics)
            out += [f"{name}{{{block}}} {numbers[index]}\n" for block, numbers in series]
        name = _head(out, COST, openmetrics)
        out += [f"{name}{{{block}}} {nano // 10**9}.{nano % 10**9:09d}\n" for block, nano in costs]
        for family, lines in ((FAILED_REQUESTS, failed), (UNPRICED_REQUESTS, unpriced)):
            name = _head(out, family, openmetrics)
            out += [f"{name}{{{block}}} {number}\n" for block, number in lines]
        _histogram(out, LATENCY, LATENCY_BOUNDS, latency, openmetrics)
        _histogram(out, TTFT, TTFT_BOUNDS, ttft, openmetrics)
        return "".join(out), young

    def _lines(
        self,
        letter: str,
        rows: Mapping[_Row, _Numbers],
        make_block: Callable[[_Row], str],
        young: Iterable[SeriesKey],
    ) -> list[tuple[str, _Numbers]]:
        """Label block and numbers of each row; young ones at 0."""
        blocks = self._blocks[letter]
        if missing := rows.keys() - blocks.of_row.keys():
            for row in missing:
                blocks.of_row[row] = make_block(row)
            blocks.repeat = len(set(blocks.of_row.values())) < len(blocks.of_row)
        hidden = {key[1] if len(key) == 2 else key[1:] for key in young if key[0] == letter}
        of_row = blocks.of_row
        if hidden:
            lines = [(of_row[row], _zero(numbers) if row in hidden else numbers) for row, numbers in rows.items()]
        else:
            lines = [(of_row[row], numbers) for row, numbers in rows.items()]
        return _added_up(lines) if blocks.repeat else lines

    # --- label blocks ----------------------------------------------------------------------------------------------

    def _route_block(self, route: int) -> str:
        found = self._dictionary.routes[route]
        return (
            f'proxy="{escape(self._proxies[found.proxy])}",provider="{escape(found.provider)}",'
            f'model="{escape(found.model)}"'
        )

    def _series_block(self, series: int) -> str:
        found = self._dictionary.series[series]
        return (
            f'{self._route_block(found.route)},credential="{escape(self._labels.credential(found.credential))}",'
            f'client="{escape(self._labels.client(found.client))}"'
        )

    def _cost_block(self, row: tuple[int, int, int]) -> str:
        series, basis, billing = row
        return f'{self._series_block(series)},basis="{Basis(basis).label}",billing="{Billing(billing).label}"'

    def _failed_block(self, row: tuple[int, int, str]) -> str:
        route, credential, code = row
        label = escape(self._labels.credential(credential))
        return f'{self._route_block(route)},credential="{label}",code="{escape(code)}"'

    def _unpriced_block(self, row: tuple[int, str]) -> str:
        route, reason = row
        return f'{self._route_block(route)},reason="{escape(reason)}"'


class _Blocks:
    """Label blocks by row of one kind; ``repeat`` if two rows have the same one (merged credentials, an alias)."""

    def __init__(self) -> None:
        self.of_row: dict[Any, str] = {}
        self.repeat = False


def _zero(numbers: Any) -> Any:
    return 0 if isinstance(numbers, int) else (0,) * len(numbers)


def _added_up(lines: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    sums: dict[str, Any] = {}
    for block, numbers in lines:
        known = sums.get(block)
        if known is None:
            sums[block] = numbers
        elif isinstance(numbers, int):
            sums[block] = known + numbers
        else:
            sums[block] = tuple(map(sum, zip(known, numbers, strict=True)))
    return list(sums.items())


def escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _head(out: list[str], family: Family, openmetrics: bool) -> str:
    """Append HELP and TYPE; returns the name of the samples."""
    # The text format names a counter with its _total, OpenMetrics without.
    name = family.name if openmetrics else family.sample_name
    out.append(f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n")
    return family.sample_name


def _histogram(
    out: list[str],
    family: Family,
    bounds: tuple[str, ...],
    lines: list[tuple[str, Sequence[int]]],
    openmetrics: bool,
) -> None:
    name = _head(out, family, openmetrics)
    for block, (observations, sum_ms, *buckets) in lines:
        out += [
            f'{name}_bucket{{{block},le="{bound}"}} {count}\n' for bound, count in zip(bounds, buckets, strict=True)
        ]
        out.append(f'{name}_bucket{{{block},le="+Inf"}} {observations}\n')
        out.append(f"{name}_count{{{block}}} {observations}\n{name}_sum{{{block}}} {sum_ms / 1000}\n")
