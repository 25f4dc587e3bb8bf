"""When somebody else is suspected of reading the queue, and when not."""

import pytest

from exporter.rivals import ATTEMPTS, SECONDS, RivalWatch
from tests.fakes.guarding import TurnableClock


@pytest.mark.parametrize(
    ("steps", "suspected"),
    [
        pytest.param([(0, 5, 5)], False, id="the first look"),
        pytest.param([(0, 5, 5), (SECONDS, 5 + ATTEMPTS, 5)], True, id="many attempts, no record"),
        pytest.param([(0, 5, 5), (SECONDS, 4 + ATTEMPTS, 5)], False, id="few attempts: count_tokens leaves no record"),
        pytest.param([(0, 5, 5), (SECONDS - 1, 500, 5)], False, id="not for long: records follow their attempts"),
        pytest.param([(0, 5, 5), (SECONDS, 500, 6)], False, id="a record arrived"),
        pytest.param([(0, 5, 5), (SECONDS, 5, 5)], False, id="no traffic"),
        pytest.param([(0, 500, 5), (SECONDS, 100, 5)], False, id="the proxy started anew"),
        pytest.param([(0, 5, 5), (SECONDS, 500, 5), (60, 501, 6)], False, id="it is over when a record arrives"),
        pytest.param([(0, 5, 5), (60, 10, 5), (60, 30, 5)], True, id="rising slowly"),
        pytest.param([(0, 5, 5), (3600, 500, 5)], False, id="an hour without a look: they may have expired"),
    ],
)
def test_suspicion(steps: list[tuple[float, int, int]], suspected: bool) -> None:
    clock = TurnableClock()
    watch = RivalWatch(clock)
    for seconds, attempts, received in steps:
        clock.advance(seconds)
        watch.compare(attempts=attempts, received=received)
    assert watch.suspected is suspected
