"""Snapshots taken in: the first contact, the past and the present, restarts and false starts as they are told."""

import json
import os
import random
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

import exporter.snapshot_intake
from exporter.ledger.ledger import FILE_NAME, Ledger
from exporter.ledger.periods import MONTH, TODAY, YESTERDAY
from exporter.restarts import RestartLog
from exporter.snapshot_intake import SnapshotIntake
from tests.fakes.booking import adds_up, check_sums, flow_of, intake_of, open_ledger, take
from tests.fakes.guarding import TurnableClock
from tests.fakes.legacy import Detail, LegacyProxy
from tests.fakes.snapshots import booked, snapshot_intake

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC).timestamp()
HOUR_MS = 3_600_000


@dataclass
class Bench:
    """A proxy whose clock is ``ahead_s`` ahead, and what reads it."""

    folder: Path
    usd: float = 10.0
    ahead_s: float = 0.0
    clock: TurnableClock = field(default_factory=lambda: TurnableClock(now=NOON))
    proxy: LegacyProxy = field(default_factory=LegacyProxy)
    ledger: Ledger = field(init=False)
    intake: SnapshotIntake = field(init=False)
    restarts: RestartLog = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.ledger = open_ledger(self.folder, clock=self.clock)
        self.ledger.register("p")
        self.intake = snapshot_intake(self.ledger, clock=self.clock, usd=self.usd)
        self.restarts = RestartLog("p", self.clock, restarts=flow_of(self.ledger).restarts)

    def restart(self) -> None:
        self.ledger.close()
        self.start()

    def request(self, *, hours_ago: float = 0.0, model: str = "m", client: str = "sk-a", tokens: int = 100) -> Detail:
        ts_ms = int((self.clock.now() + self.ahead_s) * 1000 - hours_ago * HOUR_MS)
        detail = Detail(ts_ms=ts_ms, latency_ms=0, auth_index="a1", tokens=(tokens, 0), nanoseconds=self._next())
        self.proxy.record(client, model, detail)
        return detail

    def _next(self) -> int:
        self._number = getattr(self, "_number", 0) + 1
        return self._number

    def poll(self, *, after_s: float = 60.0) -> list[Any]:
        """Returns what was logged."""
        self.clock.advance(after_s)
        with capture_logs() as logged:
            self.intake.take(self.proxy.body(), taken_ms=int((self.clock.now() + self.ahead_s) * 1000))
            self.restarts.follow(flow_of(self.ledger).restarts, consequence="")
        assert adds_up(flow_of(self.ledger))
        return logged

    @property
    def counted(self) -> int:
        """Requests in exported counters."""
        return sum(numbers[0] for numbers in self.ledger.totals.series.values())

    def of_period(self, period: str) -> int:
        self.ledger.periods.refresh()
        return sum(number for (_, name), number in self.ledger.periods.current.requests.items() if name == period)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# --- the past and the present -----------------------------------------------------------------------------------------


def test_the_history_of_a_proxy_lands_on_its_days_and_in_no_counter(bench: Bench) -> None:
    for hours_ago, requests in ((1, 2), (24, 3), (24 * 10, 4), (24 * 40, 5)):
        for _ in range(requests):
            bench.request(hours_ago=hours_ago)
    bench.poll()
    assert bench.counted == 0
    assert (flow_of(bench.ledger).booked, flow_of(bench.ledger).backfilled) == (14, 14)
    assert [bench.of_period(period) for period in (TODAY, YESTERDAY, MONTH)] == [2, 3, 9]
    with bench.ledger.windows.look() as look:
        day = look.sums(int(NOON * 1000) - 2 * HOUR_MS, None)
        assert sum(requests for requests, _, _ in day.values()) == 2, "a limit sees what was used before we came"
    check_sums(bench.ledger)


def test_what_comes_after_the_first_contact_is_live(bench: Bench) -> None:
    bench.request(hours_ago=0.01)
    bench.poll()
    bench.request()
    bench.poll()
    assert (bench.counted, flow_of(bench.ledger).backfilled) == (1, 1)


def test_what_piled_up_while_the_exporter_was_down_is_live(bench: Bench) -> None:
    bench.poll()
    bench.clock.advance(9 * 3600)
    for hours_ago in (0, 4, 8.9):
        bench.request(hours_ago=hours_ago)
    bench.restart()
    bench.poll()
    assert (bench.counted, flow_of(bench.ledger).backfilled) == (3, 0)


