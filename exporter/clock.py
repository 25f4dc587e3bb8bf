"""Time, passed in wherever it is needed, so that tests can control it."""

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for what is stored and shown, monotonic time for waiting."""

    def now(self) -> float:
        """Seconds since the Unix epoch. Jumps either way when the clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment. Never jumps."""
        ...

    def now_ms(self) -> int:
        """``now`` in whole milliseconds."""
        return int(self.now() * 1000)


class SystemClock(Clock):
    """The machine's clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()
