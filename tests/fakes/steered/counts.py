"""What a steered proxy knows about each of its records, and how many there are."""

from collections import deque
from dataclasses import dataclass

from exporter.clock import Clock
from exporter.simulator.proxy import Item
from tests.fakes.steered.traffic import Attempt


@dataclass(slots=True, eq=False)
class Happening:
    """An attempt that the proxy recorded once, and whether a client has received it."""

    attempt: Attempt
    delivered: bool = False


@dataclass(frozen=True, slots=True)
class KnownItem(Item):
    """An element of the queue with its happening, if traffic made it."""

    happening: Happening | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """What has happened since the proxy was created; its restarts do not reset it.

    For the queue, ``enqueued`` = ``popped`` + ``expired`` + ``dropped`` (by a restart) + ``queued``, and ``popped`` =
    ``delivered`` + ``lost`` + the elements in unfinished answers. ``counted`` is the number of attempts in the legacy
    statistics, and ``shown`` the number of them that complete answers have shown. ``pushed`` counts records once per
    subscriber that received them; ``unsent`` counts those for a subscriber that left, or that the proxy dropped because
    it did not read.
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
    counted: int
    shown: int
    restarts: int
    subscribers: int
    pushed: int
    unsent: int


class CountedRecords:
    """Records in order of arrival. Not thread-safe. ``enqueued`` = ``popped`` + ``expired`` + ``dropped`` + the length.

    As in CPA, records older than ``retention_seconds`` go when the next one arrives or is popped.
    """

    def __init__(self, clock: Clock, retention_seconds: int) -> None:
        self.enqueued = self.popped = self.expired = self.dropped = 0
        self.retention_seconds = retention_seconds
        self._clock = clock
        self._items: deque[Item] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def append(self, item: Item) -> None:
        self.expire()
        self._items.append(item)
        self.enqueued += 1

    def pop(self, count: int) -> list[Item]:
        self.expire()
        items = [self._items.popleft() for _ in range(min(count, len(self._items)))]
        self.popped += len(items)
        return items

    def expire(self) -> None:
        limit = self._clock.monotonic() - self.retention_seconds
        while self._items and self._items[0].since < limit:
            self._items.popleft()
            self.expired += 1

    def drop(self) -> None:
        self.dropped += len(self._items)
        self._items.clear()
