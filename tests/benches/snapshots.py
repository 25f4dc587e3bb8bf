"""Snapshots for tests: an intake over a real ledger, and the ledger's content afterwards."""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from exporter.clock import Clock
from exporter.ingest.loss_watch import RestartLog
from exporter.ingest.snapshot import SnapshotIngest
from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.normalize.inventory import read_auth_files, read_key_list
from exporter.pricing.pricer import Pricer
from tests.benches.booking import PSEUDONYMS, adds_up, flow_of, open_ledger, parts_of
from tests.fakes.guarding import TurnableClock
from tests.fakes.legacy import Detail, LegacyProxy
from tests.fakes.recordings import ROOT, body_of

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC).timestamp()
HOUR_MS = 3_600_000
KEY_LISTS = ("gemini-api-key", "claude-api-key", "codex-api-key", "openai-compatibility", "vertex-api-key")


def snapshot_intake(
    ledger: Ledger, proxy: str = "p", *, clock: Clock | None = None, pricer: Pricer | None = None, usd: float = 10.0
) -> SnapshotIngest:
    """An intake that prices everything at the default price unless there is a ``pricer``."""
    parts = parts_of(ledger, clock=clock, pricer=pricer)
    return SnapshotIngest(proxy, parts, lambda _handles: False, false_start_usd=usd)


def take_accounts(ledger: Ledger, version: str, proxy: str = "p") -> None:
    """Read the recorded inventory of a version into the ledger."""
    accounts = list(read_auth_files(body_of(f"{version}/auth-files-after.json"), PSEUDONYMS.of, received_ms=0).accounts)
    for endpoint in KEY_LISTS:
        if (ROOT / f"{version}/management/{endpoint}.json").exists():
            body = body_of(f"{version}/management/{endpoint}.json")
            accounts += read_key_list(endpoint, body, uses={}, pseudonym=PSEUDONYMS.of).accounts
    ledger.take_inventory(proxy, accounts)


def booked(folder: Path) -> Counter[tuple[Any, ...]]:
    """The entries of the ledger in ``folder``, counted by everything that a detail says."""
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        rows = connection.execute(
            "select e.ts_ms, r.model, e.code <> '', e.latency_ms, e.uncached, e.cache_read, e.output, e.reasoning,"
            " c.pseudonym from entry e join series s on s.id = e.series join route r on r.id = s.route"
            " join client c on c.id = s.client"
        ).fetchall()
    return Counter(rows)


def details_of(body: bytes) -> int:
    """The number of details in a snapshot."""
    usage = json.loads(body)["usage"]
    return sum(len(model["details"] or ()) for api in usage["apis"].values() for model in api["models"].values())


def totals_add_up(ledger: Ledger, proxy: str = "p") -> bool:
    """Whether every record that came in is accounted for."""
    flow = flow_of(ledger, proxy)
    return flow.received + flow.replayed == flow.booked + flow.duplicate + sum(flow.rejected.values()) + flow.pending


@dataclass
class SnapshotBench:
    """A proxy whose clock is ``ahead_s`` ahead, and the intake that reads it."""

    folder: Path
    usd: float = 10.0
    ahead_s: float = 0.0
    clock: TurnableClock = field(default_factory=lambda: TurnableClock(now=NOON))
    proxy: LegacyProxy = field(default_factory=LegacyProxy)
    ledger: Ledger = field(init=False)
    intake: SnapshotIngest = field(init=False)
    restarts: RestartLog = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.ledger = open_ledger(self.folder, clock=self.clock)
        self.ledger.register("p")
        self.intake = snapshot_intake(self.ledger, clock=self.clock, usd=self.usd)
        self.restarts = RestartLog("p", self.clock, restarts=flow_of(self.ledger).restarts)

    def restart(self) -> None:
        self.ledger.close()
        self.start()

    def request(self, *, hours_ago: float = 0.0, model: str = "m", client: str = "sk-a", tokens: int = 100) -> Detail:
        ts_ms = int((self.clock.now() + self.ahead_s) * 1000 - hours_ago * HOUR_MS)
        detail = Detail(ts_ms=ts_ms, latency_ms=0, auth_index="a1", tokens=(tokens, 0), nanoseconds=self._next())
        self.proxy.record(client, model, detail)
        return detail

    def _next(self) -> int:
        self._number = getattr(self, "_number", 0) + 1
        return self._number

    def poll(self, *, after_s: float = 60.0) -> list[Any]:
        """Poll once; return the log."""
        self.clock.advance(after_s)
        with capture_logs() as logged:
            self.intake.take(self.proxy.body(), taken_ms=int((self.clock.now() + self.ahead_s) * 1000))
            self.restarts.follow(flow_of(self.ledger).restarts, consequence="")
        assert adds_up(flow_of(self.ledger))
        return logged

    @property
    def counted(self) -> int:
        """The number of requests in the exported counters."""
        return sum(numbers[0] for numbers in self.ledger.totals.series.values())

    def of_period(self, period: str) -> int:
        self.ledger.periods.refresh()
        return sum(row.amounts.requests for row in self.ledger.periods.current.rows[period])


def false_starts_told(logged: list[Any]) -> list[Any]:
    """The lines of the log about false starts."""
    return [event for event in logged if "False Start detected" in str(event)]