def test_an_import_of_what_was_never_read_is_of_the_past(bench: Bench) -> None:
    old = LegacyProxy()
    bench.poll()
    bench.proxy, ours = old, bench.proxy
    for hours_ago in (2, 30):
        bench.request(hours_ago=hours_ago)
    bench.proxy = ours
    bench.proxy.import_(old.export())
    bench.request()
    bench.poll()
    assert (bench.counted, flow_of(bench.ledger).backfilled) == (1, 2)


def test_a_request_that_took_long_is_live_when_it_ends(bench: Bench) -> None:
    bench.poll()
    bench.proxy.record(
        "sk-a", "m", Detail(ts_ms=int(NOON * 1000) - HOUR_MS, latency_ms=HOUR_MS + 30_000, auth_index="", tokens=(1, 1))
    )
    bench.poll()
    assert (bench.counted, flow_of(bench.ledger).backfilled) == (1, 0)


@pytest.mark.parametrize("ahead_s", [-30_000.0, 30_000.0])
def test_records_of_a_proxy_whose_clock_is_hours_off_are_live(tmp_path: Path, ahead_s: float) -> None:
    bench = Bench(tmp_path, ahead_s=ahead_s)
    bench.poll()
    bench.request()
    bench.poll()
    assert (bench.counted, flow_of(bench.ledger).backfilled) == (1, 0)


@pytest.mark.parametrize("jump_s", [-7200.0, 7200.0])
def test_records_after_the_proxys_clock_was_set_are_live(bench: Bench, jump_s: float) -> None:
    bench.poll()
    bench.ahead_s = jump_s
    bench.request()
    bench.poll()
    assert (bench.counted, flow_of(bench.ledger).backfilled) == (1, 0)


# --- restarts ---------------------------------------------------------------------------------------------------------


def _restarts_told(logged: list[Any]) -> list[Any]:
    return [event for event in logged if "Restart detected" in str(event)]


def _false_starts_told(logged: list[Any]) -> list[Any]:
    return [event for event in logged if "False Start detected" in str(event)]


@pytest.mark.parametrize("stripped", ["", "absent"])
def test_a_restart_is_told_once_however_many_series_fell(bench: Bench, stripped: Any) -> None:
    bench.proxy.stripped = stripped
    for model in "abcdef":
        bench.request(model=model)
    assert not _restarts_told(bench.poll())
    bench.proxy.restart()
    bench.request(model="a")
    told = _restarts_told(bench.poll())
    assert [event["log_level"] for event in told] == ["warning"]
    assert flow_of(bench.ledger).restarts == 1
    assert not _restarts_told(bench.poll())


def test_a_flapping_proxy_is_told_of_every_ten_minutes_and_counted_each_time(bench: Bench) -> None:
    told: list[Any] = []
    for _ in range(31):
        bench.request()
        told += _restarts_told(bench.poll())
        bench.proxy.restart()
        told += _restarts_told(bench.poll(after_s=0.0))
    assert flow_of(bench.ledger).restarts == 31
    assert [event["restarts"] for event in told] == [1, 9, 10, 10], "at 0, 10, 20 and 30 minutes"


def test_a_restart_whose_export_was_imported_misses_nothing(bench: Bench) -> None:
    """The imported series are as they were, so their details are not looked at again; others are not back."""
    for _ in range(3):
        bench.request(model="a")
    export = bench.proxy.export()
    bench.request(model="b")
    bench.poll()
    bench.proxy.restart()
    bench.proxy.import_(export)
    bench.poll()
    flow = flow_of(bench.ledger)
    assert (flow.booked, flow.missed, flow.restarts) == (4, 0, 1)


# --- without details --------------------------------------------------------------------------------------------------


@pytest.fixture
def stripped(tmp_path: Path) -> Bench:
    """0.15 USD per million tokens of input: 10 USD are 66.7 million."""
    bench = Bench(tmp_path)
    bench.proxy.stripped = "absent"
    return bench


def test_the_first_contact_is_a_baseline(stripped: Bench) -> None:
    stripped.request(tokens=900_000_000)
    logged = stripped.poll()
    assert (flow_of(stripped.ledger).booked, stripped.counted) == (0, 0)
    assert not _false_starts_told(logged)
    stripped.request(tokens=7)
    stripped.poll()
    assert stripped.counted == 1


def test_a_restart_of_the_whole_proxy_counts_what_every_series_now_has(stripped: Bench) -> None:
    for model, requests in (("a", 100), ("b", 50)):
        for _ in range(requests):
            stripped.request(model=model)
    stripped.poll()
    stripped.proxy.restart()
    for model, requests in (("a", 120), ("b", 10)):
        for _ in range(requests):
            stripped.request(model=model)
    stripped.poll()
    assert stripped.counted == 130


