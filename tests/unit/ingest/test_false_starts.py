"""False starts: sudden first counts of snapshots without details that are too dear to be true."""

from pathlib import Path

import pytest

from exporter.ledger.views.periods import TODAY
from tests.benches.booking import flow_of
from tests.benches.snapshots import SnapshotBench, false_starts_told


def test_a_sudden_first_value_that_costs_too_much_is_kept_apart_and_later_ones_count(stripped: SnapshotBench) -> None:
    stripped.request(model="known")
    stripped.poll()
    stripped.request(model="sudden", tokens=70_000_000)
    stripped.request(model="modest", tokens=60_000_000)
    told = false_starts_told(stripped.poll())
    assert [(event["log_level"], event["models"]) for event in told] == [("warning", ["sudden"])]
    assert "1 request worth 10.50 USD appeared at once. It is kept apart" in told[0]["message"]
    flow = flow_of(stripped.ledger)
    assert (flow.false_starts, stripped.counted) == (1, 1)
    ((_, _, kept),) = stripped.ledger.snapshots.false_starts()
    assert (kept.model, kept.requests, kept.tokens, kept.nano_usd) == ("sudden", 1, 70_000_000, 10_500_000_000)
    assert stripped.of_period(TODAY) == 1
    stripped.request(model="sudden", tokens=5)
    assert not false_starts_told(stripped.poll())
    assert stripped.counted == 2


@pytest.mark.parametrize(("tokens", "false_starts"), [(40_000, 0), (40_001, 1)])
def test_a_first_value_of_exactly_the_bound_is_believed(tmp_path: Path, tokens: int, false_starts: int) -> None:
    bench = SnapshotBench(tmp_path, usd=0.006)
    bench.proxy.stripped = "null"
    bench.poll()
    bench.request(tokens=tokens)
    bench.poll()
    assert flow_of(bench.ledger).false_starts == false_starts


def test_false_starts_of_one_poll_are_one_line(stripped: SnapshotBench) -> None:
    stripped.poll()
    for number in range(300):
        stripped.request(model=f"m{number}", tokens=(100 + number) * 1_000_000)
    (told,) = false_starts_told(stripped.poll())
    assert "300 requests in 300 series worth 11227.50 USD" in told["message"]
    assert told["models"] == ["m299", "m298", "m297", "m296", "m295"], "the dearest"
    assert flow_of(stripped.ledger).false_starts == 300


def test_a_first_value_in_a_restart_is_no_false_start(stripped: SnapshotBench) -> None:
    stripped.request(model="a")
    stripped.poll()
    stripped.proxy.restart()
    stripped.request(model="b", tokens=90_000_000)
    assert not false_starts_told(stripped.poll())
    assert stripped.counted == 1
