"""A ledger with an exposition over it, without a proxy and without the network."""

from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.ledger.store.batches import Interpreted
from exporter.limits.board import LimitBoard
from exporter.metrics.exposition import Exposition
from exporter.normalize.batch import Batch
from exporter.normalize.inventory import Account
from exporter.normalize.pseudonyms import Pseudonyms
from exporter.normalize.wire_record import Wire
from exporter.pricing.pricer import open_prices
from exporter.records import Basis, Billing, Cost, CredentialFacts, Tokens, UsageRecord
from exporter.settings.proxies import Aliases, ClientAlias, CredentialAlias
from exporter.sources.proxy_status import ProxyStatus
from tests.fakes.guarding import TurnableClock

PEOPLE = "*/*"
PROMETHEUS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"

_PSEUDONYM = Pseudonyms(b"test").of


class Bench:
    """The parts, and shortcuts for what the rest of the program does to them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = TurnableClock()
        self.statuses: list[ProxyStatus] = [ProxyStatus(name="p")]
        self.registry = CollectorRegistry(auto_describe=False)
        self._records = 0
        self.open()

    def open(self, aliases: Aliases | None = None) -> None:
        """Start again over the same file, as a restarted exporter does."""
        self.ledger = Ledger(self.path, clock=self.clock, zone=UTC)
        self.ledger.register("p")
        self.shown_names = ShownNames(self.ledger.name_store, aliases or Aliases(), _PSEUDONYM)
        self.limits = LimitBoard(
            ledger=self.ledger, shown_names=self.shown_names, clock=self.clock, statuses=lambda: self.statuses
        )
        self.exposition = Exposition(
            ledger=self.ledger,
            shown_names=self.shown_names,
            statuses=lambda: self.statuses,
            limits=self.limits,
            prices=open_prices(file=None, feed_url=None, store=self.ledger.price_feed, clock=self.clock),
            clock=self.clock,
            registry=self.registry,
        )

    def reopen(self, aliases: Aliases | None = None) -> None:
        self.ledger.close()
        self.open(aliases)

    def book(self, *, times: int = 1, nano_usd: int = 0, unpriced: str = "", **fields: Any) -> None:
        """Book ``times`` records with these fields of ``UsageRecord``."""
        batch = Batch([Wire()] * times)
        stored = self.ledger.store("p", batch, received_ms=int(self.clock.now() * 1000))
        assert stored is not None
        cost = Cost(nano_usd=nano_usd, basis=Basis.EXACT, price="a price", unpriced=unpriced)
        self.ledger.book(stored, Interpreted(records=[(self._record(**fields), cost) for _ in range(times)]))

    def _record(self, **fields: Any) -> UsageRecord:
        self._records += 1
        values: dict[str, Any] = {
            "ts_ms": int(self.clock.now() * 1000),
            "fingerprint": self._records,
            "provider": "claude",
            "model": "m",
            "alias": "",
            "auth_index": "index-1",
            "source": "",
            "client": _PSEUDONYM("key-1"),
            "billing": Billing.METERED,
            "tokens": Tokens(uncached=1, output=1),
        }
        return UsageRecord(**{**values, **fields})

    def list_accounts(self, *accounts: Account) -> None:
        """Take an inventory."""
        self.ledger.take_inventory("p", accounts)

    def scrape(self, accept: str = PEOPLE, *, answered: bool = True, scraper: str = "a scraper") -> str:
        """The text of a scrape; ``answered``: whether it reached the scraper."""
        scrape = self.exposition.scrape(accept=accept, accept_encoding="", scraper=scraper)
        if answered:
            scrape.answered()
        return scrape.body.decode()

    def requests(self, accept: str = PEOPLE, *, model: str = "m", answered: bool = True) -> float:
        """The sum of ``cliproxy_requests_total`` of a model, in a scrape."""
        lines = self.scrape(accept, answered=answered).splitlines()
        found = [
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith("cliproxy_requests_total{") and f'model="{model}"' in line
        ]
        assert found, f"no series of {model}"
        return sum(found)


def account(file: str, *, provider: str = "claude", auth_index: str = "", **more: Any) -> Account:
    """An OAuth account with that file name."""
    return Account(
        facts=CredentialFacts(provider=provider, billing=Billing.SUBSCRIPTION),
        identity=("file", _PSEUDONYM(file)),
        names=(("file", _PSEUDONYM(file)),),
        auth_index=auth_index,
        auth_type="oauth",
        **more,
    )


def aliased(*, client: str = "", file: str = "", auth_index: str = "") -> Aliases:
    """Aliases for the client with ``key-1``, for the account in ``a.json``, for the credential ``index-1``."""
    credentials = []
    if file:
        credentials.append(CredentialAlias(file=SecretStr("a.json"), alias=file))
    if auth_index:
        credentials.append(CredentialAlias(auth_index="index-1", alias=auth_index))
    clients = [ClientAlias(key=SecretStr("key-1"), alias=client)] if client else []
    return Aliases(clients=tuple(clients), credentials=tuple(credentials))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "ledger.sqlite3")
    yield made
    made.ledger.close()
