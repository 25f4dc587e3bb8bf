"""Watches the pop under way: its records exist only in the answer, so a lost answer may lose them.

A stop marks the pop under way on disk before anything can end it. Even a kill leaves the mark, and the next start
reports it. An answer that arrives whole removes the mark.
"""

import threading

import structlog

from exporter.clock import Clock
from exporter.errors import LedgerError
from exporter.ledger.ledger import Ledger
from exporter.sources.usage_queue import UsageQueue

_log = structlog.get_logger("exporter.poller")


class PopWatch:
    """Watches the pops of one registered proxy. One thread pops; any may call ``stop``."""

    def __init__(self, proxy: str, *, ledger: Ledger, clock: Clock) -> None:
        self._proxy = proxy
        self._ledger = ledger
        self._clock = clock
        self._lock = threading.Lock()
        self._stopping = False
        self._marked = False
        self.under_way = False
        """Whether a pop is under way, whose answer may hold records that are not on disk yet."""

    def tell_marked(self) -> bool:
        """Count and log a pop that an earlier process left marked; return whether there was one. Raises LedgerError."""
        found = self._ledger.losses.settle_pop_mark(self._proxy)
        if found:
            self._tell()
        return found

    def begin(self) -> bool:
        """Note that a pop is about to be sent; False if the exporter is stopping and none may be."""
        with self._lock:
            self.under_way = not self._stopping
            return self.under_way

    def end(self, answer_lost: bool) -> None:
        """Note that the pop is over and what arrived is stored; ``answer_lost`` if not all did. Raises LedgerError."""
        with self._lock:
            self.under_way = False
            if answer_lost and not self._marked:
                self._ledger.losses.note_gap(self._proxy, ended_ms=self._clock.now_ms(), seconds=None)
                self._tell()
            elif self._marked and not answer_lost:
                self._ledger.losses.mark_pop(self._proxy, at_ms=None)

    def stop(self) -> None:
        """Allow no further pop, and mark the one under way on disk."""
        with self._lock:
            self._stopping = True
            if self.under_way and not self._marked:
                try:
                    self._ledger.losses.mark_pop(self._proxy, at_ms=self._clock.now_ms())
                    self._marked = True
                except LedgerError as exc:
                    _log.error("pop_not_marked", proxy=self._proxy, message=str(exc))

    def _tell(self) -> None:
        _log.warning(
            "pop_cut",
            proxy=self._proxy,
            message="An answer of the proxy's usage queue did not arrive whole. The proxy forgets what it hands out,"
            f" so up to {UsageQueue.most_popped:,} records may be lost.",
        )
