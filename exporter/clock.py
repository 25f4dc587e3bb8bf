"""Time, passed in wherever it is needed, so that tests can turn the clock."""

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for what is stored and shown, monotonic time for what is waited for."""

    def now(self) -> float:
        """Seconds since the Unix epoch. May jump either way when somebody sets the clock."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment. Never jumps."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()
