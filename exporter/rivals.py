"""A suspicion that somebody else reads a proxy's queue: the proxy counts attempts, and none of them becomes a record.

A queue has one consumer, and nothing in CPA's API tells of another one. What gives it away is that the proxy's own
counts of attempts rise while nothing arrives. Attempts that leave no record (``count_tokens``, some broken streams)
rise too, so the suspicion takes many of them, for some time, and not a single record.
"""

from exporter.clock import Clock

ATTEMPTS = 20
SECONDS = 120.0
GAP_SECONDS = 150.0
"""After a longer time without a look nothing can be said: records may have expired while nobody read them."""


class RivalWatch:
    """Compares the counts after each drain that follows an inventory. For one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = self._looked = clock.monotonic() - GAP_SECONDS - 1
        self._attempts = 0
        self._received = 0
        self.suspected = False

    def compare(self, *, attempts: int, received: int) -> None:
        """Take in the proxy's count of attempts since its start, and ours of records ever received from it."""
        now, before = self._clock.monotonic(), self._looked
        self._looked = now
        if now - before > GAP_SECONDS or received != self._received or attempts < self._attempts:
            self._since, self._attempts, self._received = now, attempts, received
            self.suspected = False
            return
        self.suspected = attempts - self._attempts >= ATTEMPTS and now - self._since >= SECONDS
