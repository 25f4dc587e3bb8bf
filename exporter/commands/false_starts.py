"""``cliproxy-exporter false-starts``: lists the false starts."""

import click

from exporter import formats
from exporter.commands.existing_ledger import opened
from exporter.sentences import counted


@click.command("false-starts", epilog="Example: cliproxy-exporter false-starts")
def false_starts() -> None:
    """List false starts, the newest first.

    A false start is a sudden first value of a proxy that sends no single requests. It is in no total, window or
    period. FALSE_START_COST_USD says how much is too much.
    """
    with opened() as at:
        name, found = at.shown_names.client, at.ledger.snapshots.false_starts()
        for proxy, client, each in found:
            requests = counted("{number:,} request", "{number:,} requests", each.requests)
            click.echo(
                f"{formats.moment(each.at_ms, at.settings.zone)}  proxy {proxy}, client {name(client)},"
                f" model {each.model}: {requests}, {formats.count(each.tokens)} tokens,"
                f" {formats.usd(each.nano_usd)} if they were all input"
            )
        if not found:
            click.echo("There were no false starts.")
