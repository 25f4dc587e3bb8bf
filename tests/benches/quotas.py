"""A demo proxy with accounts at providers that limit their callers, and the exporter's parts that ask about them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter
from pydantic import SecretStr

from exporter.ingest.poller import Poller
from exporter.ingest.quota_asker import QuotaAsker
from exporter.ledger.shown_names import ShownNames
from exporter.limits.board import LimitBoard
from exporter.limits.present import LimitRow
from exporter.metrics.credentials import QUOTA_FETCHES
from exporter.metrics.exposition import Exposition
from exporter.metrics.proxies import PollMetrics
from exporter.pricing.pricer import open_prices
from exporter.settings.proxies import Aliases, CredentialAlias
from exporter.simulator.world import CREDENTIALS, MANAGEMENT_KEY, Credential
from exporter.sources.proxy_client import Timeouts
from exporter.wiring import Parts, connect
from tests.benches.booking import PSEUDONYMS, parts_of
from tests.benches.program import settings_for
from tests.fakes.guarding import TurnableClock
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack.running import metric_in

NAME = "default"
BY_NAME = {credential.name: credential for credential in CREDENTIALS}


def accounts_like(name: str, number: int) -> list[Credential]:
    """``number`` accounts: the named one unchanged, and others like it with their own names."""
    first = BY_NAME[name]
    others = [
        replace(
            first,
            name=f"{name}-{index}",
            email=f"{index}.{first.email}" if first.email else "",
        )
        for index in range(2, number + 1)
    ]
    return [first, *others]


@dataclass(frozen=True)
class Window:
    """A provider's window as ``/metrics`` and the page show it."""

    used_ratio: float
    observed: float
    note: str


class QuotaBench:
    """One proxy, and the exporter's parts that know windows. Nothing happens unless a test says so."""

    def __init__(
        self,
        folder: Path,
        accounts: Sequence[Credential] = CREDENTIALS,
        *,
        version: str = "v7.2.140",
        active: bool = True,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.clock = TurnableClock(now=1_795_500_600.0)
        self.proxy = SteeredProxy(
            version=version, clock=self.clock, accounts=tuple(accounts), retention_seconds=3600, zone=UTC
        )
        self.vendors = self.proxy.vendors
        self._traffic = Traffic(seed=8, zone=UTC, shape=self.proxy.shape)
        self._folder = folder
        self._active = active
        self._timeouts = timeouts
        self._server = SteeredServer(self.proxy)
        self._server.start()
        self.start()

    # --- the exporter -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the exporter, or start it again after ``stop`` with the same ledger."""
        quotas = "active" if self._active else "passive"
        settings = settings_for(self._folder, proxy_url=self._server.url, key=MANAGEMENT_KEY, exporter_quotas=quotas)
        clock, registry = self.clock, CollectorRegistry()
        self.ledger = ledger = Parts(settings, clock, alone=True).ledger
        prices = open_prices(file=None, feed_url=None, store=ledger.price_feed, clock=clock)
        self._clients = [connect(settings.proxies[0], ledger, clock, timeouts) for timeouts in (None, self._timeouts)]
        pseudonym = PSEUDONYMS.of
        self.poller = Poller(
            self._clients[0],
            parts_of(ledger, clock=clock, pricer=prices),
            observer=PollMetrics(registry),
            false_start_usd=10.0,
        )
        aliases = tuple(
            CredentialAlias(file=SecretStr(each.file_name), alias=each.name)
            for each in self.proxy.accounts
            if each.file_name
        )
        shown_names = ShownNames(ledger.name_store, Aliases(credentials=aliases), pseudonym)
        self.limits = LimitBoard(
            ledger=ledger, shown_names=shown_names, clock=clock, statuses=lambda: [self.poller.status]
        )
        self.asker = QuotaAsker(
            statuses=lambda: [self.poller.status],
            clients={NAME: self._clients[1]} if self._active else {},
            ledger=ledger,
            shown_names=shown_names,
            clock=clock,
            fetches=QUOTA_FETCHES.direct(Counter, registry),
        )
        self._exposition = Exposition(
            ledger=ledger,
            shown_names=shown_names,
            statuses=lambda: [self.poller.status],
            prices=prices,
            limits=self.limits,
            clock=clock,
            registry=registry,
        )
        self.poller.poll()

    def restart(self, *, active: bool) -> None:
        self._active = active
        self.stop()
        self.start()

    def stop(self) -> None:
        self.asker.stop()
        for client in self._clients:
            client.close()
        self.ledger.close()

    def close(self) -> None:
        self.stop()
        self._server.stop()

    # --- what happens -------------------------------------------------------------------------------------------------

    def use(self, *names: str) -> None:
        """Send requests through these accounts, and let the exporter read their records."""
        self._traffic.credentials = tuple(each for each in self.proxy.accounts if each.name in names)
        self.proxy.publish(self._traffic.batch(4, ending=self.clock.now(), span_seconds=20.0))
        self.poller.poll()

    def pass_time(self, seconds: float, *, step: float = 15.0) -> None:
        """Let time pass; every ``step`` seconds the exporter asks about an account if one is due."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            self.asker.ask_next()

    # --- what is seen -------------------------------------------------------------------------------------------------

    @property
    def metrics(self) -> str:
        self.limits.refresh()
        return self._exposition.scrape(accept="*/*", accept_encoding="", scraper="").body.decode()

    def metric(self, name: str, **labels: str) -> float | None:
        return metric_in(self.metrics, name, **labels)

    def rows(self) -> list[LimitRow]:
        """The windows as the page shows them."""
        self.limits.refresh()
        return [LimitRow(each, now_ms=round(self.clock.now() * 1000)) for each in self.limits.current.windows]

    def windows(self) -> dict[tuple[str, str, str], Window]:
        """The windows by account, window and scope."""
        return {
            (row.window.credential, row.window.window, row.window.scope): Window(
                row.window.used_ratio, row.window.observed_ms / 1000, row.note
            )
            for row in self.rows()
        }
