"""The history as an operator sees it: written, away, misconfigured, refused, shared, and drained when it is back."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise

import pytest
import structlog
from pydantic import SecretStr

from exporter.history.preflight import SCHEMA_VERSION
from exporter.settings.proxies import Aliases, ClientAlias
from tests.benches.booking import GOOD
from tests.benches.history import HistoryBench, Start
from tests.benches.snapshots import snapshot_intake
from tests.fakes.legacy import Detail, LegacyProxy
from tests.stack.loopback import free_port
from tests.stack.supabase.api import SupabaseApi
from tests.stack.supabase.comparison import assert_equal, entries, records
from tests.stack.supabase.gate import FAULTS, Gate
from tests.stack.supabase.postgres import Database

# --- written ----------------------------------------------------------------------------------------------------------


def test_booked_records_are_there_after_one_pass(start: Start, supabase_api: SupabaseApi) -> None:
    bench = start()
    bench.book(2345)

    assert bench.work() == "ok"

    assert assert_equal(bench.data_dir, supabase_api.database) == 2345
    assert bench.history.status.waiting == 0
    assert bench.history.status.last_success_ms == int(bench.clock.now() * 1000)


def test_a_thousand_records_are_one_call(start: Start, gate: Gate) -> None:
    booked: list[str] = []
    bench = start(url=gate.url)
    bench.work()
    gate.fault = lambda path: booked.append(path) or ""  # type: ignore[func-returns-value]
    bench.book(2500)

    bench.work(10)

    assert sum("exporter_book" in path for path in booked) == 3


def test_a_restarted_exporter_sends_only_what_is_new(start: Start, supabase_api: SupabaseApi, gate: Gate) -> None:
    first = start(url=gate.url)
    first.book(10)
    first.work()
    first.close()

    second = start(url=gate.url, clock=first.clock)
    second.clock.advance(100)
    second.book(3)
    assert second.work() == "ok"

    assert assert_equal(second.data_dir, supabase_api.database) == 13
    assert supabase_api.database.value("(select count(*) from usage_records where ts > to_timestamp(1795000050))") == 3


def test_the_cumulative_rows_are_written_once_in_five_minutes(start: Start, supabase_api: SupabaseApi) -> None:
    bench = start()
    bench.clock.advance(300 - bench.clock.now() % 300)
    for _ in range(12):
        bench.book(5)
        assert bench.work(60) == "ok"

    rows = supabase_api.database.rows(
        "select s.total_requests, sum(m.request_count) as models from usage_snapshots s"
        " join model_usage m on m.snapshot_id = s.id group by s.id order by s.slot"
    )
    assert [row["total_requests"] for row in rows] == [row["models"] for row in rows] == [5, 25, 50]


def test_a_new_alias_reaches_the_history_without_new_records(start: Start, supabase_api: SupabaseApi) -> None:
    first = start()
    first.book()
    first.work()
    first.close()

    alias = ClientAlias(key=SecretStr(GOOD["api_key"]), alias="laptop")
    assert start(aliases=Aliases(clients=(alias,))).work() == "ok"

    (shown,) = supabase_api.database.rows("select shown from exporter_labels where kind = 'client'")
    assert shown == {"shown": "laptop"}


def test_windows_that_a_provider_reported_are_there(start: Start, supabase_api: SupabaseApi) -> None:
    bench = start()
    headers = {
        "Anthropic-Ratelimit-Unified-5h-Utilization": ["0.42"],
        "Anthropic-Ratelimit-Unified-5h-Reset": [str(int(bench.clock.now()) + 3600)],
        "Anthropic-Ratelimit-Unified-5h-Status": ["allowed"],
    }
    bench.book(response_headers=headers)

    assert bench.work() == "ok"

    (row,) = supabase_api.database.rows("select quota, used_ratio, status from quota_readings")
    assert row == {"quota": "5h", "used_ratio": 0.42, "status": "allowed"}


@pytest.mark.parametrize("extra_usage", ["allowed", "rejected"])
def test_a_share_that_was_inferred_from_a_refusal_is_so_in_a_restored_ledger(
    start: Start, supabase_api: SupabaseApi, extra_usage: str
) -> None:
    bench = start()
    headers = {
        "Anthropic-Ratelimit-Unified-5h-Reset": [str(int(bench.clock.now()) + 3600)],
        "Anthropic-Ratelimit-Unified-5h-Status": ["rejected"],
        "Anthropic-Ratelimit-Unified-Overage-Status": [extra_usage],
    }
    bench.book(response_headers=headers)
    assert bench.work() == "ok"
    bench.close()
    supabase_api.database.run("update exporter_proxies set seen_at = now() - interval '16 minutes'")

    restored = start("two", clock=bench.clock)
    assert restored.work() == "ok"
    windows = [*restored.ledger.quotas.current().values()]

    assert [(each.reading.used_ratio, each.reading.ratio_inferred) for each in windows] == [(1, True)]


def test_each_of_two_proxies_gets_back_its_own_past_and_no_count_of_the_other_one(
    start: Start, supabase_api: SupabaseApi
) -> None:
    """Both have the same client and model, send no details, and go on while their exporter's ledger is lost."""
    proxies = {"home": LegacyProxy(), "office": LegacyProxy()}

    def look(bench: HistoryBench, **used: int) -> None:
        bench.clock.advance(60)
        now_ms = bench.clock.now_ms()
        for name, number in used.items():
            proxies[name].stripped = "absent"
            for _ in range(number):
                proxies[name].record("sk-client", "m", Detail(now_ms, 1, "index", (10, 1)))
            snapshot_intake(bench.ledger, name, clock=bench.clock).take(proxies[name].body(), now_ms)

    lost = start(proxy="home")
    lost.ledger.register("office")
    look(lost, home=1, office=1)
    look(lost, home=2, office=7)
    assert lost.work() == "ok"
    lost.close()
    supabase_api.database.run("update exporter_proxies set seen_at = now() - interval '16 minutes'")

    bench = start("two", proxy="home", clock=lost.clock)
    bench.ledger.register("office")
    assert bench.work(10) == "ok"
    look(bench, home=3, office=4)
    assert bench.work(20) == "ok"

    for name, booked in (("home", 2 + 3), ("office", 7 + 4)):
        rows = supabase_api.database.rows(f"select requests from usage_records where proxy = '{name}'")
        assert sum(row["requests"] for row in rows) == booked
        booked_here, there = entries(bench.data_dir, proxy=name), records(supabase_api.database, proxy=name)
        assert {row[:2] for row in booked_here} == {row[:2] for row in there}


