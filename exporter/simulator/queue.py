"""The demo proxy's queue: records wait in it until a client pops them or their retention ends."""

from collections import deque
from dataclasses import dataclass

from exporter.clock import Clock
from exporter.simulator.snapshot import Happening


@dataclass(frozen=True, slots=True)
class Item:
    """An element of the queue: its bytes, its happening if traffic made it, and when it came."""

    raw: bytes
    happening: Happening | None
    since: float


@dataclass(frozen=True, slots=True)
class Counts:
    """What has happened since the demo proxy was created; restarts of the proxy do not reset it.

    For the queue, ``enqueued`` = ``popped`` + ``expired`` + ``dropped`` (by a restart) + ``queued``, and ``popped`` =
    ``delivered`` + ``lost`` + the elements in unfinished answers. ``counted`` attempts went into the legacy statistics,
    and complete answers have ``shown`` that many of them. ``pushed`` counts records per subscriber that got them;
    ``unsent`` were for a subscriber that left, or that the proxy dropped because it did not read.
    """

    enqueued: int
    popped: int
    delivered: int
    lost: int
    expired: int
    dropped: int
    queued: int
    discarded: int
    refused_logins: int
    mutating_calls: int
    counted: int = 0
    shown: int = 0
    restarts: int = 0
    subscribers: int = 0
    pushed: int = 0
    unsent: int = 0


class RecordQueue:
    """Elements in order of arrival, and counts of those that came and went. Not thread-safe.

    ``enqueued`` = ``popped`` + ``expired`` + ``dropped`` + the length. As in CPA, elements older than the ``retention``
    in seconds go at the next append or pop.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._items: deque[Item] = deque()
        self.enqueued = 0
        self.popped = 0
        self.expired = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    def append(self, item: Item, *, retention: float) -> None:
        self.expire(retention)
        self._items.append(item)
        self.enqueued += 1

    def pop(self, count: int, *, retention: float) -> list[Item]:
        """Take out up to ``count`` of the oldest elements."""
        self.expire(retention)
        items = [self._items.popleft() for _ in range(min(count, len(self._items)))]
        self.popped += len(items)
        return items

    def pass_through(self, raws: list[bytes]) -> list[Item]:
        """Enqueue and immediately pop elements."""
        self.enqueued += len(raws)
        self.popped += len(raws)
        return [Item(raw, None, self._clock.monotonic()) for raw in raws]

    def expire(self, retention: float) -> None:
        limit = self._clock.monotonic() - retention
        while self._items and self._items[0].since < limit:
            self._items.popleft()
            self.expired += 1

    def drop(self) -> None:
        """Forget all elements, as a restart does."""
        self.dropped += len(self._items)
        self._items.clear()
