"""``cliproxy-exporter report``: what was used in a range."""

import json
from collections.abc import Callable, Sequence

import click

from exporter import formats
from exporter.commands.common import print_table
from exporter.commands.existing_ledger import opened
from exporter.ledger.views.usage import Usage
from exporter.records import Billing
from exporter.usage.question import BY, NAMES, Questions
from exporter.usage.ranges import PRESETS, QuestionError
from exporter.usage.report import Report, answer, as_csv, as_json

_COST = {Billing.METERED: "spent", Billing.SUBSCRIPTION: "value", Billing.UNKNOWN: "unknown"}


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    for name in reversed(NAMES):
        command = click.option(f"--{name}", help=f"Only this {name}, by its label.")(command)
    return command


@click.command(epilog="Example: cliproxy-exporter report --by model --since 2026-10-01 --until 2026-11-01")
@click.option("--by", type=click.Choice(BY), default="model", show_default=True, help="What to sum by.")
@click.option("--range", "range_", help=f"{', '.join(PRESETS)} or a month as 2026-10.  [default: 30d]")
@click.option(
    "--since",
    help="First day or moment, as 2026-10-01 or 2026-10-01T12:00; days begin in TIMEZONE.  [default with --until: the"
    " oldest use]",
)
@click.option("--until", help="Day or moment at which it ends, not included.  [default: the end of today]")
@_filters
@click.option("--format", "format_", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
def report(
    by: str, range_: str | None, since: str | None, until: str | None, format_: str, **names: str | None
) -> None:
    """Print what was used in a range, summed by names or by time. The exporter may be running.

    The figures are those of the page /usage. What API keys cost and what accounts with a login are worth stay apart.
    """
    with opened() as at:
        questions = Questions(ledger=at.ledger, shown_names=at.shown_names, clock=at.clock, zone=at.settings.zone)
        given = {"by": by, "range": range_, "since": since, "until": until, **names}
        try:
            found = answer(questions, {name: value for name, value in given.items() if value})
        except QuestionError as exc:
            raise click.UsageError(str(exc)) from exc
        if not found.question.groups and found.question.filters:
            click.echo("note: nothing was ever used with these filters. Their values are labels, as in --by.", err=True)
        _WRITERS[format_](found)


def _write_table(found: Report) -> None:
    question = found.question
    head = (question.by, "requests", "failed", "tokens", "from cache", *(_COST[each] for each in found.billings))
    rows = [
        (
            formats.moment(row.range.since_ms, question.zone) if found.is_by_time else formats.cut(row.name),
            *_cells(row.usage, found.billings),
        )
        for row in found.rows
    ]
    print_table(head, [*rows, ("all", *_cells(found.usage, found.billings))], right=set(head[1:]))


def _cells(usage: Usage, billings: Sequence[Billing]) -> tuple[str, ...]:
    return (
        formats.count(usage.total.requests),
        formats.share(usage.total.failed_share),
        formats.short(usage.total.tokens),
        formats.share(usage.total.cache_share),
        *(formats.usd(usage[billing].cost) for billing in billings),
    )


_WRITERS: dict[str, Callable[[Report], None]] = {
    "table": _write_table,
    "csv": lambda found: click.echo(as_csv(found), nl=False),
    "json": lambda found: click.echo(json.dumps(as_json(found), ensure_ascii=False, indent=2)),
}
