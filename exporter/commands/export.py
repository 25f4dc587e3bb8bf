"""``cliproxy-exporter export``: entries for a spreadsheet, the roll-up for Prometheus.

Entries are read over a separate connection and written line by line, so that an export of millions needs little memory
and does not disturb booking.
"""

import csv
import json
import sqlite3
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TextIO

import click

from exporter import formats
from exporter.commands.common import moment_option
from exporter.commands.existing_ledger import opened
from exporter.imports.own_csv import COLUMNS
from exporter.ledger.name_store import NameStore
from exporter.ledger.schema import BUCKET_MS
from exporter.ledger.shown_names import ShownNames
from exporter.metrics.family import Family
from exporter.metrics.usage import COST, INPUT_TOKENS, OUTPUT_TOKENS, REQUESTS
from exporter.records import Basis, Billing

_END_MS = 2**62
"""Later than every record, even one of a proxy whose clock is ahead."""

Span = tuple[int, int]
"""From one moment up to but not including another, in ms since the epoch."""

_ENTRIES = """
select e.ts_ms, e.series, e.billing, e.counted, e.code, e.latency_ms / 1000.0, e.ttft_ms / 1000.0,
       e.uncached + e.cache_read + e.cache_write, e.cache_read, e.cache_write, e.output, e.reasoning, e.unclassified,
       e.nano_usd, e.basis, e.unpriced, p.price
from entry e join price p on p.id = e.price
where e.ts_ms >= ? and e.ts_ms < ? order by e.ts_ms, e.id
"""


def write_jsonl(connection: sqlite3.Connection, shown_names: ShownNames, span: Span, out: TextIO) -> None:
    """One JSON object a line for each entry, oldest first. Money is text: no float holds it exactly."""
    for row in _entries(connection, shown_names, span):
        out.write(json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False) + "\n")


def write_csv(connection: sqlite3.Connection, shown_names: ShownNames, span: Span, out: TextIO) -> None:
    """A header and a line for each entry, oldest first. A text that a spreadsheet would execute is made harmless."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in _entries(connection, shown_names, span):
        writer.writerow([formats.harmless(value) if isinstance(value, str) else value for value in row])


def _entries(
    connection: sqlite3.Connection, shown_names: ShownNames, span: Span
) -> Iterator[tuple[str | int | float | bool, ...]]:
    for row in connection.execute(_ENTRIES, span):
        ts_ms, series, billing, counted, code, *numbers, nano_usd, basis, unpriced, price = row
        yield (
            datetime.fromtimestamp(ts_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            *shown_names.series(series),
            Billing(billing).word,
            counted if counted > 1 else bool(counted),  # several: what a proxy without details has counted
            code,
            *numbers,
            formats.plain_usd(nano_usd),
            Basis(basis).word,
            unpriced,
            price,
        )


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


def write_openmetrics(connection: sqlite3.Connection, shown_names: ShownNames, span: Span, out: TextIO) -> None:
    """The roll-up as counters over time, for ``promtool tsdb create-blocks-from openmetrics``.

    Each quarter of an hour with use has a sample at its end; before its first use, a series is 0. Counters start where
    the roll-up does, so a later ``--since`` shows the same values.
    """
    since_ms, until_ms = span
    for family, keys, value in _EXPORTED:
        out.write(family.head(openmetrics=True))
        rows = connection.execute(_ROLLUP.format(keys=keys, value=value), (until_ms // BUCKET_MS,))
        for block, increases in _summed(rows, shown_names, family).items():
            total = 0
            before: int | None = None
            for bucket, number in sorted(increases.items()):
                start, end = bucket * BUCKET_MS, (bucket + 1) * BUCKET_MS
                if before != start and start >= since_ms:
                    out.write(_sample(family, block, total, start))
                total += number
                before = end
                if end >= since_ms:
                    out.write(_sample(family, block, total, end))
    out.write("# EOF\n")


def _summed(rows: Iterable[tuple[int, ...]], shown_names: ShownNames, family: Family) -> Mapping[str, Counter[int]]:
    """Label block → increase by bucket; series with the same labels are added up."""
    blocks: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for series, *kind, bucket, number in rows:
        values = [*shown_names.series(series)]
        if kind:
            values += (Basis(kind[0]).word, Billing(kind[1]).word)
        blocks[family.block(values)][bucket] += number
    return blocks


def _sample(family: Family, block: str, total: int, at_ms: int) -> str:
    value = formats.plain_usd(total) if family is COST else str(total)
    return f"{family.sample_name}{{{block}}} {value} {at_ms // 1000}\n"


_FORMATS = {"jsonl": write_jsonl, "csv": write_csv, "openmetrics": write_openmetrics}


@click.command(
    epilog="Example: cliproxy-exporter export --since 2026-10-01 --until 2026-11-01 --format csv > october.csv"
)
@click.option("--since", help="First day or moment, as 2026-10-01 or 2026-10-01T12:00; days begin in TIMEZONE.")
@click.option("--until", help="Day or moment at which it ends, not included. [default: no end]")
@click.option(
    "--format",
    "format_",
    type=click.Choice(sorted(_FORMATS)),
    default="jsonl",
    show_default=True,
    help="jsonl and csv: one line per record. openmetrics: counters over time, to give Prometheus a past.",
)
def export(since: str | None, until: str | None, format_: str) -> None:
    """Write what is in the ledger to standard output. The exporter may be running.

    To give Prometheus a past, run export --format openmetrics > past.om, then promtool tsdb create-blocks-from
    openmetrics past.om, and move the blocks into Prometheus' data folder.
    """
    with opened() as at:
        settings = at.settings
        since_ms = moment_option("--since", since, settings.zone) if since else 0
        until_ms = moment_option("--until", until, settings.zone) if until else _END_MS
        if since_ms >= until_ms:
            raise click.UsageError("The range ends before it begins: --until must be later than --since.")
        with at.ledger.reading() as connection:
            # The names of the same moment as the entries: a running exporter adds to both.
            name_store = NameStore(max_label_sets=settings.exporter_max_label_sets)
            name_store.load(connection)
            shown_names = ShownNames(name_store, settings.aliases, at.pseudonyms.of)
            _FORMATS[format_](connection, shown_names, (since_ms, until_ms), sys.stdout)
