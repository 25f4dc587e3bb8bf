"""Time, passed in wherever it is needed, so that tests can control it."""

import time


class Clock:
    """The machine's clocks: wall time for what is stored and shown, monotonic time for waiting."""

    def now(self) -> float:
        """Seconds since the Unix epoch. Jumps either way when the clock is set."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment. Never jumps."""
        return time.monotonic()

    def now_ms(self) -> int:
        """``now`` in whole milliseconds."""
        return int(self.now() * 1000)
