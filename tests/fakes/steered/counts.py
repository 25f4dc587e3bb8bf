"""What a steered proxy knows about each of its records, and how many there were."""

from dataclasses import dataclass

from exporter.clock import Clock
from exporter.simulator.waiting_records import Item, WaitingRecords
from tests.fakes.steered.traffic import Attempt


@dataclass(slots=True, eq=False)
class Happening:
    """An attempt that the proxy recorded once, and whether a client has got it."""

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
    counted: int
    shown: int
    restarts: int
    subscribers: int
    pushed: int
    unsent: int


class CountedRecords(WaitingRecords):
    """``enqueued`` = ``popped`` + ``expired`` + ``dropped`` + the length."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.enqueued = self.popped = self.expired = self.dropped = 0

    def append(self, item: Item) -> None:
        super().append(item)
        self.enqueued += 1

    def pop(self, count: int) -> list[Item]:
        items = super().pop(count)
        self.popped += len(items)
        return items

    def expire(self) -> None:
        before = len(self)
        super().expire()
        self.expired += before - len(self)

    def drop(self) -> None:
        self.dropped += len(self)
        super().drop()
