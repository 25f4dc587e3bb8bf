"""Who scrapes: the servers whose ``increase()`` a new series must not surprise.

A scraper is told from others by its address (not its port, which each connection chooses) and its user agent. It is
known by a hash of both, which bounds what a client can make us keep. It counts while its last answer is no older than
``LATELY_SECONDS``: asking alone does not count, so who never takes an answer holds nothing up.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from exporter.clock import Clock

LATELY_SECONDS = 600.0
MOST_SCRAPERS = 16
"""Further ones are not waited for until one of these has gone: otherwise a client could invent any number."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """The answer to a scraper. Call ``answered`` once it has been sent."""

    body: bytes
    headers: dict[str, str]
    answered: Callable[[], None]


def scraper_id(address: str, user_agent: str) -> str:
    """What a scraper is known by: 32 hexadecimal digits."""
    return hashlib.sha256(f"{address}\0{user_agent}".encode("utf-8", "replace")).hexdigest()[:32]


@dataclass(slots=True)
class _Seen:
    last: float
    interval: float = 0.0


class Scrapers:
    """The scrapers that were answered lately. Guarded by the lock of ``Totals``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self.stored: frozenset[str] = frozenset()
        """Those that are in the ledger."""

    def load(self, ids: Iterable[str]) -> None:
        """Expect the scrapers of the process before: none of them could be answered meanwhile."""
        now = self._clock.monotonic()
        self.stored = frozenset(ids)
        self._seen = {id_: _Seen(now) for id_ in self.stored}

    def answered(self, id_: str) -> bool:
        """A scraper has been answered; whether it is one that is waited for."""
        now = self._clock.monotonic()
        if (seen := self._seen.get(id_)) is None:
            if len(self.lately()) >= MOST_SCRAPERS:
                return False
            # How often it asks is not known yet. Nothing has to be: it began with all that is young at 0, and what is
            # born from now on waits for its second scrape.
            self._seen[id_] = _Seen(now)
        else:
            seen.last, seen.interval = now, now - seen.last
        return True

    def lately(self) -> frozenset[str]:
        """The scrapers that have to be answered; the others are forgotten."""
        now = self._clock.monotonic()
        self._seen = {id_: seen for id_, seen in self._seen.items() if now - seen.last < LATELY_SECONDS}
        return frozenset(self._seen)

    def slowest_seconds(self) -> float:
        """The longest time between two scrapes of one scraper; 0 if none has scraped twice."""
        return max((seen.interval for seen in self._seen.values()), default=0.0)