def test_a_sudden_first_value_that_is_too_dear_is_kept_apart_and_what_follows_counts(stripped: Bench) -> None:
    stripped.request(model="known")
    stripped.poll()
    stripped.request(model="sudden", tokens=70_000_000)
    stripped.request(model="modest", tokens=60_000_000)
    told = _false_starts_told(stripped.poll())
    assert [(event["log_level"], event["model"]) for event in told] == [("warning", "sudden")]
    flow = flow_of(stripped.ledger)
    assert (flow.false_starts, stripped.counted) == (1, 1)
    (kept,) = stripped.ledger.snapshots.false_starts()
    assert (kept.model, kept.requests, kept.tokens, kept.nano_usd) == ("sudden", 1, 70_000_000, 10_500_000_000)
    assert stripped.of_period(TODAY) == 1
    stripped.request(model="sudden", tokens=5)
    assert not _false_starts_told(stripped.poll())
    assert stripped.counted == 2


@pytest.mark.parametrize(("tokens", "false_starts"), [(40_000, 0), (40_001, 1)])
def test_a_first_value_of_exactly_the_bound_is_believed(tmp_path: Path, tokens: int, false_starts: int) -> None:
    bench = Bench(tmp_path, usd=0.006)
    bench.proxy.stripped = "null"
    bench.poll()
    bench.request(tokens=tokens)
    bench.poll()
    assert flow_of(bench.ledger).false_starts == false_starts


def test_a_first_value_in_a_restart_is_no_false_start(stripped: Bench) -> None:
    stripped.request(model="a")
    stripped.poll()
    stripped.proxy.restart()
    stripped.request(model="b", tokens=90_000_000)
    assert not _false_starts_told(stripped.poll())
    assert stripped.counted == 1


def test_details_that_appear_later_are_not_counted_again(stripped: Bench) -> None:
    stripped.poll()
    for _ in range(3):
        stripped.request()
    stripped.poll()
    stripped.proxy.stripped = ""
    stripped.clock.advance(30)
    stripped.request()
    stripped.request(model="new")
    stripped.poll()
    assert (stripped.counted, flow_of(stripped.ledger).booked) == (5, 3), "three at once, two by themselves"
    stripped.proxy.stripped = "empty"
    stripped.request()
    stripped.poll()
    assert stripped.counted == 6


def test_the_history_of_a_proxy_that_shows_its_details_later_is_of_the_past(stripped: Bench) -> None:
    stripped.request(hours_ago=5)
    stripped.poll()
    stripped.proxy.stripped = ""
    stripped.poll()
    flow = flow_of(stripped.ledger)
    assert (stripped.counted, flow.booked, flow.backfilled, flow.missed) == (0, 1, 1, 0)


@pytest.mark.parametrize("details_before", [True, False])
def test_an_import_of_details_that_were_counted_without_them_books_nothing(
    stripped: Bench, *, details_before: bool
) -> None:
    """A fork that strips its details is replaced by a server that sends them, and what it exported is imported."""
    stripped.proxy.stripped = "" if details_before else "absent"
    stripped.poll()
    stripped.proxy.stripped = "absent"
    for _ in range(3):
        stripped.clock.advance(10)
        stripped.request()
    stripped.poll()
    stripped.clock.advance(3600)
    export = stripped.proxy.export()
    stripped.proxy.restart()
    stripped.proxy.stripped = ""
    for _ in range(2):
        stripped.request()
        stripped.poll()
        stripped.proxy.import_(export)
        stripped.proxy.zone = 1
    flow = flow_of(stripped.ledger)
    assert (stripped.counted, flow.backfilled) == (5, 0)


# --- what can go wrong on our side ------------------------------------------------------------------------------------


def test_a_rejected_detail_that_is_replayed_is_not_booked_again_when_it_is_shown_again(bench: Bench) -> None:
    """It was from too far in the future for our clock, which was wrong."""
    bench.ahead_s = 4 * 86_400.0
    bench.request()
    bench.poll()
    assert flow_of(bench.ledger).rejected == {"impossible_time": 1}
    bench.clock.jump(bench.ahead_s)
    bench.ahead_s = 0.0
    bench.ledger.queue_rejected(reason=None, now_ms=int(bench.clock.now() * 1000))
    intake_of(bench.ledger, clock=bench.clock).work_off()
    assert flow_of(bench.ledger).booked == 1
    export = bench.proxy.export()
    bench.proxy.restart()
    bench.poll()
    bench.proxy.import_(export)
    bench.poll()
    assert flow_of(bench.ledger).booked == 1


