"""Rejected records: a proxy whose details all are odd must not keep the ledger busy."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.ledger.ledger import Ledger
from tests.benches.booking import adds_up, flow_of, open_ledger
from tests.benches.snapshots import snapshot_intake

_STEPS_PER_CALL = 100


@contextmanager
def _work(ledger: Ledger) -> Iterator[Callable[[], int]]:
    """How much SQLite has done: the same on a slow machine as on a fast one."""
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    connection = ledger._database._connection
    connection.set_progress_handler(count, _STEPS_PER_CALL)
    yield lambda: calls
    connection.set_progress_handler(None, 0)


def _snapshot(details: int) -> bytes:
    odd = [{"timestamp": "1999-01-01T00:00:00Z", "latency_ms": number} for number in range(details)]
    series = {"total_requests": details, "details": odd}
    return json.dumps({"usage": {"apis": {"sk-a": {"models": {"m": series}}}}}).encode()


def test_another_odd_detail_costs_no_more_because_many_are_kept(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.register("p")
    intake = snapshot_intake(ledger)
    used: list[int] = []
    for details in (1_000, 2_000, 4_000, 8_000):
        with _work(ledger) as calls:
            intake.take(_snapshot(details), taken_ms=0)
            used.append(calls())

    assert flow_of(ledger).rejected == {"impossible_time": 8_000}
    assert adds_up(flow_of(ledger))
    assert used[-1] < 12 * used[0], "eight times as many details"
