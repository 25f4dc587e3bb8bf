"""A ledger that tests book into record by record, and the page's overview of it."""

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from exporter.clock import Clock
from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.ledger.store.batches import Interpreted
from exporter.normalize.batch import read_batch
from exporter.records import Basis, Billing, Cost, Rejected, Tokens, UsageRecord
from exporter.settings.proxies import Aliases
from exporter.web.overview import Overview

_BERLIN = ZoneInfo("Europe/Berlin")
_NOON = datetime(2026, 11, 24, 12, 0, tzinfo=_BERLIN)
_HOUR = 3600


class TurnedClock(Clock):
    """A clock that moves only when a test sets it."""

    def __init__(self) -> None:
        self.at = _NOON.timestamp()

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class Books:
    """A ledger that tests book into directly, and the overview of it."""

    def __init__(self, path: Path, *, max_label_sets: int = 5000) -> None:
        self.clock = TurnedClock()
        self.ledger = Ledger(path / FILE_NAME, clock=self.clock, zone=_BERLIN, max_label_sets=max_label_sets)
        self.ledger.register("p")
        self.shown_names = ShownNames(self.ledger.name_store, Aliases(), lambda text: text)
        self.overview = self.fresh()
        self._fingerprint = 0

    def fresh(self) -> Overview:
        """The overview of a restarted exporter."""
        return Overview(ledger=self.ledger, shown_names=self.shown_names, clock=self.clock, zone=_BERLIN)

    def record(
        self,
        *,
        hours_ago: float = 0.0,
        model: str = "m",
        client: str = "alice",
        billing: Billing = Billing.METERED,
        nano_usd: int = 1_000_000_000,
        basis: Basis = Basis.EXACT,
        code: str = "",
        counted: bool = True,
        unpriced: str = "",
    ) -> tuple[UsageRecord, Cost]:
        self._fingerprint += 1
        record = UsageRecord(
            ts_ms=int((self.clock.at - hours_ago * _HOUR) * 1000),
            fingerprint=self._fingerprint,
            provider="claude",
            model=model,
            alias=model,
            auth_index=f"account-{billing.word}",
            source="",
            client=client,
            billing=billing,
            tokens=Tokens(uncached=10, output=5),
            code=code,
            counted=counted,
        )
        return record, Cost(nano_usd=nano_usd, basis=basis, price="a price", unpriced=unpriced)

    def book(self, *records: tuple[UsageRecord, Cost], rejected: int = 0) -> None:
        """Book, and tick as the exporter does every few seconds."""
        body = b"[" + b",".join([b"{}"] * (len(records) + rejected)) + b"]"
        batch = self.ledger.store(
            "p", read_batch(body, pseudonym=lambda text: text), received_ms=int(self.clock.at * 1000)
        )
        assert batch is not None
        why = Rejected(reason="bad_timestamp", detail="planted")
        self.ledger.book(batch, Interpreted(records=list(records), rejected=[(0, why)] * rejected))
        self.ledger.periods.refresh()