def test_a_detail_that_was_rejected_and_is_read_later_is_not_booked_again_by_a_replay(bench: Bench) -> None:
    bench.ahead_s = 4 * 86_400.0
    bench.request()
    bench.poll()
    bench.clock.jump(bench.ahead_s)
    bench.ahead_s = 0.0
    export = bench.proxy.export()
    bench.proxy.restart()
    bench.poll()
    bench.proxy.import_(export)
    bench.poll()
    assert flow_of(bench.ledger).booked == 1
    bench.ledger.queue_rejected(reason=None, now_ms=int(bench.clock.now() * 1000))
    intake_of(bench.ledger, clock=bench.clock).work_off()
    assert flow_of(bench.ledger).booked == 1
    assert adds_up(flow_of(bench.ledger))


def test_pruning_that_is_killed_half_way_lets_no_old_detail_in_again(bench: Bench) -> None:
    for hours_ago in range(1, 20):
        bench.request(hours_ago=hours_ago)
    bench.poll()
    before_ms = int(bench.clock.now() * 1000) - 10 * HOUR_MS

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.ledger.totals, "lock", _KilledHere())  # taken right behind the first step's commit
        with pytest.raises(_Killed):
            bench.ledger.prune(entries_before_ms=before_ms, rejected_before_ms=0, stopping=lambda: False)
    bench.restart()
    left = sum(booked(bench.folder).values())
    assert left < 19
    export = bench.proxy.export()
    bench.proxy.restart()
    bench.poll()
    bench.proxy.import_(export)
    bench.poll()
    assert sum(booked(bench.folder).values()) == left


class _Killed(BaseException):
    pass


class _KilledHere:
    def __enter__(self) -> None:
        raise _Killed

    def __exit__(self, *_: object) -> None: ...


def test_queue_records_of_the_same_ledger_do_not_disturb(bench: Bench) -> None:
    """An upgrade and back: the queue is read, then a snapshot again."""
    bench.proxy.stripped = ""
    bench.request()
    bench.poll()
    take(intake_of(bench.ledger, clock=bench.clock), [{"timestamp": "2026-11-24T12:01:00Z", "model": "m"}])
    bench.proxy.restart()
    bench.request()
    bench.poll()
    flow = flow_of(bench.ledger)
    assert (flow.booked, flow.restarts, flow.duplicate) == (3, 1, 0)


def test_a_kill_at_any_moment_books_each_detail_once(tmp_path: Path) -> None:
    """Forks that take in 4,000 details in transactions of 50, killed anywhere."""
    bench = Bench(tmp_path)
    for number in range(4_000):
        bench.request(hours_ago=number / 100, model=f"m{number % 7}")
    bench.ledger.close()
    some = random.Random(1)
    kills = 0
    while kills < 12:
        child = os.fork()
        if not child:
            _take_in(bench)
        time.sleep(some.uniform(0.05, 0.35))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        kills += 1
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
    bench.start()
    bench.poll()
    assert booked(tmp_path) == _details(bench.proxy, tmp_path)
    flow = flow_of(bench.ledger)
    assert (flow.booked, flow.backfilled, flow.missed) == (4_000, 4_000, 0)
    check_sums(bench.ledger)


def _take_in(bench: Bench) -> None:
    code = 1
    try:
        exporter.snapshot_intake._PER_TRANSACTION = 50
        bench.start()
        bench.poll()
        code = 0
    finally:
        os._exit(code)


def _details(proxy: LegacyProxy, folder: Path) -> Any:
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        (client,) = connection.execute("select pseudonym from client").fetchone()
    return {
        (each.ts_ms, model, 0, 0, *(each.tokens[0], 0, 0, 0), client): 1
        for (_, model), series in proxy.series.items()
        for each in series.details
    }


def test_a_body_with_nulls_where_maps_may_be_is_an_empty_snapshot(bench: Bench) -> None:
    usages: list[dict[str, Any]] = [
        {},
        {"apis": None},
        {"apis": {}},
        {"apis": {"sk-a": {"models": None}}},
        {"apis": {"sk-a": None}},
    ]
    for usage in usages:
        bench.intake.take(json.dumps({"usage": usage}).encode(), taken_ms=0)
    assert flow_of(bench.ledger).received == 0
