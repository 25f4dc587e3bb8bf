"""The part of the program between a popped body and the committed ledger, wired as ``exporter/app.py`` does it."""

from datetime import UTC
from functools import cache
from pathlib import Path

from exporter.clock import Clock
from exporter.ingest.parts import IngestParts
from exporter.ingest.queue import QueueIngest
from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.normalize.inventory import Account
from exporter.normalize.pseudonyms import Pseudonyms
from exporter.pricing.catalogue import load_catalogue
from exporter.pricing.pricer import Pricer
from exporter.records import Billing, CredentialFacts
from exporter.simulator.world import CREDENTIALS

PROXY = "default"
_MAX_LABEL_SETS = 100_000


class Program:
    """A ledger in ``directory``, new or existing, whose inventory knows all credentials. For one thread."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = directory / FILE_NAME
        self.clock = Clock()
        self.pseudonym = Pseudonyms(b"benchmark").of
        self.ledger = Ledger(self._file, clock=self.clock, zone=UTC, max_label_sets=_MAX_LABEL_SETS)
        self.ledger.register(PROXY)
        self.ledger.take_inventory(PROXY, _accounts())
        self.parts = IngestParts(ledger=self.ledger, pricer=pricer(), pseudonym=self.pseudonym, clock=self.clock)
        self._ingest = QueueIngest(PROXY, self.parts, self._know_credentials)

    def take(self, body: bytes) -> None:
        """Read, redact, store with a sync, normalize, price and book the records of ``body``."""
        self._ingest.take(body)

    def poll(self, body: bytes) -> None:
        """Do everything that a poll does with its records and the ledger, except HTTP."""
        self._ingest.work_off()
        self.take(body)
        self.ledger.polled(PROXY, at_ms=int(self.clock.now() * 1000))

    def close(self) -> int:
        """Close the ledger. Returns the size of its file, which then holds everything: no log is left beside it."""
        self.ledger.close()
        return self._file.stat().st_size

    def _know_credentials(self, handles: set[str]) -> bool:
        if not all(self.ledger.name_store.is_listed(PROXY, handle) for handle in handles):
            raise ValueError("a record names a credential that is not in the inventory")
        return False


@cache
def pricer() -> Pricer:
    """The pricer of the bundled lists."""
    return Pricer(load_catalogue())


def _accounts() -> list[Account]:
    billing = {"oauth": Billing.SUBSCRIPTION, "apikey": Billing.METERED}
    return [
        Account(
            facts=CredentialFacts(provider=known.provider, billing=billing[known.kind]),
            identity=None,
            auth_index=known.auth_index,
            auth_type=known.kind,
        )
        for known in CREDENTIALS
    ]
