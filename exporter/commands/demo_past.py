"""The demo's past: thirty days of invented requests, booked like an import before its first poll.

Pages, reports and limits include them; the counters do not, where they would look like today's traffic.
"""

import msgspec
from pydantic import SecretStr

from exporter.clock import Clock
from exporter.imports.booking import PastImport
from exporter.ledger.database import DataDirectoryLock
from exporter.ledger.ledger import Ledger
from exporter.normalize.batch import read_batch
from exporter.normalize.pseudonyms import Pseudonym
from exporter.opening import connect, open_ledger, open_price_layers, open_pseudonyms
from exporter.settings.model import Settings
from exporter.settings.proxies import ProxySettings
from exporter.simulator.proxy import DemoProxy
from exporter.simulator.server import DemoServer
from exporter.simulator.traffic import Traffic
from exporter.simulator.world import MANAGEMENT_KEY
from exporter.sources.credentials import fetch_inventory
from exporter.sources.paths import V0

DAYS = 30
RECORDS = 8_000
"""As many as can be invented and booked in two seconds."""
_UNTIL_SECONDS = 300.0
"""The past ends this long ago; the demo proxy still has what came later."""
_SEED = 30


def book_demo_past(settings: Settings, clock: Clock) -> int:
    """Book the past of the demo's only proxy, unless its ledger has entries. Returns the number of records.

    Raises LedgerError, also if another exporter uses the data directory.
    """
    lock = DataDirectoryLock(settings.exporter_data_dir)
    try:
        ledger = open_ledger(settings, clock, alone=True)
        try:
            return 0 if ledger.totals.entries else _book(settings, ledger, clock)
        finally:
            ledger.close()
    finally:
        lock.release()


def _book(settings: Settings, ledger: Ledger, clock: Clock) -> int:
    name, now = settings.proxies[0].name, clock.now()
    pseudonym = open_pseudonyms(settings).of
    demo = DemoProxy(key=MANAGEMENT_KEY)
    _list_accounts(name, demo, ledger, pseudonym, clock)
    traffic = Traffic(seed=_SEED, zone=settings.zone, shape=demo.shape)
    attempts = traffic.batch(RECORDS, ending=now - _UNTIL_SECONDS, span_seconds=DAYS * 86_400 - _UNTIL_SECONDS)
    batch = read_batch(msgspec.json.encode([attempt.record for attempt in attempts]), pseudonym=pseudonym)
    past = PastImport(
        name,
        ledger=ledger,
        pricer=open_price_layers(settings, ledger, clock).pricer,
        clock=clock,
        zone=settings.zone,
        dry_run=False,
    )
    return past.take(wire for wire in batch.wires if wire is not None).new


def _list_accounts(name: str, demo: DemoProxy, ledger: Ledger, pseudonym: Pseudonym, clock: Clock) -> None:
    """Register the accounts, as the first poll would: the demo's own proxy may not have started yet."""
    with DemoServer(demo) as server:
        client = connect(
            ProxySettings(name=name, url=server.url, management_key=SecretStr(MANAGEMENT_KEY)), ledger, clock
        )
        inventory = fetch_inventory(client, V0, pseudonym, now_ms=int(clock.now() * 1000))
        client.close()
    ledger.take_inventory(name, inventory.accounts, whole=False)
