"""What a test of the ledger needs: a ledger with an intake, and its figures recomputed the slow way."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any

from exporter.clock import Clock
from exporter.ingest.parts import IngestParts
from exporter.ingest.queue import QueueIngest
from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.ledger.views.totals import Flow
from exporter.normalize.inventory import Account
from exporter.normalize.pseudonyms import Pseudonyms
from exporter.pricing.lookup import NO_PRICES
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
    """An intake that prices everything at the default price."""
    return QueueIngest(proxy, parts_of(ledger, clock=clock))


def parts_of(ledger: Ledger, *, clock: Clock | None = None, pricer: Pricer | None = None) -> IngestParts:
    """What an intake needs. It prices everything at the default price unless there is a ``pricer``."""
    return IngestParts(
        ledger=ledger, pricer=pricer or Pricer(NO_PRICES), pseudonym=PSEUDONYMS.of, clock=clock or TurnableClock()
    )


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
    return intake.take(json.dumps(list(records)).encode())


def flow_of(ledger: Ledger, proxy: str = "p") -> Flow:
    return ledger.totals.flows[ledger.name_store.proxies[proxy]]


def adds_up(flow: Flow) -> bool:
    """Whether every record that came in is accounted for."""
    out = flow.booked + flow.duplicate + sum(flow.rejected.values()) + flow.pending
    return flow.received + flow.replayed == out


_COLUMNS = ("counted", "uncached", "cache_read", "cache_write", "output", "reasoning", "unclassified", "nano_usd")
_SUMS = ", ".join(f"sum({column})" for column in _COLUMNS)
_ROLLUP = (
    f"select ts_ms / 900000, series, basis, billing, {_SUMS}, sum(counted * (code <> '')),"
    " sum(counted * (unpriced <> '')), max(0, max(iif(counted, nano_usd, 0))) from entry group by 1, 2, 3, 4"
)
_SHOWN = (
    "with shown as (select e.*, t.id as shown_series, t.route, t.credential from entry e"
    " join series s on s.id = e.series join series t on t.id = coalesce(s.shown, s.id) where e.live)"
)
_TOTALS = f"{_SHOWN} select shown_series, basis, billing, {_SUMS} from shown group by 1, 2, 3"
_FAILED = f"{_SHOWN} select route, credential, code, sum(counted) from shown where code <> '' group by 1, 2, 3"
_UNPRICED = f"{_SHOWN} select route, unpriced, sum(counted) from shown where unpriced <> '' group by 1, 2"
_LATENCIES = f"{_SHOWN} select route, latency_ms from shown where code = '' and latency_ms > 0 and counted"


def check_sums(ledger: Ledger) -> None:
    """Check that every sum in the file and in memory equals one computed from all the entries."""
    with ledger.reading() as connection:

        def by(columns: int, query: str) -> dict[tuple[Any, ...], tuple[int, ...]]:
            """The rows by their first ``columns``."""
            return {row[:columns]: row[columns:] for row in connection.execute(query)}

        kept = "select (select coalesce(sum(booked), 0) from proxy) + unbooked_entries, count(e.id)"
        expected, entries = connection.execute(f"{kept} from installation left join entry e").fetchone()
        assert expected == entries == ledger.totals.entries
        totals, failed, unpriced = by(3, _TOTALS), by(3, _FAILED), by(2, _UNPRICED)
        assert by(3, "select * from total") == totals
        assert by(4, "select * from rollup") == by(4, _ROLLUP)
        latencies: dict[int, list[int]] = {}
        for route, ms in connection.execute(_LATENCIES):
            latencies.setdefault(route, []).append(ms)
    assert ledger.totals.failed == {key: number for key, (number,) in failed.items()}
    assert ledger.totals.unpriced == {key: number for key, (number,) in unpriced.items()}
    assert ledger.totals.costs == {key: numbers[-1] for key, numbers in totals.items()}
    in_memory = {series: list(numbers) for series, numbers in ledger.totals.series.items()}
    assert in_memory == _by_series(totals)
    for route, observed in latencies.items():
        observations, sum_ms, *buckets = ledger.totals.latency[route]
        assert (observations, sum_ms) == (len(observed), sum(observed))
        assert buckets[:3] == [sum(ms <= bound for ms in observed) for bound in (500, 1000, 2500)]
        assert buckets[-1] == sum(ms <= 600_000 for ms in observed)


def _by_series(totals: Mapping[tuple[Any, ...], Iterable[int]]) -> dict[int, list[int]]:
    by_series: dict[int, list[int]] = {}
    for (series, _, _), (requests, uncached, read, write, output, reasoning, unclassified, _) in totals.items():
        known = by_series.get(series, [0] * 7)
        numbers = [requests, uncached + read + write, output, read, write, reasoning, unclassified]
        by_series[series] = [a + b for a, b in zip(known, numbers, strict=True)]
    return by_series
