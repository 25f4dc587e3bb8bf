"""Rejected records: how much work they cost, and how long they are kept."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.ledger.ledger import Ledger
from tests.benches.booking import GOOD, adds_up, flow_of, intake_of, open_ledger, take
from tests.benches.snapshots import snapshot_intake
from tests.fakes.guarding import TurnableClock

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


def test_another_odd_detail_costs_the_same_however_many_are_kept(tmp_path: Path) -> None:
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


_DAY = 86_400


def test_records_rejected_while_our_clock_was_far_behind_are_kept_until_they_are_old(tmp_path: Path) -> None:
    clock = TurnableClock()
    behind = clock.now()
    clock.jump(-behind)  # 1970, as after the start of a machine without a battery
    ledger = open_ledger(tmp_path, clock=clock)
    intake = intake_of(ledger, clock=clock)
    take(intake, [GOOD | {"timestamp": f"{day}T08:00:00.123456789+08:00"} for day in ("2026-11-18", "2099-01-01")])
    assert flow_of(ledger).rejected == {"impossible_time": 2}
    clock.jump(behind)

    def prune() -> int:
        before_ms = int((clock.now() - 30 * _DAY) * 1000)
        _, rejected = ledger.retention.prune(entries_before_ms=0, rejected_before_ms=before_ms, stopping=lambda: False)
        return rejected

    assert prune() == 1, "no clock can have been right about the other one"
    clock.advance(29 * _DAY)
    assert prune() == 0
    ledger.queue_rejected(reason=None, now_ms=clock.now_ms())
    intake.work_off()
    assert flow_of(ledger).booked == 1
    assert adds_up(flow_of(ledger))
