"""Watches for lost records of a proxy: cut pops, gaps, another reader, restarts.

The records of a pop under way exist only in its answer. A stop marks the pop on disk before anything can end it, so
even a kill leaves the mark, and the next start reports it. An answer that arrives whole removes the mark.
"""

import math
import threading

import structlog

from exporter import formats
from exporter.clock import Clock
from exporter.errors import LedgerError
from exporter.ledger.ledger import Ledger
from exporter.sources.all_sources import source_of_kind
from exporter.sources.base import MOST_POPPED, Source
from exporter.sources.loss_detection import LossDetector
from exporter.sources.proxy_client import ProxyClient
from exporter.sources.proxy_config import MAX_RETENTION_SECONDS
from exporter.sources.proxy_status import ProxyStatus

QUIET_SECONDS = 600.0

_log = structlog.get_logger("exporter.poller")
_restart_log = structlog.get_logger("exporter.restarts")


class LossWatch:
    """Watches one registered proxy. One thread polls; any may call ``stop`` and ``note_missed``. May raise LedgerError.

    ``may_have_lost``: records may be lost or have expired since the last comparison of counts.
    """

    def __init__(self, client: ProxyClient, *, ledger: Ledger, clock: Clock) -> None:
        self._proxy = client.name
        self._where = client.where
        self._ledger = ledger
        self._clock = clock
        self._lock = threading.Lock()
        self._stopping = False
        self._marked = False
        self.is_popping = False
        """Whether a pop is under way, whose answer may hold records that are not on disk yet."""
        self.read_at: float | None = None
        """When the source was last read, None before this process has read it."""
        self.detector: LossDetector | None = None
        """What the last comparison of counts says."""
        self.may_have_lost = ledger.losses.settle_pop_mark(self._proxy)
        if self.may_have_lost:  # an earlier process left it
            self._log_cut()
        self.restarts = RestartLog(self._proxy, clock, restarts=ledger.flow(self._proxy).restarts)

    def begin_pop(self) -> bool:
        """Note that a pop is about to be sent. False means that the exporter is stopping, so none may be sent."""
        with self._lock:
            self.is_popping = not self._stopping
            return self.is_popping

    def end_pop(self, answer_lost: bool) -> None:
        """Note that the pop is over and that what arrived is stored. ``answer_lost``: not all of it arrived."""
        with self._lock:
            self.is_popping = False
            if answer_lost and not self._marked:
                self._ledger.losses.note_gap(self._proxy, seconds=None)
                self._log_cut()
            elif self._marked and not answer_lost:
                self._ledger.losses.mark_pop(self._proxy, at_ms=None)

    def stop(self) -> None:
        """Allow no further pop, and mark the one under way on disk. Never raises."""
        with self._lock:
            self._stopping = True
            if self.is_popping and not self._marked:
                try:
                    self._ledger.losses.mark_pop(self._proxy, at_ms=self._clock.now_ms())
                    self._marked = True
                except LedgerError as exc:
                    _log.error("pop_not_marked", proxy=self._proxy, message=str(exc))

    def follow(self, source: Source, status: ProxyStatus) -> None:
        """Note that ``source`` was read: log restarts, and note a gap if records may have expired in its queue.

        What a restart costs depends on the source that was read before.
        """
        before = self._ledger.note_source(self._proxy, source.kind) or source.kind
        seconds, retention = self._unread_seconds(), status.retention_seconds
        self.read_at = self._clock.monotonic()
        consequence = (source_of_kind(before) or source).restart_cost.format(unread=formats.span(seconds))
        if before != source.kind:
            # This is another server: its records are younger than the last look, so none has expired.
            self.detector, self.may_have_lost, retention = None, False, None
            consequence = f"Its usage is now in a {source.kind}; it was in a {before}. {consequence}"
        elif seconds < 0:
            self.may_have_lost = True  # our clock is behind and tells no length, so the proxy's counts decide
        self.restarts.follow(self._ledger.flow(self._proxy).restarts, consequence=consequence)
        if retention is None or seconds <= retention or status.publishing_enabled is False:
            return
        if not source.way.has_rivals:
            return  # nothing waits in the queue
        longest = f" Set redis-usage-queue-retention-seconds: {MAX_RETENTION_SECONDS} in its config.yaml."
        self._note_gap(
            "retention_gap",
            int(seconds),
            f"was not read for {formats.span(seconds)}, but keeps a record only for {formats.span(retention)}, so"
            f" records of that time may be lost.{longest if retention < MAX_RETENTION_SECONDS else ''}",
            retention_seconds=retention,
        )

    def note_missed(self, seconds: float | None) -> None:
        """Note that other subscribers, if there are any, got the records of the last ``seconds``.

        None stands for the time since the last good poll, if there was one.
        """
        unread, self.read_at = self._unread_seconds(), self._clock.monotonic()
        if seconds is None:
            if self._ledger.flow(self._proxy).last_success_ms is None:
                return
            seconds = unread
        seconds = max(1, math.ceil(seconds))
        self._note_gap(
            "subscription_gap",
            seconds,
            f"was not subscribed to for {formats.span(seconds)}. What waits in its queue is read, but if another"
            " program subscribed or polled the queue meanwhile, it alone got the records of that time.",
        )

    def compare_counts(self, status: ProxyStatus) -> None:
        """Compare the proxy's counts with what arrived: see ``exporter.sources.loss_detection.compare``."""
        may_have_lost, self.may_have_lost = self.may_have_lost, False
        self.detector = self._ledger.losses.compare(
            self._proxy, may_have_lost=may_have_lost, publishing=status.publishing_enabled is not False
        )

    def _unread_seconds(self) -> float:
        """Seconds since the source was last read; by the wall clock if an earlier process read it, 0 if none did."""
        if self.read_at is not None:
            return self._clock.monotonic() - self.read_at
        last_ms = self._ledger.flow(self._proxy).last_success_ms
        return 0.0 if last_ms is None else (self._clock.now_ms() - last_ms) / 1000

    def _note_gap(self, event: str, seconds: int, what: str, **fields: int) -> None:
        self.may_have_lost = True
        self._ledger.losses.note_gap(self._proxy, seconds=seconds)
        _log.warning(event, proxy=self._proxy, seconds=seconds, **fields, message=f"{self._where} {what}")

    def _log_cut(self) -> None:
        _log.warning(
            "pop_cut",
            proxy=self._proxy,
            message="An answer of the proxy's usage queue did not arrive whole. The proxy forgets what it hands out,"
            f" so up to {MOST_POPPED:,} records may be lost.",
        )


