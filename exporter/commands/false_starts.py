"""``cliproxy-exporter false-starts``: what was not believed."""

import click

from exporter import formats
from exporter.clock import SystemClock
from exporter.commands.common import exit_codes, ready_settings
from exporter.commands.existing_ledger import existing_ledger
from exporter.ledger.labels import Labels
from exporter.opening import open_pseudonyms


@click.command("false-starts", epilog="Example: cliproxy-exporter false-starts")
def false_starts() -> None:
    """List false starts, the newest first: sudden first values of a proxy that sends no single requests.

    They are in no total, window or period. FALSE_START_COST_USD says how much is too much.
    """
    with exit_codes():
        settings = ready_settings()
        ledger = existing_ledger(settings, SystemClock())
        labels = Labels(ledger.dictionary, settings.aliases, open_pseudonyms(settings).of)
        found = ledger.snapshots.false_starts()
        for each in found:
            click.echo(
                f"{formats.moment(each.at_ms, settings.zone)}  proxy {each.proxy}, client {labels.client(each.client)},"
                f" model {each.model}: {formats.count(each.requests)} requests, {formats.count(each.tokens)} tokens,"
                f" {formats.usd(each.nano_usd)} if they were all input"
            )
        if not found:
            click.echo("There were no false starts.")
        ledger.close()