# --- away -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_passes_and_nothing_is_lost_or_doubled(
    start: Start, supabase_api: SupabaseApi, gate: Gate, fault: str
) -> None:
    bench = start(url=gate.url)
    bench.work()
    bench.book(30)

    gate.fault = lambda path: fault if "exporter_book" in path else ""
    with bench.impatient() if fault == "answer_late" else nullcontext():
        assert bench.work(30) == "away"
    assert bench.history.status.waiting == 30
    assert "the ledger keeps the records" in bench.history.status.sentence
    reason = "unreachable" if fault in ("question_lost", "answer_lost", "answer_cut", "answer_late") else "server_error"
    assert bench.history.status.errors["too_many_requests" if fault == "busy" else reason] == 1

    gate.fault = lambda _path: ""
    assert bench.work(10) == "ok"
    assert assert_equal(bench.data_dir, supabase_api.database) == 30


def test_attempts_become_rarer_while_supabase_is_away_and_each_state_is_logged_once(start: Start, gate: Gate) -> None:
    bench = start(url=gate.url)
    bench.work()
    bench.book()
    calls: list[float] = []
    gate.fault = lambda _path: calls.append(bench.clock.now()) or "bad_gateway"  # type: ignore[func-returns-value]

    with structlog.testing.capture_logs() as logs:
        for _ in range(360):
            bench.work(10)
        gate.fault = lambda _path: ""
        for _ in range(31):
            bench.work(10)

    pauses = [later - earlier for earlier, later in pairwise(calls)]
    assert pauses[0] <= 10
    assert max(pauses) <= 310
    assert min(pauses[-8:]) >= 150
    states = [(entry["log_level"], entry["state"]) for entry in logs if entry["event"] == "history_state"]
    assert states == [("warning", "away"), ("info", "ok")]


