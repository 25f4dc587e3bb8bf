"""A simulated proxy with honest traffic and, optionally, a rival that reads its queue: hours of it in a moment."""

import math
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from exporter.sources.loss_detection import Counts, LossDetector, compare

POLL_SECONDS = 15
LOOK_EVERY = 4
"""The number of polls from one comparison to the next: the exporter reads the inventory once a minute."""


@dataclass(kw_only=True)
class Queue:
    """A proxy that runs in steps of one second: its counts by credential, and its queue.

    It has ``per_minute`` attempts; the share ``recordless`` of them leaves no record and comes in bursts of ``burst``.
    ``takes(second)`` says whether a rival empties the queue then. A count or a record may come up to ``lag`` seconds
    late, as when a stream stays open; the sign says which of the two comes first.
    """

    seed: int
    per_minute: float
    recordless: float = 0.0
    burst: int = 1
    lag: int = 0
    credentials: int = 3
    recordless_credentials: int | None = None
    """The number of credentials that have such attempts; None: all."""
    takes: Callable[[int], bool] = lambda _: False
    attempts: Counter[int] = field(default_factory=Counter)
    queue: list[int] = field(default_factory=list)
    stolen: int = 0
    silent_calls: int = 0
    second: int = 0
    _late: deque[tuple[int, int, bool]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        per_second = self.per_minute / 60
        self._rate, self._silent_rate = per_second * (1 - self.recordless), per_second * self.recordless / self.burst
        self._next, self._next_silent = self._gap(self._rate), self._gap(self._silent_rate)

    def tick(self) -> None:
        """Let one second pass."""
        self.second += 1
        chance = self._random
        while self._next <= self.second:
            self._next += self._gap(self._rate)
            self._happen(chance.randrange(self.credentials), record=True)
        while self._next_silent <= self.second:
            self._next_silent += self._gap(self._silent_rate)
            which = chance.randrange(self.recordless_credentials or self.credentials)
            for _ in range(self.burst):
                self.silent_calls += 1
                self._happen(which, record=False)
        while self._late and self._late[0][0] <= self.second:
            _, credential, record = self._late.popleft()
            self._count(credential) if not record else self.queue.append(credential)
        if self.takes(self.second):
            self.stolen += len(self.queue)
            self.queue.clear()

    def _gap(self, per_second: float) -> float:
        return self._random.expovariate(per_second) if per_second else math.inf

    def _happen(self, credential: int, *, record: bool) -> None:
        if not record or self.lag == 0:
            self._count(credential)
            if record:
                self.queue.append(credential)
        elif self.lag > 0:  # the record comes first
            self.queue.append(credential)
            self._late.append((self.second + self.lag, credential, False))
        else:
            self._count(credential)
            self._late.append((self.second - self.lag, credential, True))

    def _count(self, credential: int) -> None:
        self.attempts[credential] += 1


def watched(proxy: Queue, *, polls: int) -> Iterator[tuple[float, LossDetector, int]]:
    """Poll ``proxy``; yield the minutes passed, the detector and its estimate so far after each comparison."""
    watch: LossDetector | None = None
    records: Counter[int] = Counter(dict.fromkeys(range(proxy.credentials), 0))
    missed = 0
    for poll in range(polls):
        for _ in range(POLL_SECONDS):
            proxy.tick()
        attempts = dict(proxy.attempts)
        records.update(proxy.queue)
        proxy.queue.clear()
        if poll % LOOK_EVERY:
            continue
        both = {credential: (attempts.get(credential, 0), records[credential]) for credential in records}
        counts = Counts(received=records.total(), restarts=0, credentials=both)
        watch, more = compare(watch, counts, may_have_lost=False, publishing=True)
        missed += more
        yield proxy.second / 60, watch, missed


def every(seconds: int, *, phase: int = 0, since: int = 0, until: int = 10**9) -> Callable[[int], bool]:
    """A rival that polls every ``seconds``."""
    return lambda second: since <= second < until and second % seconds == phase


def of_polls(share: float, *, seed: int = 1, since: int = 0, until: int = 10**9) -> Callable[[int], bool]:
    """A rival that polls just before this share of our polls, and so takes the same share of the records."""
    chance = random.Random(seed)
    picked = [chance.random() < share for _ in range(20_000)]

    def takes(second: int) -> bool:
        return since <= second < until and (second % POLL_SECONDS == 0) and picked[second // POLL_SECONDS]

    return takes
