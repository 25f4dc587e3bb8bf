"""Who scrapes: the servers whose ``increase()`` a new series must not surprise.

A scraper is identified by its address (not its port, which changes with each connection) and its user agent. Only a
hash of both is kept, which bounds what a client can make us store. It counts while its last answer is no older than
``LATELY_SECONDS``: asking alone does not count, so a client that never takes an answer holds nothing up.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from exporter.clock import Clock

LATELY_SECONDS = 660.0
"""Ten minutes, and one for a scrape that is late."""
MOST_SCRAPERS = 16
"""We wait for no further ones until one of these is gone: otherwise a client could invent any number."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """The answer to a scraper. Call ``answered`` once it has been sent."""

    body: bytes
    headers: dict[str, str]
    answered: Callable[[], None]


def scraper_id(address: str, user_agent: str) -> str:
    """The id of a scraper: 32 hexadecimal digits."""
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
        """The ids that are in the ledger."""

    def load(self, ids: Iterable[str]) -> None:
        """Expect the scrapers of the previous process: nobody could answer them meanwhile."""
        now = self._clock.monotonic()
        self.stored = frozenset(ids)
        self._seen = {id_: _Seen(now) for id_ in self.stored}

    def answered(self, id_: str) -> bool:
        """Note that a scraper was answered; return whether we wait for it."""
        now = self._clock.monotonic()
        if (seen := self._seen.get(id_)) is None:
            if len(self.lately()) >= MOST_SCRAPERS:
                return False
            # Its interval is not known yet, and need not be: it saw all young series at 0, and a series born from now
            # on waits for its second scrape.
            self._seen[id_] = _Seen(now)
        else:
            seen.last, seen.interval = now, now - seen.last
        return True

    def lately(self) -> frozenset[str]:
        """The scrapers that have to be answered; forgets the others."""
        now = self._clock.monotonic()
        self._seen = {id_: seen for id_, seen in self._seen.items() if now - seen.last < LATELY_SECONDS}
        return frozenset(self._seen)

    def slowest_seconds(self) -> float:
        """The longest time between two scrapes of one scraper; 0 if none has scraped twice."""
        return max((seen.interval for seen in self._seen.values()), default=0.0)
