"""``cliproxy-exporter limits``: the limits as they are now, and manual resets."""

import click

from exporter import formats
from exporter.commands.common import print_table
from exporter.commands.existing_ledger import opened
from exporter.errors import ExporterError
from exporter.limits.present import LimitRow

_HEAD = ("limit", "", "used", "budget", "%", "resets in", "pace", "runs out in")
_RIGHT = frozenset({"used", "budget", "%", "pace"})


@click.group(invoke_without_command=True, epilog="Example: cliproxy-exporter limits")
@click.pass_context
def limits(context: click.Context) -> None:
    """Print all limits and providers' windows, the fullest first. The exporter may be running.

    Pace is the used share over the elapsed share of a window: above 1 it runs out before it resets.
    """
    if context.invoked_subcommand is not None:
        return
    with opened() as at:
        board = at.limits
        board.refresh()
        windows = board.current.nearest_first()
        if windows:
            now_ms = at.clock.now_ms()
            several = len(at.ledger.name_store.proxies) > 1
            rows = [_cells(LimitRow(window, now_ms=now_ms, names_proxy=several)) for window in windows]
            print_table(_HEAD, rows, right=_RIGHT)
        else:
            click.echo(
                "No limit is in force: no provider has reported a window, and neither EXPORTER_LIMITS_FILE nor the"
                " table rate_limit_configs in Supabase has one without a mistake."
            )
        for id_ in board.current.unmatched:
            click.echo(f"note: no usage so far counts against the limit {id_}.", err=True)


@limits.command(epilog="Example: cliproxy-exporter limits reset claude-day")
@click.argument("id_", metavar="ID")
def reset(id_: str) -> None:
    """Start the window of the limit ID now. A running exporter follows within seconds."""
    with opened() as at:
        if at.limits.reset(id_) is None:
            known = ", ".join(sorted({each.id for each in at.limits.configured()})) or "none"
            raise ExporterError(
                f"No limit has the id {id_!r}. The ids in EXPORTER_LIMITS_FILE and in the table rate_limit_configs in"
                f" Supabase: {known}."
            )
        click.echo(f"The limit {id_} counts from now on.")


def _cells(row: LimitRow) -> tuple[str, ...]:
    share = formats.share(row.window.used_ratio)
    return (formats.cut(row.name), row.note, row.used, row.budget, share, row.resets, row.pace, row.exhausted)
