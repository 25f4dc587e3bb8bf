"""``cliproxy-exporter export``: entries or history for other programs."""

import sys

import click

from exporter.commands.common import moment_option
from exporter.commands.existing_ledger import opened
from exporter.commands.export_formats import Span, write_csv, write_jsonl, write_openmetrics
from exporter.ledger.label_store import LabelStore
from exporter.ledger.labels import Labels

_END_MS = 2**62
"""After every record, also of a proxy whose clock is ahead."""
_FORMATS = {"jsonl": write_jsonl, "csv": write_csv, "openmetrics": write_openmetrics}


@click.command(
    epilog="Example: cliproxy-exporter export --since 2026-10-01 --until 2026-11-01 --format csv > october.csv"
)
@click.option("--since", help="First day or moment, as 2026-10-01 or 2026-10-01T12:00; days begin in TIMEZONE.")
@click.option("--until", help="Day or moment at which it ends, not included; else everything.")
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

    Give Prometheus a past: export --format openmetrics > past.om; promtool tsdb create-blocks-from openmetrics past.om
    and move the blocks into Prometheus' data folder.
    """
    with opened() as at:
        settings = at.settings
        span = Span(
            since_ms=moment_option("--since", since, settings.zone) if since else 0,
            until_ms=moment_option("--until", until, settings.zone) if until else _END_MS,
        )
        with at.ledger.reading() as connection:
            # The names of the same moment as the entries: a running exporter adds to both.
            dictionary = LabelStore(max_label_sets=settings.exporter_max_label_sets)
            dictionary.load(connection)
            labels = Labels(dictionary, settings.aliases, at.pseudonym)
            _FORMATS[format_](connection, labels, span, sys.stdout)
