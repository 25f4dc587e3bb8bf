"""The queue of a demo proxy: records wait in it until a client pops them or their retention is over."""

from collections import deque
from dataclasses import dataclass

from exporter.clock import Clock
from exporter.simulator.snapshot import Happening
from exporter.simulator.traffic import Attempt


@dataclass(frozen=True, slots=True)
class Item:
    """An element of the queue: its bytes, what happened if it came from traffic, and when it was enqueued."""

    raw: bytes
    happening: Happening | None
    since: float

    @property
    def attempt(self) -> Attempt | None:
        return self.happening.attempt if self.happening is not None else None


@dataclass(frozen=True, slots=True)
class Counts:
    """What happened since the demo proxy was created; restarts of the proxy do not reset it.

    ``enqueued`` = ``popped`` + ``expired`` + ``dropped`` (by a restart) + ``queued``, and ``popped`` = ``delivered`` +
    the length of ``lost`` + what an answer that is still being sent holds. All of these are about the queue;
    ``counted`` attempts went into the legacy statistics, and ``shown`` of them were in an answer that was sent in full.
    ``pushed`` records were sent to ``subscribers``, once for each of these; ``unsent`` were meant for one that left, or
    that was dropped because it did not read.
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
    """Elements in the order of their arrival, and the number of those that came and went. Not thread-safe.

    ``enqueued`` = ``popped`` + ``expired`` + ``dropped`` + the length. As in CPA, what is older than the retention in
    force goes at the next append or pop. ``retention`` is in seconds.
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
        """Take up to ``count`` of the oldest elements out."""
        self.expire(retention)
        items = [self._items.popleft() for _ in range(min(count, len(self._items)))]
        self.popped += len(items)
        return items

    def pass_through(self, raws: list[bytes]) -> list[Item]:
        """Elements that are enqueued and popped at once."""
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
