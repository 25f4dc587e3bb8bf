"""Waits for conditions on a machine that may be busy with something else."""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_SECONDS = 60.0
"""The longest that any wait of a test may last. It is far longer than needed: only a failing test waits to the end."""

_POLL_SECONDS, _MOST_POLL_SECONDS = 0.02, 0.5

_T = TypeVar("_T")


def wait_until(
    what: Callable[[], _T], until: Callable[[_T], object] = bool, *, seconds: float = PATIENCE_SECONDS
) -> _T:
    """The first ``what()`` that satisfies ``until``. Raises AssertionError after ``seconds``."""
    begun = asked = time.monotonic()
    while not until(found := what()):
        assert time.monotonic() < begun + seconds, f"after {seconds} s: {found!r:.3000}"
        rest(begun, asked)
        asked = time.monotonic()
    return found


def rest(begun: float, asked: float) -> None:
    """Sleep until the next question, so that the machine can do what the test waits for.

    The pause grows with the time of the last question (since ``asked``) and with the whole wait (since ``begun``).
    """
    now = time.monotonic()
    time.sleep(min(max(_POLL_SECONDS, 3 * (now - asked), (now - begun) / 10), _MOST_POLL_SECONDS))
