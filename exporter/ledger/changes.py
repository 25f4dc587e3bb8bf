"""Transactions that change a proxy: first the disk, then memory takes over the new rows."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from exporter.clock import Clock
from exporter.ledger.database import Database
from exporter.ledger.name_store import NameStore
from exporter.ledger.store.poll_times import PollTimes
from exporter.ledger.store.quota_points import QuotaKey
from exporter.ledger.views.births import Births
from exporter.ledger.views.limit_windows import Windows
from exporter.ledger.views.periods import Periods
from exporter.ledger.views.quotas import Quotas, QuotaWindow
from exporter.ledger.views.totals import Attempts, Flow, SeriesKey, Totals, count_unbooked, read_flow

_NUMBERS = ("received", "booked", "duplicate", "backfilled", "extra")
_ADD_UP = ", ".join(f"{name} = {name} + ?" for name in _NUMBERS)


class CommittedError(Exception):
    """The write is on disk; only memory could not follow."""


@dataclass(slots=True)
class Change:
    """A transaction that changes a proxy. After the commit, memory takes over what the fields with a default hold.

    The numbers are added to the proxy's flow: ``extra`` of the ``booked`` records stand for no attempt of their own.
    ``unbooked`` entries were added, or if negative removed, without a booking. ``rows`` are those of the tables of
    totals, as the ledger now has them. The sums from the oldest of the ``touched`` buckets on have changed.
    """

    connection: sqlite3.Connection
    proxy: int
    name_store: NameStore
    now_ms: int
    received: int = 0
    booked: int = 0
    duplicate: int = 0
    backfilled: int = 0
    extra: int = 0
    missed: int = 0
    unbooked: int = 0
    touched: list[int] = field(default_factory=list)
    rows: defaultdict[str, list[tuple[int | str, ...]]] = field(default_factory=lambda: defaultdict(list))
    new_series: list[SeriesKey] = field(default_factory=list)
    quotas: dict[QuotaKey, QuotaWindow] = field(default_factory=dict)
    attempts: dict[int, Attempts] = field(default_factory=dict)

    def set(self, columns: str, *values: object) -> None:
        """Change columns of the proxy's row: ``columns`` are assignments in SQL."""
        self.connection.execute(f"update proxy set {columns} where id = ?", (*values, self.proxy))


@dataclass(slots=True)
class Changes:
    """Runs these transactions one at a time, and keeps memory in step with them."""

    database: Database
    name_store: NameStore
    totals: Totals
    births: Births
    quotas: Quotas
    periods: Periods
    windows: Windows
    poll_times: PollTimes
    clock: Clock
    _name_store_is_stale: bool = field(default=False, init=False)

    @contextmanager
    def changing(self, proxy: str) -> Iterator[Change]:
        """A transaction that changes ``proxy``, creating it if it is new; memory follows after the commit.

        Raises LedgerError if it is not committed, and CommittedError if it is.
        """
        with self.database.lock:
            with self.changing_names() as connection:
                proxy_id, now_ms = self.name_store.proxy_id(connection, proxy), self.clock.now_ms()
                change = Change(connection, proxy_id, self.name_store, now_ms)
                yield change
                change.new_series += self.totals.unknown(change.rows)
                if change.new_series:
                    self.births.save(connection, change.new_series)
                added = [getattr(change, name) for name in _NUMBERS]
                if any(added):
                    change.set(_ADD_UP, *added)
                if change.missed:  # rare, and part of the checksum of the table
                    change.set("missed = missed + ?, missed_ms = ?", change.missed, now_ms)
                if change.unbooked:
                    count_unbooked(connection, change.unbooked)
                flow = read_flow(connection, change.proxy)
            try:
                self._follow(change, flow)
            except Exception as exc:
                raise CommittedError("What was written is on disk, but cannot be shown.") from exc

    @contextmanager
    def changing_names(self) -> Iterator[sqlite3.Connection]:
        """A transaction that may change names. A rollback reloads the name store, to drop ids that exist nowhere."""
        with self.database.transaction(on_rollback=self._reload_name_store) as connection:
            if self._name_store_is_stale:
                self._reload_name_store(connection)
            yield connection

    def _reload_name_store(self, connection: sqlite3.Connection) -> None:
        """Runs at once, before anybody else writes: a scrape must not go on showing what was rolled back."""
        self._name_store_is_stale = True
        self.name_store.load(connection)
        self._name_store_is_stale = False

    def _follow(self, change: Change, flow: Flow) -> None:
        with self.totals.lock:
            self.births.register(change.new_series)
            self.totals.take_over(change.rows)
            self.totals.entries += change.booked + change.unbooked
            self.totals.attempts.update(change.attempts)
            flow.last_success_ms = self.poll_times.latest(change.proxy, flow.last_success_ms)
            self.totals.flows[change.proxy] = flow
        self.quotas.take_over(change.quotas)
        if change.touched:
            oldest = min(change.touched)
            self.periods.touched.append(oldest)
            self.windows.touched.append(oldest)
