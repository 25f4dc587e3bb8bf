"""Waiting for what must happen, on a machine that may be busy with something else."""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_SECONDS = 60.0
"""How long any wait of a test may last. Much longer than it should: only a test that fails waits to its end."""

_POLL_SECONDS = 0.02

_T = TypeVar("_T")


def wait_until(
    what: Callable[[], _T], until: Callable[[_T], object] = bool, *, seconds: float = PATIENCE_SECONDS
) -> _T:
    """The first ``what()`` that satisfies ``until``. Raises AssertionError after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not until(found := what()):
        assert time.monotonic() < deadline, f"after {seconds} s: {found!r:.3000}"
        time.sleep(_POLL_SECONDS)
    return found
