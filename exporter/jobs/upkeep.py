"""Regular work that depends on no proxy: midnight, limits, edited files, young series, pruning."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from exporter.clock import Clock
from exporter.days import DAY_MS
from exporter.errors import LedgerError
from exporter.ingest.queue import QueueIngest
from exporter.jobs.memory import give_back
from exporter.ledger.labels import Labels
from exporter.ledger.ledger import Ledger
from exporter.limits.board import LimitBoard
from exporter.pricing.pricer import Pricer
from exporter.sources.proxy_status import Statuses

UPKEEP_SECONDS = 5.0
RETENTION_SECONDS = 3600.0
_REJECTED_RETENTION_MS = 30 * DAY_MS

_log = structlog.get_logger("exporter")


@dataclass(kw_only=True)
class Upkeep:
    """Two jobs: ``keep_up`` every ``UPKEEP_SECONDS``, ``prune`` every ``RETENTION_SECONDS``.

    ``left`` are queues of proxies that are no longer polled; ``sent_only`` is for ``Retention.prune``.
    """

    ledger: Ledger
    limits: LimitBoard
    labels: Labels
    prices: Pricer
    statuses: Statuses
    left: Sequence[QueueIngest]
    clock: Clock
    birth_seconds: float
    retention_days: int
    sent_only: bool
    stopping: threading.Event

    def keep_up(self) -> None:
        """Do what is due by time alone: midnight, limits, young series, the file's size. Raises LedgerError."""
        give_back()
        self.ledger.publish(after_seconds=self.birth_seconds)
        self.ledger.periods.refresh()
        self.labels.reload()
        self.limits.refresh()
        if all(status.up for status in self.statuses()):  # else an alias may be for something not met yet
            self.labels.find_misfits()
        for queue in self.left:
            queue.work_off()
        self.ledger.measure()

    def reload(self) -> list[str]:
        """Read the files of aliases, prices and limits now. Returns a sentence for each that is not in use then."""
        if self.prices.user is not None:
            self.prices.user.reload(now=True)
        self.labels.reload(now=True)
        problems = [self.labels.file_problem, self.prices.user.problem if self.prices.user is not None else ""]
        try:
            self.limits.refresh(now=True)
        except LedgerError as exc:
            problems.append(str(exc))
        problems = [problem for problem in (*problems, *self.limits.problems) if problem]
        _log.info("reloaded", problems=len(problems))
        return problems

    def prune(self) -> None:
        """Delete what has been kept long enough. Raises LedgerError."""
        now_ms = self.ledger.retention.believable_now_ms(self.clock.now_ms())
        if now_ms is None:
            return
        pruned = self.ledger.retention.prune(
            entries_before_ms=now_ms - self.retention_days * DAY_MS,
            rejected_before_ms=now_ms - _REJECTED_RETENTION_MS,
            stopping=self.stopping.is_set,
            sent_only=self.sent_only,
        )
        if pruned.entries or pruned.rejected:
            _log.info("pruned", entries=pruned.entries, rejected=pruned.rejected)
