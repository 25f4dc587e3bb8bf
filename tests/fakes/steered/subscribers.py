"""Subscribers to the demo proxy's records: each one gets all of them, and meanwhile the queue gets none.

As observed in CPA 7.2.140: 256 records wait for a subscriber beside those in its connection. If one more comes, CPA
drops it, sends the subscriber the waiting ones and closes the connection.
"""

import threading
from collections import deque
from collections.abc import Callable

from exporter.simulator.proxy import Item

BUFFER = 256


class Subscriber:
    """The waiting records of one subscriber. Any thread may call; ``hang_up`` closes its connection."""

    def __init__(self, hang_up: Callable[[], None]) -> None:
        self.hang_up = hang_up
        self._waiting: deque[Item] = deque()
        self._changed = threading.Condition()
        self._ended = False

    def offer(self, item: Item) -> bool:
        """Let the record wait; False if there is no room, which ends the subscription."""
        with self._changed:
            self._ended = self._ended or len(self._waiting) >= BUFFER
            if not self._ended:
                self._waiting.append(item)
            self._changed.notify()
            return not self._ended

    def take(self) -> Item | None:
        """The next record as soon as there is one; None if there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            return self._waiting.popleft() if self._waiting else None

    def leave(self) -> int:
        """End; returns how many records it has missed."""
        with self._changed:
            left = len(self._waiting)
            self._waiting.clear()
            self._ended = True
            self._changed.notify()
            return left


class Subscribers:
    """All subscribers of a proxy. Any thread may call.

    ``pushed`` counts records per subscriber that got them; ``unsent`` were for a subscriber that left, or that the
    proxy dropped because it did not read.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[Subscriber] = []
        self.pushed = 0
        self.unsent = 0

    def __len__(self) -> int:
        return len(self._all)

    def join(self, subscriber: Subscriber) -> None:
        """Give it every record from now on."""
        with self._lock:
            self._all.append(subscriber)

    def leave(self, subscriber: Subscriber) -> None:
        """Give it no more records, not even waiting ones."""
        with self._lock:
            self._all = [each for each in self._all if each is not subscriber]
            self.unsent += subscriber.leave()

    def publish(self, item: Item) -> bool:
        """Hand the record to each; False without subscribers, so that the queue gets it."""
        with self._lock:
            before = self._all
            self._all = [each for each in before if each.offer(item)]
            self.unsent += len(before) - len(self._all)
            return bool(before)

    def was_sent(self, *, whole: bool) -> None:
        """A record went to a subscriber, or its connection broke meanwhile."""
        with self._lock:
            if whole:
                self.pushed += 1
            else:
                self.unsent += 1

    def drop(self) -> None:
        """Close all connections at once."""
        with self._lock:
            leaving, self._all = self._all, []
        for subscriber in leaving:
            subscriber.hang_up()
