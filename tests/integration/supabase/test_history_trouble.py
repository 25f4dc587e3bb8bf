"""Trouble beside the records, or with one of several proxies, is reported and delays nothing else."""

from collections.abc import Sequence

import pytest
import structlog

from exporter.errors import HistoryAwayError
from exporter.history import sender as sender_module
from exporter.history import supabase_client as remote_module
from exporter.history.history import Task
from tests.benches.history import Start
from tests.stack.supabase.api import SupabaseApi
from tests.stack.supabase.comparison import assert_equal, records
from tests.stack.supabase.gate import Gate


def test_an_answer_of_an_unexpected_shape_is_logged_once_and_tried_again(start: Start, gate: Gate) -> None:
    bench = start(url=gate.url)
    bench.book()
    gate.fault = lambda path: "strange" if "exporter_claim" in path else ""

    with structlog.testing.capture_logs() as logs:
        for _ in range(30):
            assert bench.work(10) == "internal_error"
    assert len([entry for entry in logs if entry["event"] == "history_fault"]) == 1

    gate.fault = lambda _path: ""
    assert bench.work(300) == "ok"


def test_the_log_ends_with_what_is_true_after_a_long_outage(
    start: Start, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long backlog is sent in several calls, which is a state of its own; in everyday use it is not logged."""
    monkeypatch.setattr(sender_module, "PAGE_ROWS", 50)
    bench = start(url=gate.url)
    with structlog.testing.capture_logs() as logs:
        gate.fault = lambda path: "strange" if "exporter_claim" in path else ""
        bench.book(120)
        assert bench.work() == "internal_error"
        gate.fault = lambda _path: ""
        assert bench.work(300) == "ok"
        bench.book(120)
        assert bench.work(10) == "ok"

    states = [entry["state"] for entry in logs if entry["event"] == "history_state"]
    assert states == ["internal_error", "catching_up", "ok"]


def test_failures_beside_the_records_do_not_stop_them(start: Start, supabase_api: SupabaseApi) -> None:
    database = supabase_api.database
    database.run("revoke execute on function exporter_snapshot from service_role")
    try:
        bench = start()
        bench.book(4)
        assert bench.work() == "misconfigured"
        assert len(records(database)) == 4
        bench.book(3)
        bench.work(60)
        assert len(records(database)) == 7
    finally:
        database.run("grant execute on function exporter_snapshot to service_role")
    assert bench.work(60) == "ok"


def test_a_name_that_the_database_refuses_delays_no_record(start: Start, supabase_api: SupabaseApi) -> None:
    database = supabase_api.database
    database.run("alter table exporter_labels add constraint picky check (kind <> 'client')")
    try:
        bench = start()
        bench.book(20)
        with structlog.testing.capture_logs() as logs:
            assert bench.work() == "ok"
            assert bench.work(10) == "ok"
        assert len(records(database)) == 20
        assert bench.history.status.refused == 0
        assert [entry["call"] for entry in logs if entry["event"] == "history_refused"] == ["exporter_book"]
    finally:
        database.run("alter table exporter_labels drop constraint picky")


def test_a_nul_from_a_proxy_reaches_the_database_as_another_character(start: Start, supabase_api: SupabaseApi) -> None:
    bench = start()
    bench.book(2, auth_index="a\0b", model="m\0", provider="claude")
    assert bench.work() == "ok"
    assert sum(bench.history.status.errors.values()) == 0
    [kept] = supabase_api.database.rows("select value::text from exporter_checkpoints where kind = 'credentials'")
    assert "a\ufffdb" in kept["value"]
    assert len(records(supabase_api.database)) == 2


def test_a_checkpoint_that_the_database_refuses_is_counted_and_reported_and_delays_no_record(
    start: Start, supabase_api: SupabaseApi
) -> None:
    database = supabase_api.database
    database.run("alter table exporter_checkpoints add constraint picky check (kind <> 'credentials')")
    try:
        bench = start()
        bench.ledger.register("mine")
        bench.book(3)
        bench.book(2, proxy="mine")
        assert bench.work() == "misconfigured"
        assert bench.history.status.errors["bad_data"] == 2, "one for each proxy"
        assert "the state of proxy" in bench.history.status.sentence
        assert (len(records(database)), len(records(database, proxy="mine"))) == (3, 2)
        bench.book(1)
        assert bench.work(60) == "misconfigured"
        assert bench.history.status.errors["bad_data"] == 4
        assert len(records(database)) == 4
    finally:
        database.run("alter table exporter_checkpoints drop constraint picky")
    assert bench.work(60) == "ok"
    assert database.rows("select count(*) from exporter_checkpoints where kind = 'credentials'") == [{"count": 2}]


def test_a_claim_that_is_lost_on_the_way_is_reported_and_other_proxies_continue(
    start: Start, supabase_api: SupabaseApi
) -> None:
    bench = start()
    bench.ledger.register("mine")
    bench.book(1)
    bench.book(1, proxy="mine")
    assert bench.work() == "ok"

    supabase_api.database.run("update exporter_proxies set owner = 'somebody else' where name = 'default'")
    bench.book(1)
    bench.book(1, proxy="mine")
    for _ in range(3):
        bench.work(300)

    assert bench.history.status.state == "name_taken"
    assert len(records(supabase_api.database)) == 1
    assert len(records(supabase_api.database, proxy="mine")) == 2


@pytest.mark.parametrize(("code", "state"), [("57014", "away"), ("P0001", "away"), ("42501", "misconfigured")])
def test_a_proxy_whose_rows_the_database_fails_to_write_delays_no_other(
    start: Start, supabase_api: SupabaseApi, code: str, state: str
) -> None:
    """57014: another session has locked its rows. The rest are triggers that are not the exporter's."""
    database = supabase_api.database
    bench = start()
    bench.ledger.register("mine")
    assert bench.work() == "ok"
    database.run(
        "create function failing() returns trigger language plpgsql as"
        f" $$ begin raise exception 'no' using errcode = '{code}'; end $$;"
        " create trigger failing before insert on usage_records for each row"
        " when (new.proxy = 'default') execute function failing()"
    )
    try:
        for _ in range(2):
            bench.book(2)
            bench.book(1500, proxy="mine")
            assert bench.work(300) == state
        bench.work(1)
        assert bench.history.status.waiting == 4
        assert sum(bench.history.status.errors.values()) == 2, "it is tried once in each pass"
        assert len(records(database, proxy="mine")) == 3000
        assert database.value("(select count(*) from usage_snapshots)") >= 2
    finally:
        database.run("drop function failing cascade")
    assert bench.work(300) == "ok"
    assert len(records(database)) == 4


# --- slow -------------------------------------------------------------------------------------------------------------


def test_a_server_that_manages_only_small_batches_gets_them_without_long_pauses(start: Start, gate: Gate) -> None:
    bench = start(url=gate.url)
    bench.work()
    bench.book(6000)
    sizes: list[int] = []

    def fault(path: str, body: bytes) -> str:
        if "exporter_book" not in path:
            return ""
        sizes.append(body.count(b"ts_ms"))
        return "statement_timeout" if sizes[-1] > 600 else ""

    gate.fault_of = fault
    passes = 0
    while bench.work(10) != "ok":
        passes += 1
        assert passes < 60, sizes

    assert sum(size for size in sizes if size <= 600) == 6000
    assert len([size for size in sizes if size > 600]) <= 4, "it does not try what failed again and again"


def test_a_task_that_always_times_out_does_not_slow_the_records_down(start: Start, supabase_api: SupabaseApi) -> None:
    def run(_owner: str, _proxies: Sequence[str]) -> None:
        raise HistoryAwayError("Too slow.", reason="server_error")

    bench = start(tasks=[Task(20.0, run)])
    bench.book(5000)

    assert bench.work() == "away"

    assert len(records(supabase_api.database)) == 5000
    assert bench.history.status.sentence.startswith("Too slow.")


# --- days that are to be deleted --------------------------------------------------------------------------------------


def test_no_day_is_deleted_while_waiting_records_may_belong_to_it(start: Start, supabase_api: SupabaseApi) -> None:
    bench = start(history_days=30)
    bench.book(1500, timestamp="2026-09-01T12:00:00Z")
    bench.book(3)

    assert bench.work() == "ok"

    (old,) = supabase_api.database.rows("select * from daily_stats where stat_date = '2026-09-01'")
    assert old["total_requests"] == 1500
    assert len(records(supabase_api.database)) == 3


def test_records_of_closed_days_are_reported_once(start: Start, supabase_api: SupabaseApi) -> None:
    supabase_api.database.run(
        "insert into daily_stats (stat_date) values ('2026-09-01');"
        "insert into usage_snapshots (collected_at) values ('2026-10-01')"
    )
    bench = start()
    bench.book(2500, timestamp="2026-09-01T12:00:00Z")

    with structlog.testing.capture_logs() as logs:
        assert bench.work() == "ok"

    assert [entry["records"] for entry in logs if entry["event"] == "history_days_frozen"] == [2500]


def test_records_of_deleted_days_are_reported_once_and_hold_nothing_up(start: Start, supabase_api: SupabaseApi) -> None:
    bench = start()
    bench.book(1)
    bench.work()
    supabase_api.database.run("update exporter_proxies set pruned_before = '2026-10-01'")
    bench.book(2500, timestamp="2026-09-01T12:00:00Z")
    bench.book(3)

    with structlog.testing.capture_logs() as logs:
        assert bench.work(30) == "ok"
        bench.book(1)
        assert bench.work(30) == "ok"

    assert [entry["records"] for entry in logs if entry["event"] == "history_records_too_late"] == [2500]
    assert len(records(supabase_api.database)) == 5
    assert bench.ledger.backlog.size("default") == 0


def test_a_cumulative_row_that_comes_after_a_later_one_is_left_out(start: Start, supabase_api: SupabaseApi) -> None:
    bench = start()
    bench.book(1)
    bench.work()
    supabase_api.database.run("update usage_snapshots set slot = '2099-01-01'")
    bench.book(1)

    with structlog.testing.capture_logs() as logs:
        assert bench.work(300) == "ok"

    assert [entry["event"] for entry in logs if entry["event"].startswith("history_snapshot")] == [
        "history_snapshot_left_out"
    ]
    assert supabase_api.database.value("(select count(*) from usage_snapshots)") == 1


# --- several proxies --------------------------------------------------------------------------------------------------


def test_a_proxy_that_cannot_be_restored_does_not_delay_the_others(start: Start, supabase_api: SupabaseApi) -> None:
    first = start("first")
    first.book(2)
    first.work()
    supabase_api.database.run(
        "update exporter_checkpoints set value = '{\"snapshot_ms\": \"yesterday\"}' where kind = 'snapshots';"
        " update exporter_proxies set given_back = true"
    )
    second = start("second")
    second.ledger.register("other")
    second.book(5, proxy="other")

    assert second.work() == "misconfigured"

    assert "exporter_checkpoints" in second.history.status.sentence
    assert len(records(supabase_api.database, proxy="other")) == 5


# --- refused ----------------------------------------------------------------------------------------------------------


def test_a_constraint_that_refuses_everything_is_not_blamed_on_the_records(
    start: Start, supabase_api: SupabaseApi
) -> None:
    database = supabase_api.database
    bench = start()
    bench.work()
    database.run("alter table daily_stats add constraint mine check (total_requests < 1)")
    try:
        bench.book(500)
        assert bench.work(30) == "misconfigured"
        assert bench.history.status.refused == 0
        assert bench.history.status.waiting == 500
        assert bench.history.status.errors["bad_data"] == 1
    finally:
        database.run("alter table daily_stats drop constraint mine")

    assert bench.work(60) == "ok"
    assert assert_equal(bench.data_dir, database) == 500


def test_refused_records_in_a_row_delay_no_good_ones(start: Start, supabase_api: SupabaseApi) -> None:
    database = supabase_api.database
    bench = start()
    bench.book(12, model="new-model")
    bench.book(92)
    database.run("alter table usage_records add constraint picky check (model <> 'new-model')")
    try:
        assert bench.work() == "ok", bench.history.status.sentence
        assert (len(records(database)), bench.history.status.refused) == (92, 12)
        bench.close()
        again = start()
        assert again.work() == "ok", again.history.status.sentence
        assert again.history.status.refused == 12
    finally:
        database.run("alter table usage_records drop constraint picky")


def test_records_that_were_refused_are_not_pruned(start: Start, supabase_api: SupabaseApi) -> None:
    database = supabase_api.database
    bench = start()
    database.run("alter table usage_records add constraint picky check (model <> 'new-model')")
    try:
        bench.book(9)
        bench.book(3, model="new-model")
        assert bench.work() == "ok"
    finally:
        database.run("alter table usage_records drop constraint picky")
    future_ms = int((bench.clock.now() + 1000) * 1000)

    entries, _ = bench.ledger.retention.prune(
        entries_before_ms=future_ms, rejected_before_ms=0, stopping=lambda: False, sent_only=True
    )

    assert entries == 9
    bench.close()
    again = start(clock=bench.clock)
    assert again.work() == "ok"
    assert len(records(database)) == 12
    assert again.history.status.refused == 0


# --- what a project may be like ---------------------------------------------------------------------------------------


def test_a_clock_that_was_ahead_once_does_not_block_later_snapshots(start: Start, supabase_api: SupabaseApi) -> None:
    bench = start()
    bench.book(2)
    bench.clock.jump(5 * 365 * 86_400)
    bench.work()
    newest = "(select max(slot) <= now() from usage_snapshots)"

    assert supabase_api.database.value(newest)


def test_a_project_that_sends_fewer_rows_at_once_than_requested_is_read_to_the_end(
    start: Start, supabase_api: SupabaseApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    supabase_api.database.run(
        "insert into usage_prices select md5(n::text)::uuid, n::text from generate_series(1, 2500) n"
    )
    monkeypatch.setattr(remote_module, "PAGE_ROWS", 2000)  # the project's own limit is 1,000

    assert len(list(start().remote.rows("usage_prices", order=("id",)))) == 2500


def test_rows_brought_from_another_project_do_not_block_new_ones(start: Start, supabase_api: SupabaseApi) -> None:
    database = supabase_api.database
    database.run(
        "insert into daily_stats (id, stat_date) select n, date '2026-01-01' + n from generate_series(1, 60) n"
    )
    database.migrate()
    bench = start()
    bench.book(3)

    assert bench.work() == "ok"

    assert database.value("(select total_requests from daily_stats order by stat_date desc limit 1)") == 3
