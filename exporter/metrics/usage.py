"""Usage since the ledger began, written directly as text. Most series are here, and this is 25 times faster.

The text is what prometheus_client would write for the same samples. All lines are made anew at each scrape; only the
label blocks are kept, because labels rarely change and escaping them costs the most.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from exporter.ledger.labels import Route, SeriesLabels
from exporter.ledger.ledger import Ledger
from exporter.ledger.schema import LATENCY_BOUNDS_MS, TTFT_BOUNDS_MS
from exporter.ledger.shown_names import ShownNames
from exporter.ledger.views.totals import SERIES_NUMBERS, SeriesKey
from exporter.metrics.family import Family, counter, histogram
from exporter.records import Basis, Billing

_ROUTE, _SERIES = Route.__struct_fields__, SeriesLabels.__struct_fields__

REQUESTS = counter(
    "cliproxy_requests",
    _SERIES,
    "Requests that the proxy sent to a provider, failed ones included; a retry on another credential is one more.",
    shows="requests",
)
INPUT_TOKENS = counter(
    "cliproxy_input_tokens", _SERIES, "Input tokens, including those read from and written to a cache.", shows="input"
)
OUTPUT_TOKENS = counter("cliproxy_output_tokens", _SERIES, "Output tokens, including reasoning tokens.", shows="output")
CACHE_READ_TOKENS = counter(
    "cliproxy_cache_read_tokens",
    _SERIES,
    "Input tokens read from the provider's cache: a subset of cliproxy_input_tokens_total, do not add.",
    shows="cache_read",
)
CACHE_WRITE_TOKENS = counter(
    "cliproxy_cache_write_tokens",
    _SERIES,
    "Input tokens written to the provider's cache: a subset of cliproxy_input_tokens_total, do not add.",
    shows="cache_write",
)
REASONING_TOKENS = counter(
    "cliproxy_reasoning_tokens",
    _SERIES,
    "Output tokens spent on reasoning: a subset of cliproxy_output_tokens_total, do not add.",
    shows="reasoning",
)
UNCLASSIFIED_TOKENS = counter(
    "cliproxy_unclassified_tokens",
    _SERIES,
    "Tokens that the proxy could not classify as input or output; in no other token metric, and without a cost.",
    shows="unclassified",
)
COST = counter(
    "cliproxy_cost_usd",
    (*_SERIES, "basis", "billing"),
    "Cost in US dollars. basis: exact is the model's own price, default a stand-in for a model without one. billing:"
    " metered is money spent on an API key, subscription what the same use would have cost by API key, unknown"
    " either.",
)
FAILED_REQUESTS = counter(
    "cliproxy_failed_requests",
    (*_ROUTE, "credential", "code"),
    "Failed requests: a subset of cliproxy_requests_total. code is the HTTP status, broken_stream for an answer that"
    " broke off without one, other for the rest.",
)
UNPRICED_REQUESTS = counter(
    "cliproxy_unpriced_requests",
    (*_ROUTE, "reason"),
    "Requests that their price does not fully cover, by reason: tokens without a price or without a kind, a success"
    " that reports no tokens, or a service tier that was only asked for and is charged at the base price.",
)
LATENCY = histogram(
    "cliproxy_request_duration_seconds",
    _ROUTE,
    "Duration of successful requests, as the proxy measured it; unmeasured ones are left out.",
)
LATENCY_BOUNDS = tuple(str(ms / 1000) for ms in LATENCY_BOUNDS_MS)
TTFT = histogram(
    "cliproxy_time_to_first_token_seconds",
    _ROUTE,
    "Time until the first byte of the answer of successful requests; unmeasured ones are left out.",
)
TTFT_BOUNDS = tuple(str(ms / 1000) for ms in TTFT_BOUNDS_MS)

OF_SERIES = (
    REQUESTS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    CACHE_READ_TOKENS,
    CACHE_WRITE_TOKENS,
    REASONING_TOKENS,
    UNCLASSIFIED_TOKENS,
)
"""The families whose numbers are in ``Totals.series``."""

_Numbers = TypeVar("_Numbers", int, Sequence[int])


class LedgerText:
    """Renders the totals. Safe to call from several threads."""

    def __init__(self, ledger: Ledger, shown_names: ShownNames) -> None:
        self._ledger = ledger
        self._shown_names = shown_names
        self._version = -1
        self._blocks: dict[str, dict[Any, str]] = {}
        self._repeated: set[str] = set()
        """The letters of the kinds in which two rows share a block (merged credentials, an alias)."""

    def render(self, *, openmetrics: bool, for_prometheus: bool) -> tuple[str, list[SeriesKey]]:
        """The families as text, and the series that the text shows at 0 because they are new.

        ``for_prometheus``: whether new series are shown at 0; people always see the value. Once the text has been sent,
        hand the keys to ``Births.told``.
        """
        totals, births = self._ledger.totals, self._ledger.births
        with totals.lock:
            routes = self._ledger.name_store.routes  # read under the lock, because a rollback replaces it
            if self._version != self._shown_names.version:
                self._version = self._shown_names.version
                self._blocks = {letter: {} for letter in "scfult"}
                self._repeated = set()
            young = [key for key in births.pending if key[0] in self._blocks] if for_prometheus else []
            of_series = self._lines("s", totals.series, REQUESTS, self._shown_names.series, young)
            costs = self._lines("c", totals.costs, COST, self._of_cost, young)
            failed = self._lines("f", totals.failed, FAILED_REQUESTS, self._of_failure, young)
            unpriced = self._lines(
                "u", totals.unpriced, UNPRICED_REQUESTS, lambda row: (*routes[row[0]], row[1]), young
            )
            latency = self._lines("l", totals.latency, LATENCY, routes.__getitem__, young)
            ttft = self._lines("t", totals.ttft, TTFT, routes.__getitem__, young)
        out: list[str] = []
        # Each family is joined on its own: all lines of a large scrape together would take several times its size.
        for family in OF_SERIES:
            name, index = family.sample_name, SERIES_NUMBERS.index(family.shows)
            out.append(family.head(openmetrics=openmetrics))
            out.append("".join([f"{name}{{{block}}} {numbers[index]}\n" for block, numbers in of_series]))
        out.append(COST.head(openmetrics=openmetrics))
        name = COST.sample_name
        out.append("".join([f"{name}{{{block}}} {nano // 10**9}.{nano % 10**9:09d}\n" for block, nano in costs]))
        for family, lines in ((FAILED_REQUESTS, failed), (UNPRICED_REQUESTS, unpriced)):
            name = family.sample_name
            out.append(family.head(openmetrics=openmetrics))
            out.append("".join([f"{name}{{{block}}} {number}\n" for block, number in lines]))
        for family, bounds, observed in ((LATENCY, LATENCY_BOUNDS, latency), (TTFT, TTFT_BOUNDS, ttft)):
            out.append(family.head(openmetrics=openmetrics))
            _append_histograms(out, family.name, bounds, observed)
        return "".join(out), young

    def _lines(
        self,
        letter: str,
        rows: Mapping[Any, _Numbers],
        family: Family,
        values: Callable[[Any], Iterable[str]],
        young: Iterable[SeriesKey],
    ) -> list[tuple[str, _Numbers]]:
        """Label block and numbers of each row; new rows are at 0. ``values`` gives a row's labels of ``family``."""
        blocks = self._blocks[letter]
        if missing := rows.keys() - blocks.keys():
            for row in missing:
                blocks[row] = family.block(values(row))
            if len(set(blocks.values())) < len(blocks):
                self._repeated.add(letter)
        hidden = {key[1] if len(key) == 2 else key[1:] for key in young if key[0] == letter}
        lines = [(blocks[row], _zero(numbers) if row in hidden else numbers) for row, numbers in rows.items()]
        return _added_up(lines) if letter in self._repeated else lines

    def _of_cost(self, row: tuple[int, int, int]) -> tuple[str, ...]:
        series, basis, billing = row
        return (*self._shown_names.series(series), Basis(basis).word, Billing(billing).word)

    def _of_failure(self, row: tuple[int, int, str]) -> tuple[str, ...]:
        route, credential, code = row
        return (*self._ledger.name_store.routes[route], self._shown_names.credential(credential), code)


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


def _append_histograms(
    out: list[str], name: str, bounds: Sequence[str], lines: Iterable[tuple[str, Sequence[int]]]
) -> None:
    for block, (observations, sum_ms, *buckets) in lines:
        out += [
            f'{name}_bucket{{{block},le="{bound}"}} {count}\n' for bound, count in zip(bounds, buckets, strict=True)
        ]
        out.append(f'{name}_bucket{{{block},le="+Inf"}} {observations}\n')
        out.append(f"{name}_count{{{block}}} {observations}\n{name}_sum{{{block}}} {sum_ms / 1000}\n")
