"""``cliproxy-exporter replay``: tries rejected records again."""

from contextlib import closing

import click

from exporter.commands.existing_ledger import opened
from exporter.errors import LedgerLockedError
from exporter.ingest.queue import QueueIngest
from exporter.ledger.database import DataDirectoryLock
from exporter.wiring import Parts


@click.command(epilog="Example: cliproxy-exporter replay --reason malformed_record")
@click.option("--reason", help="Only records that were rejected for this reason (a label of the rejected counter).")
def replay(reason: str | None) -> None:
    """Try rejected records again, for example after an upgrade.

    Each is booked exactly once, or rejected again. A running exporter books them at its next poll. They count in
    periods, history and exports, but not in the counters, where they would look like today's traffic.
    """
    with opened() as at:
        queued = at.ledger.queue_rejected(reason=reason, now_ms=at.clock.now_ms())
        if not queued:
            click.echo("There is nothing to replay.")
            return
        for proxy, records in queued.items():
            click.echo(f"proxy {proxy}: {records} to try again")
        try:
            lock = DataDirectoryLock(at.settings.exporter_data_dir)
        except LedgerLockedError:
            click.echo("The running exporter books them at its next poll.")
            return
        # Opened anew, because an exporter may have booked until it gave up the lock.
        anew = Parts(at.settings)
        with closing(anew.ledger) as ledger:
            for proxy in queued:
                proxy_id = ledger.register(proxy)
                before = ledger.totals.flows[proxy_id]
                QueueIngest(proxy, anew.ingest).work_off()
                after = ledger.totals.flows[proxy_id]
                rejected = sum(after.rejected.values()) - sum(before.rejected.values())
                click.echo(f"proxy {proxy}: {after.booked - before.booked} booked, {rejected} rejected again")
        lock.release()
