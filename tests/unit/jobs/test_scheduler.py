"""The loop runs jobs at their intervals, whatever the clock and the other jobs do."""

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from exporter.errors import LedgerFullError
from exporter.jobs.scheduler import Worker, run_loop
from exporter.logs import configure_logging
from tests.stack.waiting import PATIENCE_SECONDS, wait_until


class _Job:
    """Counts its runs; ``block`` makes them last until ``release``."""

    def __init__(self, name: str = "job", *, interval_seconds: float = 1.0) -> None:
        self.runs = 0
        self.interval_seconds = interval_seconds
        self.fails: Exception | None = None
        self._free = threading.Event()
        self._free.set()
        self._running = threading.Lock()
        self.overlapped = False
        self.worker = Worker(name, self._run, lambda: self.interval_seconds)

    def block(self) -> None:
        self._free.clear()

    def release(self) -> None:
        self._free.set()

    def _run(self) -> None:
        if not self._running.acquire(blocking=False):
            self.overlapped = True
            return
        try:
            self.runs += 1
            assert self._free.wait(PATIENCE_SECONDS)
            if self.fails:
                raise self.fails
        finally:
            self._running.release()


@contextmanager
def _looping(*jobs: _Job) -> Iterator[None]:
    stop = threading.Event()
    for job in jobs:
        job.worker.start()
    loop = threading.Thread(target=run_loop, args=([job.worker for job in jobs], stop))
    loop.start()
    try:
        yield
    finally:
        stop.set()
        loop.join(PATIENCE_SECONDS)
        for job in jobs:
            job.worker.stop()
            job.release()
        assert all(job.worker.join(PATIENCE_SECONDS) for job in jobs)
        assert not loop.is_alive()


def _runs(job: _Job, more: int) -> None:
    """Wait for this many further runs."""
    wanted = job.runs + more
    wait_until(lambda: job.runs, lambda runs: runs >= wanted)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure_logging("info", "logfmt", stream=stream)
    yield stream
    configure_logging("info", "logfmt", stream=io.StringIO())


def test_all_jobs_run_at_once_and_then_at_their_intervals() -> None:
    often, seldom = _Job("often"), _Job("seldom", interval_seconds=3600)
    started = time.monotonic()
    with _looping(often, seldom):
        wait_until(lambda: often.runs >= 1 and seldom.runs == 1)
        _runs(often, 3)
    assert time.monotonic() - started >= 2.0, "more often than the interval"
    assert seldom.runs == 1


def test_a_slow_job_delays_no_other_and_does_not_overlap_itself() -> None:
    slow, other = _Job("slow"), _Job("other")
    slow.block()
    with _looping(slow, other):
        _runs(other, 3)
        assert slow.runs == 1
        slow.release()
        _runs(slow, 2)
    assert not slow.overlapped


def test_a_job_that_is_requested_while_it_runs_runs_once_more() -> None:
    job = _Job(interval_seconds=3600)
    job.block()
    with _looping(job):
        wait_until(lambda: job.runs == 1)
        for _ in range(5):
            job.worker.ask()
        job.release()
        wait_until(lambda: job.runs == 2)
        job.worker.ask()
        wait_until(lambda: job.runs == 3)


def test_a_job_that_fails_is_logged_and_runs_again(log: io.StringIO) -> None:
    job = _Job("feeble")
    job.fails = ValueError("planted")
    with _looping(job):
        _runs(job, 2)
    lines = log.getvalue().splitlines()
    assert all("event=job_failed" in line and "job=feeble" in line for line in lines)
    assert "planted" in lines[0]


def test_a_full_disk_is_logged_once_until_there_is_room_again_and_without_a_traceback(log: io.StringIO) -> None:
    job = _Job("writer")
    job.fails = LedgerFullError("The disk is full.")
    with _looping(job):
        _runs(job, 3)
        assert [line.split(" event=")[1] for line in log.getvalue().splitlines()] == [
            'ledger_failed job=writer message="The disk is full."'
        ]
        job.fails = None
        wait_until(lambda: "event=ledger_works_again job=writer" in log.getvalue())
    assert "Traceback" not in log.getvalue()


def test_a_changed_interval_takes_effect_at_once() -> None:
    job = _Job(interval_seconds=3600)
    with _looping(job):
        wait_until(lambda: job.runs == 1)
        job.interval_seconds = 1
        _runs(job, 2)


def test_a_stop_lets_the_run_in_progress_finish_and_begins_no_other() -> None:
    job = _Job()
    job.block()
    job.worker.start()
    job.worker.ask()
    wait_until(lambda: job.runs == 1)
    job.worker.ask()
    job.worker.stop()
    assert not job.worker.join(0.1), "the run is still in progress"
    job.release()
    assert job.worker.join(PATIENCE_SECONDS)
    assert job.runs == 1


# --- the wall clock ---------------------------------------------------------------------------------------------------


@contextmanager
def _zone(name: str) -> Iterator[Callable[[str], None]]:
    """Make ``name`` the machine's zone. A test may set another one: that moves the local clock and needs no rights."""

    def put(zone: str | None) -> None:
        if zone is None:
            os.environ.pop("TZ", None)
        else:
            os.environ["TZ"] = zone
        time.tzset()

    before = os.environ.get("TZ")
    put(name)
    try:
        yield put
    finally:
        put(before)


@pytest.mark.parametrize(("zone", "seconds"), [("AAA24", -86_400), ("AAA-24", 86_400)], ids=["back", "ahead"])
def test_a_clock_that_jumps_by_a_day_stops_nothing(zone: str, seconds: int, log: io.StringIO) -> None:
    job = _Job()
    with _zone("AAA0") as set_zone, _looping(job):
        _runs(job, 2)
        set_zone(zone)
        _runs(job, 3)
    jumps = [line for line in log.getvalue().splitlines() if "event=clock_jump" in line]
    assert len(jumps) == 1
    assert f"seconds={seconds}" in jumps[0]


def test_the_end_of_daylight_saving_time_stops_nothing() -> None:
    utc = datetime.now(UTC)
    to_noon = 12 - utc.hour  # so that neither the change nor the hour after it meets midnight
    ends = utc + timedelta(hours=to_noon + 1, seconds=5)
    # Daylight saving time begins half a year away, so that it is in force on any day of the year.
    begins = (ends.timetuple().tm_yday + 180) % 365
    with _zone(f"AAA{-to_noon}BBB{-to_noon - 1},{begins}/0,{ends.timetuple().tm_yday - 1}/{ends:%H:%M:%S}"):
        job = _Job()
        assert time.localtime().tm_isdst == 1
        with _looping(job):
            wait_until(lambda: time.localtime().tm_isdst == 0)
            _runs(job, 3)
