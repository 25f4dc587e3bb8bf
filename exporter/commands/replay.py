"""``cliproxy-exporter replay``: try rejected records again."""

import click

from exporter.clock import SystemClock
from exporter.commands.common import exit_codes, ready_settings
from exporter.commands.existing_ledger import existing_ledger
from exporter.errors import LedgerLockedError
from exporter.ingest.queue import QueueIngest
from exporter.ledger.database import DataDirectoryLock
from exporter.opening import open_ledger, open_price_layers, open_pseudonyms
from exporter.settings.model import Settings


@click.command(epilog="Example: cliproxy-exporter replay --reason malformed_record")
@click.option("--reason", help="Only records that were rejected for this reason (a label of the rejected counter).")
def replay(reason: str | None) -> None:
    """Run kept rejected records through this version's code, after an upgrade for example.

    Each is booked exactly once, or rejected again. A running exporter books them at its next poll. They count in
    periods, history and exports, but not in the counters, where they would look like today's traffic.
    """
    with exit_codes():
        settings = ready_settings()
        clock = SystemClock()
        ledger = existing_ledger(settings, clock)
        queued = ledger.queue_rejected(reason=reason, now_ms=int(clock.now() * 1000))
        if not queued:
            click.echo("There is nothing to replay.")
            return
        for proxy, records in queued.items():
            click.echo(f"proxy {proxy}: {records} records to try again")
        try:
            lock = DataDirectoryLock(settings.exporter_data_dir)
        except LedgerLockedError:
            click.echo("The running exporter books them at its next poll.")
            return
        _book(settings, list(queued))
        lock.release()


def _book(settings: Settings, proxies: list[str]) -> None:
    clock = SystemClock()
    ledger = open_ledger(settings, clock)
    pricer = open_price_layers(settings, ledger, clock).pricer
    pseudonym = open_pseudonyms(settings).of
    for proxy in proxies:
        proxy_id = ledger.register(proxy)
        before = ledger.totals.flows[proxy_id]
        QueueIngest(proxy, ledger=ledger, pricer=pricer, pseudonym=pseudonym, clock=clock).work_off()
        after = ledger.totals.flows[proxy_id]
        rejected = sum(after.rejected.values()) - sum(before.rejected.values())
        click.echo(f"proxy {proxy}: {after.booked - before.booked} booked, {rejected} rejected again")