class RestartLog:
    """Logs the restarts of one proxy: the first at once, then at most one line in ten minutes. For one thread."""

    def __init__(self, proxy: str, clock: Clock, *, restarts: int) -> None:
        """``restarts`` is the number that an earlier process noticed and logged."""
        self._proxy = proxy
        self._clock = clock
        self._noticed = self._logged = restarts
        self._consequence = ""
        self._logged_at: float | None = None

    def follow(self, restarts: int, *, consequence: str) -> None:
        """Log the restarts since the last line, unless that line is recent. Call it at every poll.

        ``consequence`` is a sentence about what became of the records, for a restart noticed in this poll.
        """
        if restarts != self._noticed:
            self._noticed, self._consequence = restarts, consequence
        if self._logged_at is None or self._clock.monotonic() - self._logged_at >= QUIET_SECONDS:
            self.tell()

    def tell(self) -> None:
        """Log the restarts since the last line now, before the process ends: the next one takes them for logged."""
        new = self._noticed - self._logged
        if not new:
            return
        self._logged, self._logged_at = self._noticed, self._clock.monotonic()
        times = "" if new == 1 else f" ({new} times since the last such line)"
        _restart_log.warning(
            "restart_detected",
            proxy=self._proxy,
            restarts=new,
            message=f"Restart detected{times}: the proxy started to count again. {self._consequence}",
        )
