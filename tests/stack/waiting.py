"""Waiting for what must happen, on a machine that may be busy with something else."""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_SECONDS = 60.0
"""How long any wait of a test may last. Much longer than it should: only a test that fails waits to its end."""

_POLL_SECONDS, _MOST_POLL_SECONDS = 0.02, 0.5

_T = TypeVar("_T")


def wait_until(
    what: Callable[[], _T], until: Callable[[_T], object] = bool, *, seconds: float = PATIENCE_SECONDS
) -> _T:
    """The first ``what()`` that satisfies ``until``. Raises AssertionError after ``seconds``."""
    asked = time.monotonic()
    deadline = asked + seconds
    while not until(found := what()):
        now = time.monotonic()
        assert now < deadline, f"after {seconds} s: {found!r:.3000}"
        # Whoever waits leaves the machine to the one waited for: a question that takes long is asked less often.
        time.sleep(min(max(_POLL_SECONDS, 3 * (now - asked)), _MOST_POLL_SECONDS))
        asked = time.monotonic()
    return found