def test_a_frozen_server_costs_a_time_out_and_then_sending_continues(start: Start, supabase_api: SupabaseApi) -> None:
    bench = start()
    bench.work()
    bench.book(40)
    supabase_api.freeze()
    try:
        with bench.impatient():
            assert bench.work(10) == "away"
    finally:
        supabase_api.thaw()
    supabase_api.restart()

    assert bench.work(10) == "ok"
    assert assert_equal(bench.data_dir, supabase_api.database) == 40


def test_an_address_where_nobody_listens_is_reported(start: Start) -> None:
    bench = start(url=f"http://127.0.0.1:{free_port()}")
    bench.book()

    assert bench.work() == "away"
    assert bench.history.status.errors["unreachable"] == 1
    bench.book(2)
    bench.work(1)
    assert bench.history.status.waiting == 3, "told before the next attempt"


def test_batches_shrink_while_the_server_is_too_slow_for_them(start: Start, gate: Gate) -> None:
    bench = start(url=gate.url)
    bench.work()
    bench.book(1000)
    gate.fault = lambda path: "statement_timeout" if "exporter_book" in path else ""
    for _ in range(3):
        bench.work(300)
    gate.fault = lambda _path: ""
    gate.met.clear()

    assert bench.work(300) == "ok"

    assert gate.met[""] >= 4  # 125, 250, 500, and what is left


# --- misconfigured ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["sb_secret_wrong", "publishable"])
def test_a_wrong_key_has_its_own_state_and_nothing_is_lost(start: Start, supabase_api: SupabaseApi, key: str) -> None:
    bench = start(key=supabase_api.publishable_key if key == "publishable" else key)
    bench.book(3)

    assert bench.work() == "misconfigured"

    assert "SUPABASE_SECRET_KEY" in bench.history.status.sentence or "secret key" in bench.history.status.sentence
    assert bench.history.status.waiting == 3


@pytest.mark.parametrize(
    ("statement", "undo", "reason"),
    [
        (
            "revoke execute on function exporter_book from service_role",
            "grant execute on function exporter_book to service_role",
            "no_grant",
        ),
        (
            "revoke all on usage_records from service_role",
            "grant select, insert, update, delete on usage_records to service_role",
            "no_grant",
        ),
        (
            "alter function exporter_schema_version rename to exporter_hidden",
            "alter function exporter_hidden rename to exporter_schema_version",
            "not_migrated",
        ),
        (
            "alter table usage_rollups rename to usage_hidden",
            "alter table usage_hidden rename to usage_rollups",
            "not_migrated",
        ),
    ],
)
def test_a_missing_grant_or_migration_has_its_own_state_and_ends_when_repaired(
    start: Start, supabase_api: SupabaseApi, statement: str, undo: str, reason: str
) -> None:
    bench = start()
    bench.book(3)
    supabase_api.database.run(statement)
    try:
        assert bench.work() == "misconfigured"
        assert bench.history.status.errors[reason] == 1
        assert "supabase/migrations" in bench.history.status.sentence
    finally:
        supabase_api.database.run(undo)

    assert bench.work(60) == "ok"
    assert assert_equal(bench.data_dir, supabase_api.database) == 3


def test_tables_of_an_older_version_are_not_written_to(start: Start, supabase_api: SupabaseApi) -> None:
    database = supabase_api.database
    version = "create or replace function exporter_schema_version() returns integer language sql as 'select {}'"
    bench = start()
    bench.book()
    database.run(version.format(SCHEMA_VERSION - 1))
    try:
        assert bench.work() == "misconfigured"
        assert database.value("(select count(*) from exporter_proxies)") == 0
    finally:
        database.run(version.format(SCHEMA_VERSION))
    assert bench.work(60) == "ok"


