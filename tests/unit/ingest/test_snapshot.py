"""Intake of snapshots: the first contact, old and live requests, and how restarts and false starts are reported."""

import json
import os
import random
import signal
import sqlite3
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import exporter.ingest.snapshot
from exporter.ledger.database import FILE_NAME
from exporter.ledger.views.periods import MONTH, TODAY, YESTERDAY
from exporter.normalize.inventory import Account
from exporter.records import Billing, CredentialFacts
from tests.benches.booking import adds_up, check_sums, flow_of, intake_of, take
from tests.benches.snapshots import HOUR_MS, NOON, SnapshotBench, booked
from tests.fakes.legacy import Detail, LegacyProxy


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[SnapshotBench]:
    made = SnapshotBench(tmp_path)
    yield made
    made.ledger.close()


# --- the past and the present -----------------------------------------------------------------------------------------


def test_the_history_of_a_proxy_lands_on_its_days_and_in_no_counter(bench: SnapshotBench) -> None:
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


def test_requests_after_the_first_contact_are_live(bench: SnapshotBench) -> None:
    bench.request(hours_ago=0.01)
    bench.poll()
    bench.request()
    bench.poll()
    assert (bench.counted, flow_of(bench.ledger).backfilled) == (1, 1)


def test_requests_made_while_the_exporter_was_down_are_live(bench: SnapshotBench) -> None:
    bench.poll()
    bench.clock.advance(9 * 3600)
    for hours_ago in (0, 4, 8.9):
        bench.request(hours_ago=hours_ago)
    bench.restart()
    bench.poll()
    assert (bench.counted, flow_of(bench.ledger).backfilled) == (3, 0)


def test_imported_requests_that_were_never_read_are_booked_and_in_no_counter(bench: SnapshotBench) -> None:
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


def test_a_slow_request_is_live_when_it_ends(bench: SnapshotBench) -> None:
    bench.poll()
    bench.proxy.record(
        "sk-a", "m", Detail(ts_ms=int(NOON * 1000) - HOUR_MS, latency_ms=HOUR_MS + 30_000, auth_index="", tokens=(1, 1))
    )
    bench.poll()
    assert (bench.counted, flow_of(bench.ledger).backfilled) == (1, 0)


@pytest.mark.parametrize("ahead_s", [-30_000.0, 30_000.0])
def test_records_of_a_proxy_whose_clock_is_hours_off_are_live(tmp_path: Path, ahead_s: float) -> None:
    bench = SnapshotBench(tmp_path, ahead_s=ahead_s)
    bench.poll()
    bench.request()
    bench.poll()
    assert (bench.counted, flow_of(bench.ledger).backfilled) == (1, 0)


@pytest.mark.parametrize("jump_s", [-7200.0, 7200.0])
def test_records_after_a_change_of_the_proxys_clock_are_live(bench: SnapshotBench, jump_s: float) -> None:
    bench.poll()
    bench.ahead_s = jump_s
    bench.request()
    bench.poll()
    assert (bench.counted, flow_of(bench.ledger).backfilled) == (1, 0)


# --- restarts ---------------------------------------------------------------------------------------------------------


def _restarts_logged(lines: list[Any]) -> list[Any]:
    return [event for event in lines if "Restart detected" in str(event)]


@pytest.mark.parametrize("stripped", ["", "absent"])
def test_a_restart_is_reported_once_however_many_series_fell(bench: SnapshotBench, stripped: Any) -> None:
    bench.proxy.stripped = stripped
    for model in "abcdef":
        bench.request(model=model)
    assert not _restarts_logged(bench.poll())
    bench.proxy.restart()
    bench.request(model="a")
    logged = _restarts_logged(bench.poll())
    assert [event["log_level"] for event in logged] == ["warning"]
    assert flow_of(bench.ledger).restarts == 1
    assert not _restarts_logged(bench.poll())


def test_a_flapping_proxy_is_reported_every_ten_minutes_and_counted_each_time(bench: SnapshotBench) -> None:
    logged: list[Any] = []
    for _ in range(31):
        bench.request()
        logged += _restarts_logged(bench.poll())
        bench.proxy.restart()
        logged += _restarts_logged(bench.poll(after_s=0.0))
    assert flow_of(bench.ledger).restarts == 31
    assert [event["restarts"] for event in logged] == [1, 9, 10, 10], "at 0, 10, 20 and 30 minutes"


def test_a_restart_is_noticed_even_if_no_count_fell(bench: SnapshotBench) -> None:
    """Its details vanished."""
    for _ in range(5):
        bench.request()
    bench.poll()
    bench.proxy.restart()
    for _ in range(8):
        bench.request()
    assert _restarts_logged(bench.poll())
    assert flow_of(bench.ledger).restarts == 1
    assert not _restarts_logged(bench.poll())


@pytest.mark.parametrize("cap", [None, 4])
def test_details_in_another_order_or_behind_a_cap_are_no_restart(bench: SnapshotBench, cap: int | None) -> None:
    bench.proxy.cap = cap
    for _ in range(5):
        bench.request()
    bench.poll()
    for _ in range(3):
        bench.request()
        next(iter(bench.proxy.series.values())).details.reverse()
        bench.poll()
    assert flow_of(bench.ledger).restarts == 0


