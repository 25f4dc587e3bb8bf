"""The loop: decides with ``schedule`` when a job is due.

Each job has one thread, so it cannot overlap itself, and a slow one delays no other. The scheduler only asks it to run.
"""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime

import schedule
import structlog

from exporter.errors import LedgerError

_TICK_SECONDS = 0.5
_JUMP_SECONDS = 5.0

_log = structlog.get_logger("exporter.loop")


class Worker:
    """A thread that runs ``job`` whenever it has been asked since the last run began."""

    def __init__(self, name: str, job: Callable[[], object], interval_seconds: Callable[[], float]) -> None:
        self.name = name
        self.interval_seconds = interval_seconds
        self._job = job
        self._asked = threading.Event()
        self._stopping = False
        self._ledger_problem = ""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask(self) -> None:
        """Run the job now, or once more if it is running."""
        self._asked.set()

    def stop(self) -> None:
        """Begin no further run."""
        self._stopping = True
        self._asked.set()

    def join(self, seconds: float) -> bool:
        """Wait for the current run; return whether it has ended."""
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()
            if self._stopping:
                return
            try:
                self._job()
                self._note_ledger("")
            except LedgerError as exc:
                self._note_ledger(str(exc))
            except Exception:  # noqa: BLE001 - the top of a thread: one failed run must not end all later ones
                _log.exception("job_failed", job=self.name)

    def _note_ledger(self, problem: str) -> None:
        if problem and problem != self._ledger_problem:
            _log.error("ledger_failed", job=self.name, message=problem)
        elif self._ledger_problem and not problem:
            _log.info("ledger_works_again", job=self.name)
        self._ledger_problem = problem


def run_loop(workers: Sequence[Worker], stop: threading.Event) -> None:
    """Ask all workers at once, then at their intervals. Returns when ``stop`` is set."""
    scheduler = schedule.Scheduler()
    for worker in workers:
        worker.ask()
    local, steady = _local_time(), time.monotonic()
    while not stop.wait(_TICK_SECONDS):
        local_now, steady_now = _local_time(), time.monotonic()
        # schedule plans by local time without its zone: if the clock goes back by a day, or by an hour at the end of
        # daylight saving time, it would do nothing for that long.
        jump = (local_now - local).total_seconds() - (steady_now - steady)
        local, steady = local_now, steady_now
        if abs(jump) > _JUMP_SECONDS:
            _log.warning("clock_jump", seconds=round(jump))
            scheduler.clear()
            for worker in workers:
                worker.ask()  # after a suspend, everything is due
        for worker in workers:  # those that have no job yet or a new interval; the others keep waiting
            interval = max(1, int(worker.interval_seconds()))
            if [job.interval for job in scheduler.get_jobs(worker.name)] != [interval]:
                scheduler.clear(worker.name)
                scheduler.every(interval).seconds.do(worker.ask).tag(worker.name)
        scheduler.run_pending()


def _local_time() -> datetime:
    return datetime.now()  # noqa: DTZ005 - the same time that schedule reads
