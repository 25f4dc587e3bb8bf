"""Births: new series, which Prometheus sees at 0 for now. ``increase()`` counts from the first value that it sees.

A birth ends once every server that scrapes has seen the 0. All are on disk, so that a restart forgets none.
"""

import json
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from exporter.clock import Clock
from exporter.ledger.database import Database
from exporter.ledger.views.scrapers import Scrapers
from exporter.ledger.views.totals import SeriesKey


@dataclass(slots=True)
class _Birth:
    since: float
    told: frozenset[str] = frozenset()
    """The scrapers that have seen it at 0."""


class Births:
    """The series that are shown at 0: ``pending``. Guarded by ``lock``, that of ``Totals``."""

    def __init__(self, database: Database, clock: Clock, lock: threading.RLock) -> None:
        self._database = database
        self._clock = clock
        self._lock = lock
        self.pending: dict[SeriesKey, _Birth] = {}
        self.scrapers = Scrapers(clock)

    def load(self, connection: sqlite3.Connection) -> None:
        """Load the births, and wait for the same scrapers as before."""
        self.register([tuple(json.loads(key)) for (key,) in connection.execute("select key from birth")])
        self.scrapers.load(id_ for (id_,) in connection.execute("select id from scraper"))

    def save(self, connection: sqlite3.Connection, keys: Sequence[SeriesKey]) -> None:
        """Store births inside the caller's transaction."""
        connection.executemany("insert into birth (key) values (?) on conflict do nothing", _rows(keys))

    def register(self, keys: Sequence[SeriesKey]) -> None:
        """Show new series at 0 for now."""
        now = self._clock.monotonic()
        self.pending |= {key: _Birth(since=now) for key in keys}

    def told(self, keys: Sequence[SeriesKey], scraper: str) -> None:
        """Note that a scraper has seen these series at 0."""
        with self._lock:
            if self.scrapers.answered(scraper):
                for key in keys:
                    if (birth := self.pending.get(key)) is not None:
                        birth.told |= {scraper}

    def ready(self, after_seconds: float) -> list[SeriesKey]:
        """The series that every scraper has seen at 0.

        They are at least ``after_seconds`` and the slowest scraper's interval old.
        """
        with self._lock:
            lately = self.scrapers.lately()
            since_until = self._clock.monotonic() - max(after_seconds, self.scrapers.slowest_seconds())
            return [
                key
                for key, birth in self.pending.items()
                if birth.told and birth.since <= since_until and lately <= birth.told
            ]

    def publish(self, *, after_seconds: float) -> int:
        """Let series that are ``ready`` show their value. Returns their number. Raises LedgerError.

        The scrapers are stored too: after a restart, a slow one may be the last to ask. The disk comes first, memory
        second: the other way round, a crash in between would show the series at 0 again, and Prometheus would read new
        usage.
        """
        with self._lock:
            keys, scrapers = self.ready(after_seconds), self.scrapers.lately()
        if keys or scrapers != self.scrapers.stored:
            with self._database.transaction() as connection:
                connection.executemany("delete from birth where key = ?", _rows(keys))
                connection.execute("delete from scraper")
                connection.executemany("insert into scraper (id) values (?)", [(id_,) for id_ in scrapers])
            self.scrapers.stored = scrapers
            self.show(keys)
        return len(keys)

    def show(self, keys: Sequence[SeriesKey]) -> None:
        """Show the values of these series from now on. Call it only once that is on disk."""
        with self._lock:
            for key in keys:
                self.pending.pop(key, None)


def _rows(keys: Sequence[SeriesKey]) -> list[tuple[str]]:
    return [(json.dumps(key, separators=(",", ":")),) for key in keys]
