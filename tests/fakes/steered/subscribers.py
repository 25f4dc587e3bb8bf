"""Subscribers to the demo proxy's records: each one receives all of them, and meanwhile the queue receives none.

As observed in CPA 7.2.140, 256 records wait for a subscriber in addition to those in its connection. If one more
arrives, CPA drops it, sends the waiting ones to the subscriber and closes the connection.
"""

import threading
from collections import deque
from collections.abc import Callable

from exporter.simulator.proxy import Item

BUFFER = 256


class Subscriber:
    """The waiting records of one subscriber. Any thread may call it; ``hang_up`` closes its connection."""

    def __init__(self, hang_up: Callable[[], None]) -> None:
        self.hang_up = hang_up
        self._waiting: deque[Item] = deque()
        self._changed = threading.Condition()
        self._ended = False

    def offer(self, item: Item) -> bool:
        """Queue the record; False if there is no room, which ends the subscription."""
        with self._changed:
            self._ended = self._ended or len(self._waiting) >= BUFFER
            if not self._ended:
                self._waiting.append(item)
            self._changed.notify()
            return not self._ended

    def take(self) -> Item | None:
        """Wait for the next record; None if there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            return self._waiting.popleft() if self._waiting else None

    def leave(self) -> int:
        """End the subscription; return how many records it has missed."""
        with self._changed:
            left = len(self._waiting)
            self._waiting.clear()
            self._ended = True
            self._changed.notify()
            return left


class Subscribers:
    """All subscribers of a proxy. Any thread may call it.

    ``pushed`` counts records once per subscriber that received them; ``unsent`` counts those for a subscriber that
    left, or that the proxy dropped because it did not read.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[Subscriber] = []
        self.pushed = 0
        self.unsent = 0

    def __len__(self) -> int:
        return len(self._all)

    def join(self, subscriber: Subscriber) -> None:
        """Add a subscriber, which receives every record from now on."""
        with self._lock:
            self._all.append(subscriber)

    def leave(self, subscriber: Subscriber) -> None:
        """Remove a subscriber, which receives no more records, not even waiting ones."""
        with self._lock:
            self._all = [each for each in self._all if each is not subscriber]
            self.unsent += subscriber.leave()

    def publish(self, item: Item) -> bool:
        """Hand the record to each subscriber; False without subscribers, so that it goes to the queue."""
        with self._lock:
            before = self._all
            self._all = [each for each in before if each.offer(item)]
            self.unsent += len(before) - len(self._all)
            return bool(before)

    def was_sent(self, *, whole: bool) -> None:
        """Note that a record went to a subscriber, or that its connection broke meanwhile."""
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
