"""The ledger's content for other programs: entries for a spreadsheet, the roll-up for Prometheus.

Entries are read from a connection of their own and written line by line, so an export of millions of them needs no
memory and disturbs no booking.
"""

import csv
import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from exporter.ledger.label_store import LabelStore
from exporter.ledger.labels import Labels
from exporter.ledger.schema import BUCKET_MS
from exporter.metrics.families import COST, INPUT_TOKENS, OUTPUT_TOKENS, REQUESTS, Family
from exporter.metrics.ledger_text import escape
from exporter.records import Basis, Billing


class Writer(Protocol):
    """Where lines go."""

    def write(self, text: str, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Span:
    """From ``since_ms`` (inclusive) to ``until_ms`` (exclusive)."""

    since_ms: int
    until_ms: int


COLUMNS = (
    "time",
    "proxy",
    "provider",
    "model",
    "credential",
    "client",
    "billing",
    "counted",
    "code",
    "latency_seconds",
    "time_to_first_token_seconds",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "unclassified_tokens",
    "cost_usd",
    "basis",
    "unpriced",
    "price",
)

_ENTRIES = """
select e.ts_ms, e.series, e.billing, e.counted, e.code, e.latency_ms, e.ttft_ms, e.uncached, e.cache_read,
       e.cache_write, e.output, e.reasoning, e.unclassified, e.nano_usd, e.basis, e.unpriced, p.price
from entry e join price p on p.id = e.price
where e.ts_ms >= ? and e.ts_ms < ? order by e.ts_ms, e.id
"""


class Names:
    """Label values of a series as they are shown."""

    def __init__(self, dictionary: LabelStore, labels: Labels) -> None:
        self._dictionary = dictionary
        self._labels = labels
        self._proxies = {id_: name for name, id_ in dictionary.proxies.items()}

    def of(self, series: int) -> tuple[str, str, str, str, str]:
        """Proxy, provider, model, credential, client."""
        found = self._dictionary.series[series]
        route = self._dictionary.routes[found.route]
        return (
            self._proxies[route.proxy],
            route.provider,
            route.model,
            self._labels.credential(found.credential),
            self._labels.client(found.client),
        )


def write_jsonl(connection: sqlite3.Connection, names: Names, span: Span, out: Writer) -> None:
    """One JSON object a line for each entry, oldest first. Money is text: no float holds it exactly."""
    for row in _entries(connection, names, span):
        out.write(json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False) + "\n")


def write_csv(connection: sqlite3.Connection, names: Names, span: Span, out: Writer) -> None:
    """A line for each entry, oldest first, with a header. A text that a spreadsheet would run is made harmless."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in _entries(connection, names, span):
        writer.writerow([_harmless(value) if isinstance(value, str) else value for value in row])


def _harmless(text: str) -> str:
    # A model may be named "=cmd|…": with an apostrophe in front it is a text for every spreadsheet.
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _entries(
    connection: sqlite3.Connection, names: Names, span: Span
) -> Iterator[tuple[str | int | float | bool, ...]]:
    for row in connection.execute(_ENTRIES, (span.since_ms, span.until_ms)):
        (ts_ms, series, billing, counted, code, latency_ms, ttft_ms, uncached, read, write, *rest) = row
        output, reasoning, unclassified, nano_usd, basis, unpriced, price = rest
        yield (
            datetime.fromtimestamp(ts_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            *names.of(series),
            Billing(billing).label,
            bool(counted),
            code,
            latency_ms / 1000,
            ttft_ms / 1000,
            uncached + read + write,
            read,
            write,
            output,
            reasoning,
            unclassified,
            _usd(nano_usd),
            Basis(basis).label,
            unpriced,
            price,
        )


def _usd(nano: int) -> str:
    return f"{nano // 10**9}.{nano % 10**9:09d}"


# --- OpenMetrics ---------------------------------------------------------------------------------------------------

_ROLLUP = """
select coalesce(shown.id, own.id) as series, {keys} r.bucket, {value}
from rollup r
join series own on own.id = r.series
left join series shown on shown.id = own.shown
where r.bucket < ?
group by series, {keys} r.bucket
order by series, {keys} r.bucket
"""

_EXPORTED: tuple[tuple[Family, str, str], ...] = (
    (REQUESTS, "", "sum(r.requests)"),
    (INPUT_TOKENS, "", "sum(r.uncached + r.cache_read + r.cache_write)"),
    (OUTPUT_TOKENS, "", "sum(r.output)"),
    (COST, "r.basis, r.billing,", "sum(r.nano_usd)"),
)


def write_openmetrics(connection: sqlite3.Connection, names: Names, span: Span, out: Writer) -> None:
    """The roll-up as counters over time, for ``promtool tsdb create-blocks-from openmetrics``.

    A sample for each quarter of an hour in which something was used, at its end; before its first use a series is 0.
    Counters start where the roll-up does, so a later ``--since`` shows the same values.
    """
    for family, keys, value in _EXPORTED:
        out.write(f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n")
        rows = connection.execute(_ROLLUP.format(keys=keys, value=value), (span.until_ms // BUCKET_MS,))
        for block, samples in _summed(rows, names, family):
            total = 0
            before: int | None = None
            for bucket, number in samples:
                start, end = bucket * BUCKET_MS, (bucket + 1) * BUCKET_MS
                if before != start and start >= span.since_ms:
                    out.write(_sample(family, block, total, start))
                total += number
                before = end
                if end > span.since_ms:
                    out.write(_sample(family, block, total, end))
    out.write("# EOF\n")


def _summed(
    rows: Iterable[tuple[int, ...]], names: Names, family: Family
) -> Iterable[tuple[str, list[tuple[int, int]]]]:
    """Label block → (bucket, increase) in time order; series with the same labels are added up."""
    blocks: dict[str, dict[int, int]] = {}
    for series, *keys, bucket, number in rows:
        values = [*names.of(series)]
        if keys:
            values += [Basis(keys[0]).label, Billing(keys[1]).label]
        block = ",".join(f'{label}="{escape(text)}"' for label, text in zip(family.labels, values, strict=True))
        increases = blocks.setdefault(block, {})
        increases[bucket] = increases.get(bucket, 0) + number
    return ((block, sorted(increases.items())) for block, increases in blocks.items())


def _sample(family: Family, block: str, total: int, at_ms: int) -> str:
    value = _usd(total) if family is COST else str(total)
    return f"{family.sample_name}{{{block}}} {value} {at_ms // 1000}\n"
