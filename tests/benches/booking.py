"""What a test of the ledger needs: a ledger with an intake, and its figures recomputed the slow way."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any

from exporter.clock import Clock
from exporter.ingest.queue import QueueIngest
from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.ledger.views.totals import Flow
from exporter.normalize.credentials import Account
from exporter.normalize.pseudonyms import Pseudonyms
from exporter.pricing.pricer import Pricer
from exporter.records import Billing, CredentialFacts
from exporter.simulator.world import CREDENTIALS
from tests.fakes.guarding import TurnableClock

PSEUDONYMS = Pseudonyms(b"a key of tests")
GOOD: dict[str, Any] = {
    "timestamp": "2026-10-01T12:00:00Z",
    "latency_ms": 1500,
    "ttft_ms": 300,
    "provider": "claude",
    "executor_type": "ClaudeExecutor",
    "model": "claude-sonnet-4-5",
    "auth_index": "0123456789abcdef",
    "auth_type": "oauth",
    "source": "dev@example.com",
    "api_key": "sk-client",
    "request_id": "00000001",
    "tokens": {"input_tokens": 100, "output_tokens": 10},
}


def open_ledger(folder: Path, *, clock: Clock | None = None, zone: tzinfo = UTC, max_label_sets: int = 5000) -> Ledger:
    return Ledger(folder / FILE_NAME, clock=clock or TurnableClock(), zone=zone, max_label_sets=max_label_sets)


def intake_of(ledger: Ledger, proxy: str = "p", *, clock: Clock | None = None) -> QueueIngest:
    """An intake that prices everything by the default price."""
    return QueueIngest(proxy, ledger=ledger, pricer=Pricer([]), pseudonym=PSEUDONYMS.of, clock=clock or TurnableClock())


def know_credentials(ledger: Ledger, proxy: str = "p") -> None:
    """Take an inventory that lists the credentials of the demo's traffic, by their handles."""
    accounts = [
        Account(
            facts=CredentialFacts(provider=known.provider, billing=Billing.UNKNOWN),
            identity=None,
            auth_index=known.auth_index,
            auth_type=known.kind,
        )
        for known in CREDENTIALS
    ]
    ledger.take_inventory(proxy, accounts)


def take(intake: QueueIngest, records: Iterable[Mapping[str, Any] | object]) -> int:
    """Feed records to the intake as one body."""
    return intake.take(json.dumps(list(records)).encode(), before_booking=lambda _handles: None)


def flow_of(ledger: Ledger, proxy: str = "p") -> Flow:
    return ledger.totals.flows[ledger.dictionary.proxies[proxy]]


def adds_up(flow: Flow) -> bool:
    """Whether promise 1 holds."""
    out = flow.booked + flow.duplicate + sum(flow.rejected.values()) + flow.pending
    return flow.received + flow.replayed == out


_COLUMNS = ("counted", "uncached", "cache_read", "cache_write", "output", "reasoning", "unclassified", "nano_usd")


def check_sums(ledger: Ledger) -> None:
    """Check that every sum in the file and in memory equals one computed from the entries, entry by entry."""
    with ledger.reading() as connection:
        connection.row_factory = sqlite3.Row
        entries = connection.execute(
            "select e.*, coalesce(s.shown, s.id) as shown_series from entry e join series s on s.id = e.series"
        ).fetchall()
        kept = "select (select coalesce(sum(booked), 0) from proxy) + unbooked_entries from installation"
        assert connection.execute(kept).fetchone()[0] == len(entries) == ledger.totals.entries
        shown = {row["id"]: row for row in connection.execute("select * from series")}
        totals: dict[tuple[Any, ...], list[int]] = {}
        rollup: dict[tuple[Any, ...], list[int]] = {}
        dearest: dict[tuple[Any, ...], int] = {}
        failed: dict[tuple[Any, ...], int] = {}
        unpriced: dict[tuple[Any, ...], int] = {}
        latencies: dict[int, list[int]] = {}
        for entry in entries:
            numbers = [entry[column] for column in _COLUMNS]
            incidents = [entry["counted"] * (entry["code"] != ""), entry["counted"] * (entry["unpriced"] != "")]
            bucket = (entry["ts_ms"] // 900_000, entry["series"], entry["basis"], entry["billing"])
            _add(rollup, bucket, numbers + incidents)
            dearest[bucket] = max(dearest.get(bucket, 0), entry["nano_usd"] if entry["counted"] else 0)
            if entry["live"]:
                _add(totals, (entry["shown_series"], entry["basis"], entry["billing"]), numbers)
            if not entry["live"]:
                continue
            series = shown[entry["shown_series"]]
            if entry["code"]:
                failure = (series["route"], series["credential"], entry["code"])
                failed[failure] = failed.get(failure, 0) + entry["counted"]
            elif entry["latency_ms"] > 0 and entry["counted"]:
                latencies.setdefault(series["route"], []).append(entry["latency_ms"])
            if entry["unpriced"]:
                reason = (series["route"], entry["unpriced"])
                unpriced[reason] = unpriced.get(reason, 0) + entry["counted"]
        assert {tuple(row)[:3]: list(row)[3:] for row in connection.execute("select * from total")} == totals
        rolled_up = {key: [*sums, dearest[key]] for key, sums in rollup.items()}
        assert {tuple(row)[:4]: list(row)[4:] for row in connection.execute("select * from rollup")} == rolled_up
    assert ledger.totals.failed == failed
    assert ledger.totals.unpriced == unpriced
    assert ledger.totals.entries == len(entries)
    assert ledger.totals.costs == {key: numbers[-1] for key, numbers in totals.items()}
    in_memory = {series: list(numbers) for series, numbers in ledger.totals.series.items()}
    assert in_memory == _by_series(totals)
    for route, observed in latencies.items():
        observations, sum_ms, *buckets = ledger.totals.latency[route]
        assert (observations, sum_ms) == (len(observed), sum(observed))
        assert buckets[:3] == [sum(ms <= bound for ms in observed) for bound in (500, 1000, 2500)]
        assert buckets[-1] == sum(ms <= 600_000 for ms in observed)


def _add(sums: dict[tuple[Any, ...], list[int]], key: tuple[Any, ...], numbers: list[int]) -> None:
    known = sums.get(key, [0] * len(numbers))
    sums[key] = [a + b for a, b in zip(known, numbers, strict=True)]


def _by_series(totals: dict[tuple[Any, ...], list[int]]) -> dict[int, list[int]]:
    by_series: dict[int, list[int]] = {}
    for (series, _, _), (requests, uncached, read, write, output, reasoning, unclassified, _) in totals.items():
        known = by_series.get(series, [0] * 7)
        numbers = [requests, uncached + read + write, output, read, write, reasoning, unclassified]
        by_series[series] = [a + b for a, b in zip(known, numbers, strict=True)]
    return by_series
