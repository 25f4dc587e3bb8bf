"""Snapshots for tests: an intake over a real ledger, and what the ledger then holds."""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from exporter.clock import Clock
from exporter.credentials.accounts import read_auth_files, read_key_list
from exporter.ledger.ledger import FILE_NAME, Ledger
from exporter.pricing.engine import Pricer
from exporter.snapshot_intake import SnapshotIntake
from tests.fakes.booking import PSEUDONYMS, flow_of
from tests.fakes.guarding import TurnableClock
from tests.recordings import ROOT, body_of

KEY_LISTS = ("gemini-api-key", "claude-api-key", "codex-api-key", "openai-compatibility", "vertex-api-key")


def snapshot_intake(
    ledger: Ledger, proxy: str = "p", *, clock: Clock | None = None, pricer: Pricer | None = None, usd: float = 10.0
) -> SnapshotIntake:
    """An intake that prices everything by the default price."""
    return SnapshotIntake(
        proxy,
        ledger=ledger,
        pricer=pricer or Pricer([]),
        pseudonym=PSEUDONYMS.of,
        clock=clock or TurnableClock(),
        false_start_usd=usd,
    )


def take_accounts(ledger: Ledger, version: str, proxy: str = "p") -> None:
    """Take over the recorded inventory of a version."""
    accounts = list(read_auth_files(body_of(f"{version}/auth-files-after.json"), PSEUDONYMS.of, received_ms=0).accounts)
    for endpoint in KEY_LISTS:
        if (ROOT / f"{version}/management/{endpoint}.json").exists():
            body = body_of(f"{version}/management/{endpoint}.json")
            accounts += read_key_list(endpoint, body, uses={}, pseudonym=PSEUDONYMS.of).accounts
    ledger.take_inventory(proxy, accounts)


def booked(folder: Path) -> Counter[tuple[Any, ...]]:
    """Entries of the ledger in ``folder`` by everything that a detail says, with their number."""
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
    """Promise 1."""
    flow = flow_of(ledger, proxy)
    return flow.received + flow.replayed == flow.booked + flow.duplicate + sum(flow.rejected.values()) + flow.pending
