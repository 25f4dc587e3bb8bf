"""The demo proxy's queue: records wait in it until a client pops them or their retention ends."""

from collections import deque
from dataclasses import dataclass

from exporter.clock import Clock


@dataclass(frozen=True, slots=True)
class Item:
    """An element of the queue: its bytes, and when it came."""

    raw: bytes
    since: float


class RecordQueue:
    """Elements in order of arrival. Not thread-safe.

    As in CPA, elements older than the ``retention`` in seconds go at the next append or pop.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._items: deque[Item] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def append(self, item: Item, *, retention: float) -> None:
        self.expire(retention)
        self._items.append(item)

    def pop(self, count: int, *, retention: float) -> list[Item]:
        """Take out up to ``count`` of the oldest elements."""
        self.expire(retention)
        return [self._items.popleft() for _ in range(min(count, len(self._items)))]

    def expire(self, retention: float) -> None:
        limit = self._clock.monotonic() - retention
        while self._items and self._items[0].since < limit:
            self._items.popleft()

    def drop(self) -> None:
        """Forget all elements, as a restart does."""
        self._items.clear()
