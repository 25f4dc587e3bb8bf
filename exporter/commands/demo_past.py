"""The demo's past: thirty days of invented requests. They are booked like an import, before its first poll.

Pages, reports and limits include them. The counters do not: there they would look like today's traffic. One account,
which a job uses evenly, has readings, too. So the worth of its windows is known at once, and that one of them shrank.
"""

from collections.abc import Sequence
from contextlib import ExitStack, closing

import msgspec
from msgspec.structs import replace
from pydantic import SecretStr

from exporter.clock import Clock
from exporter.imports.booking import PastImport
from exporter.ledger.database import DataDirectoryLock
from exporter.ledger.ledger import Ledger
from exporter.limits.capacity import CapacityWatch
from exporter.normalize.batch import read_batch
from exporter.normalize.inventory import Account
from exporter.normalize.wire_record import Wire
from exporter.quotas.headers import allowed_headers, read_headers
from exporter.settings.model import Settings
from exporter.settings.proxies import ProxySettings
from exporter.simulator.proxy import DemoProxy
from exporter.simulator.quotas import FIVE_HOURS, codex_headers
from exporter.simulator.server import DemoServer
from exporter.simulator.traffic import Traffic
from exporter.simulator.wire import wire_record
from exporter.simulator.world import MANAGEMENT_KEY, SHOWN, TROUBLED
from exporter.sources.inventory import fetch_inventory
from exporter.sources.paths import V0
from exporter.wiring import Parts, connect

DAYS = 30
RECORDS = 8_000
"""As many as can be invented and booked in two seconds."""
_UNTIL_SECONDS = 300
"""The past ends this long ago; the demo proxy still has what came later."""
_STEADY_SECONDS = 3 * 86_400
"""How far back the steady use and its readings go: in this time a limit changes twice, and readings prove it."""
_READ_EVERY_SECONDS = 1800
_SEED = 30


def book_demo_past(settings: Settings, clock: Clock) -> int:
    """Book the past of the demo's only proxy, unless its ledger has entries. Returns the number of records.

    Raises LedgerError, also if another exporter uses the data directory.
    """
    with ExitStack() as stack:
        stack.callback(DataDirectoryLock(settings.exporter_data_dir).release)
        parts = Parts(settings, clock, alone=True)
        ledger = stack.enter_context(closing(parts.ledger))
        return 0 if ledger.totals.entries else _book(parts)


def _book(parts: Parts) -> int:
    ledger, clock, zone = parts.ledger, parts.clock, parts.settings.zone
    name, now = parts.settings.proxies[0].name, clock.now()
    accounts = _list_accounts(name, parts)
    traffic = Traffic(seed=_SEED, zone=zone, credentials=SHOWN)
    until = now - _UNTIL_SECONDS
    events = [
        *traffic.batch(RECORDS, ending=until, span_seconds=DAYS * 86_400 - _UNTIL_SECONDS),
        *traffic.steady(since=now - _STEADY_SECONDS, until=until),
    ]
    body = msgspec.json.encode([wire_record(event, zone) for event in events])
    past = PastImport(name, ledger=ledger, pricer=parts.prices, clock=clock, zone=zone, dry_run=False)
    past.take(wire for wire in read_batch(body, pseudonym=parts.pseudonyms.of).wires if isinstance(wire, Wire))
    _read_windows(name, accounts, ledger, until=int(until))
    return past.findings.new


def _read_windows(name: str, accounts: Sequence[Account], ledger: Ledger, *, until: int) -> None:
    """Store the readings of the account that is used evenly, and look for changes, as if it all happened now."""
    watch = CapacityWatch(ledger)
    credential = next(each for each in TROUBLED if each.trouble == "shrinks")
    account = next(each for each in accounts if each.auth_index == credential.auth_index)
    for at in range(until - _STEADY_SECONDS + _UNTIL_SECONDS, until, _READ_EVERY_SECONDS):
        at_ms = at * 1000
        readings = read_headers(
            allowed_headers(codex_headers(credential, at)),
            provider=credential.provider,
            model=credential.models[0].name,
            answered_ms=at_ms,
            received_ms=at_ms,
        )
        ledger.take_inventory(name, [replace(account, readings=tuple(readings))], whole=False)
        if at % FIVE_HOURS < _READ_EVERY_SECONDS:  # a window has ended
            watch.look(at_ms)


def _list_accounts(name: str, parts: Parts) -> Sequence[Account]:
    """Register the accounts, as the first poll would: the demo's own proxy may not have started yet."""
    with DemoServer(DemoProxy(accounts=SHOWN)) as server:
        proxy = ProxySettings(name=name, url=server.url, management_key=SecretStr(MANAGEMENT_KEY))
        with closing(connect(proxy, parts.ledger, parts.clock)) as client:
            accounts = fetch_inventory(client, V0, parts.pseudonyms.of, now_ms=parts.clock.now_ms()).accounts
    parts.ledger.take_inventory(name, accounts, whole=False)
    return accounts