def test_another_server_at_the_address_has_its_own_state(start: Start, gate: Gate) -> None:
    gate.fault = lambda _path: "web_page"
    bench = start(url=gate.url)
    bench.book()

    assert bench.work() == "misconfigured"

    assert "SUPABASE_URL" in bench.history.status.sentence


# --- bad data ---------------------------------------------------------------------------------------------------------


def test_a_record_that_the_database_refuses_is_set_aside_and_delays_nothing(
    start: Start, supabase_api: SupabaseApi
) -> None:
    bench = start()
    bench.book(37)
    bench.book(1, model="new-model")
    bench.book(62)
    with _refusing("new-model", supabase_api.database), structlog.testing.capture_logs() as logs:
        assert bench.work() == "ok"

        assert len(records(supabase_api.database)) == 99
        assert bench.history.status.refused == 1
        assert [entry["records"] for entry in logs if entry["event"] == "history_records_set_aside"] == [1]
        bench.book(5)
        assert bench.work(10) == "ok"
        assert len(records(supabase_api.database)) == 104


def test_a_refused_record_is_tried_again_when_the_exporter_starts(start: Start, supabase_api: SupabaseApi) -> None:
    with _refusing("new-model", supabase_api.database):
        first = start()
        first.book(3)
        first.book(1, model="new-model")
        first.work()
        assert first.history.status.refused == 1
        first.close()

    second = start()
    assert second.work() == "ok"

    assert second.history.status.refused == 0
    assert assert_equal(second.data_dir, supabase_api.database) == 4


@contextmanager
def _refusing(model: str, database: Database) -> Iterator[None]:
    database.run(f"alter table usage_records add constraint picky check (model <> '{model}')")
    try:
        yield
    finally:
        database.run("alter table usage_records drop constraint picky")


# --- shared -----------------------------------------------------------------------------------------------------------


def test_two_exporters_of_one_project_add_up(start: Start, supabase_api: SupabaseApi) -> None:
    home, office = start("home", proxy="home"), start("office", proxy="office")
    for _ in range(3):
        home.book(5, proxy="home")
        office.book(7, proxy="office")
        assert home.work(10) == office.work(10) == "ok"

    (day,) = supabase_api.database.rows("select total_requests, breakdown from daily_stats")
    assert day["total_requests"] == 36
    assert len(records(supabase_api.database, proxy="home")) == 15
    home.work(300)
    (snapshot,) = supabase_api.database.rows("select total_requests from usage_snapshots order by slot desc limit 1")
    assert snapshot["total_requests"] == 36


def test_a_name_that_another_exporter_has_is_reported_and_other_proxies_continue(
    start: Start, supabase_api: SupabaseApi
) -> None:
    first, second = start("first"), start("second")
    first.book(4)
    assert first.work() == "ok"

    second.ledger.register("mine")
    second.book(2)
    second.book(3, proxy="mine")
    assert second.work() == "name_taken"

    assert "default" in second.history.status.sentence
    assert len(records(supabase_api.database)) == 4
    assert len(records(supabase_api.database, proxy="mine")) == 3
    first.book(1)
    assert first.work(10) == "ok"
    assert len(records(supabase_api.database)) == 5


def test_a_name_that_was_given_back_is_claimed(start: Start, supabase_api: SupabaseApi) -> None:
    first, second = start("first"), start("second")
    first.book(4)
    first.work()
    second.book(2, model="another")
    second.work()

    supabase_api.database.run("update exporter_proxies set given_back = true")

    assert second.work(60) == "ok"
    assert len(records(supabase_api.database)) == 6


def test_an_emptied_project_receives_everything_again(start: Start, supabase_api: SupabaseApi) -> None:
    bench = start()
    bench.book(20)
    bench.work()
    supabase_api.clear()

    bench.book(1)
    bench.work(10)
    assert bench.work(60) == "ok"

    assert assert_equal(bench.data_dir, supabase_api.database) == 21