def test_details_that_a_capped_proxy_dropped_before_the_first_contact_are_not_missed(bench: SnapshotBench) -> None:
    bench.proxy.cap = 10
    for _ in range(15):
        bench.request()
    bench.poll()
    assert (flow_of(bench.ledger).booked, flow_of(bench.ledger).missed) == (10, 0)
    for _ in range(12):
        bench.request()
    bench.poll()
    assert (flow_of(bench.ledger).booked, flow_of(bench.ledger).missed) == (20, 2)
    bench.proxy.restart()
    for _ in range(13):
        bench.request()
    bench.poll()
    assert (flow_of(bench.ledger).booked, flow_of(bench.ledger).missed) == (30, 5), "all that it counts is new"


def test_a_restart_whose_export_was_imported_misses_nothing(bench: SnapshotBench) -> None:
    """The imported series are unchanged, so their details are not read again; other series have not come back."""
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


# --- cost -------------------------------------------------------------------------------------------------------------


def test_a_changed_series_does_not_make_others_be_read_again(bench: SnapshotBench) -> None:
    """CPA 6.6.96 shows only the newest details, so each request gives its series another beginning."""
    bench.proxy.cap = 10
    for number in range(20):
        for _ in range(11):
            bench.request(client=f"sk-{number}")
            bench.clock.advance(0.25)
    bench.poll()
    bench.request(client="sk-0")
    bench.poll()
    assert flow_of(bench.ledger).duplicate == 9


@pytest.mark.parametrize("client", ["sk-a", "sk-b"])
def test_a_twin_is_new_whichever_series_has_the_other_one(bench: SnapshotBench, client: str) -> None:
    """It equals another request to the nanosecond. Only this makes the exporter read the other series' details."""
    bench.proxy.cap = 3
    twin = bench.request(client="sk-a")
    for _ in range(3):
        bench.request(client="sk-b")
    bench.poll()
    bench.proxy.record(client, "m", twin)
    bench.poll()
    assert flow_of(bench.ledger).booked == 5


# --- what can go wrong on our side ------------------------------------------------------------------------------------


def test_a_rejected_detail_that_is_replayed_is_not_booked_again_when_it_is_shown_again(bench: SnapshotBench) -> None:
    """It was too far in the future for our clock, which was wrong."""
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


def test_a_rejected_detail_is_counted_once_although_its_account_is_known_only_the_next_time(
    bench: SnapshotBench,
) -> None:
    bench.poll()
    bench.ahead_s = 4 * 86_400.0
    bench.request()
    bench.poll()
    facts = CredentialFacts("kimi", Billing.SUBSCRIPTION)
    account = Account(facts=facts, identity=None, auth_index="a1", auth_type="oauth")
    bench.ledger.take_inventory("p", [account])
    export = bench.proxy.export()
    bench.proxy.restart()
    bench.poll()
    bench.proxy.import_(export)
    bench.poll()
    assert flow_of(bench.ledger).rejected == {"impossible_time": 1}


def test_a_detail_that_was_rejected_and_is_read_later_is_not_booked_again_by_a_replay(bench: SnapshotBench) -> None:
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


def test_pruning_that_is_killed_half_way_does_not_readmit_old_details(bench: SnapshotBench) -> None:
    for hours_ago in range(1, 20):
        bench.request(hours_ago=hours_ago)
    bench.poll()
    before_ms = int(bench.clock.now() * 1000) - 10 * HOUR_MS

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.ledger.totals, "lock", _KilledHere())  # copied right after the commit of the first step
        with pytest.raises(_Killed):
            bench.ledger.retention.prune(entries_before_ms=before_ms, rejected_before_ms=0, stopping=lambda: False)
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


def test_queue_records_in_the_same_ledger_do_not_interfere(bench: SnapshotBench) -> None:
    """After an upgrade and a downgrade, the queue is read and then a snapshot again."""
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
    """Forks take in 4,000 details in transactions of 50 and are killed anywhere."""
    bench = SnapshotBench(tmp_path)
    for number in range(4_000):
        bench.request(hours_ago=number / 100, model=f"m{number % 7}")
    bench.ledger.close()
    some = random.Random(1)
    kills = 0
    while kills < 12:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of pytest's threads: none is needed
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


def _take_in(bench: SnapshotBench) -> None:
    code = 1
    try:
        exporter.ingest.snapshot._PER_TRANSACTION = 50
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


def test_a_body_with_nulls_where_maps_may_be_is_an_empty_snapshot(bench: SnapshotBench) -> None:
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


@pytest.mark.parametrize("edge", ["0001-01-01T00:00:00+08:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-08:00"])
def test_a_detail_from_an_edge_of_the_calendar_is_rejected_and_costs_no_other_one(
    bench: SnapshotBench, edge: str
) -> None:
    bench.poll()
    odd = bench.request().wire(zone=0, index="a1")["timestamp"]
    bench.request()
    body = bench.proxy.body().replace(odd.encode(), edge.encode(), 1)
    for _ in range(2):
        bench.intake.take(body, taken_ms=int(NOON * 1000))
    flow = flow_of(bench.ledger)
    assert (flow.booked, flow.rejected, flow.missed) == (1, {"impossible_time": 1}, 0)
