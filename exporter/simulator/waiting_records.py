"""Records that wait in the demo proxy until a client pops them or their time ends."""

from collections import deque
from dataclasses import dataclass

from exporter.clock import Clock


@dataclass(frozen=True, slots=True)
class Item:
    """A waiting record: its bytes, and when it came."""

    raw: bytes
    since: float


class WaitingRecords:
    """Records in order of arrival. Not thread-safe.

    As in CPA, those older than ``retention_seconds`` go when the next one comes or is popped; 60 is CPA's default.
    """

    def __init__(self, clock: Clock) -> None:
        self.retention_seconds = 60
        self._clock = clock
        self._items: deque[Item] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def append(self, item: Item) -> None:
        self.expire()
        self._items.append(item)

    def pop(self, count: int) -> list[Item]:
        """Take out up to ``count`` of the oldest records."""
        self.expire()
        return [self._items.popleft() for _ in range(min(count, len(self._items)))]

    def expire(self) -> None:
        limit = self._clock.monotonic() - self.retention_seconds
        while self._items and self._items[0].since < limit:
            self._items.popleft()

    def drop(self) -> None:
        """Forget all records, as a restart does."""
        self._items.clear()
