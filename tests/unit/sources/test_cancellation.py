"""Ending calls from another thread."""

import threading

from exporter.sources.cancellation import Cancellation
from tests.stack.waiting import wait_until


def test_the_time_limit_of_a_call_ends_with_it() -> None:
    """Otherwise it would cut off a later call on the same connection."""
    before = set(threading.enumerate())
    cancellation = Cancellation()
    with cancellation.limited(3600):
        (timer,) = set(threading.enumerate()) - before
    wait_until(lambda: not timer.is_alive())
    assert not cancellation.timed_out
