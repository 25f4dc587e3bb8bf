"""A restart is logged at once; a proxy that flaps does not flood the log."""

import pytest
import structlog.testing

from exporter.ingest.loss_watch import QUIET_SECONDS, RestartLog
from tests.fakes.guarding import TurnableClock


@pytest.mark.parametrize(
    ("steps", "logged"),
    [
        pytest.param([(0, 3)], [], id="those that were logged before"),
        pytest.param([(0, 4), (15, 4), (15, 4)], [1], id="one restart, one line"),
        pytest.param([(0, 4), (60, 5), (60, 9), (60, 12)], [1], id="a proxy that flaps"),
        pytest.param([(0, 4), (60, 5), (60, 9), (QUIET_SECONDS, 9)], [1, 5], id="those since the last line"),
        pytest.param([(0, 4), (QUIET_SECONDS, 5)], [1, 1], id="two that are far apart"),
    ],
)
def test_restarts_in_quick_succession_share_a_line(steps: list[tuple[float, int]], logged: list[int]) -> None:
    clock = TurnableClock()
    log = RestartLog("home", clock, restarts=3)
    with structlog.testing.capture_logs() as lines:
        for seconds, restarts in steps:
            clock.advance(seconds)
            log.follow(restarts, consequence="It is so.")
    assert [line["restarts"] for line in lines] == logged
    assert all("Restart detected" in line["message"] and line["proxy"] == "home" for line in lines)
    assert [f"({number} times since" in line["message"] for number, line in zip(logged, lines, strict=True)] == [
        number > 1 for number in logged
    ]


def test_held_back_restarts_are_logged_at_the_end_with_the_cost_of_the_last_one() -> None:
    clock = TurnableClock()
    log = RestartLog("home", clock, restarts=0)
    with structlog.testing.capture_logs() as lines:
        log.follow(1, consequence="First.")
        log.follow(3, consequence="Second.")
        clock.advance(60)
        log.follow(3, consequence="Nothing happened.")
        log.tell()
        log.tell()
    assert [line["restarts"] for line in lines] == [1, 2]
    assert lines[1]["message"].endswith("Second.")
