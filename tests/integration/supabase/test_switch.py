"""From the predecessor to this exporter: its rows stay, the day of the switch has both, and counters continue."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.stack.supabase import eras
from tests.stack.supabase.eras import RAW_KEY
from tests.stack.supabase.postgres import CHECKOUT, Database, Postgres
from tests.stack.supabase.records import OWNER, Row, at, record

_SWITCH = "2026-11-01"
_LAST_POLL = f"{_SWITCH} 10:15"


@pytest.fixture(params=["B, the readme", "A with columns made by hand as double and json"])
def database(postgres: Postgres, request: pytest.FixtureRequest) -> Iterator[Database]:
    """The predecessor wrote on two days, on the second one until ``_LAST_POLL``; then this exporter took over."""
    with postgres.database("old_project") as copy:
        eras.make(copy, request.param, filled=True)
        copy.migrate()
        assert copy.call("exporter_claim", proxy="home", owner=OWNER)["claimed"]
        yield copy


def _book(database: Database, *times: str, **changes: Any) -> None:
    rows = [record(n, ts_ms=at(time), day=time[:10], **changes) for n, time in enumerate(times)]
    assert database.call("exporter_book", proxy="home", owner=OWNER, rows=rows)["inserted"] == len(rows)


def _days(database: Database) -> dict[str, Row]:
    return {row["stat_date"]: row for row in database.rows("select * from daily_stats order by 1")}


def _snapshot(database: Database, time: str) -> bool:
    written: bool = database.call("exporter_snapshot", proxy="home", owner=OWNER, at=f"{time}Z")
    return written


# --- days -------------------------------------------------------------------------------------------------------------


def test_days_before_the_switch_are_never_rewritten(database: Database) -> None:
    database.run("insert into daily_stats (stat_date, breakdown) values ('2026-10-30', null)")
    before = _days(database)

    _book(database, "2026-10-30 09:00", "2026-10-31 09:00", "2026-10-31 23:59")

    assert _days(database) == before


def test_usage_between_the_last_old_poll_and_midnight_counts_even_if_the_exporter_came_later(
    database: Database,
) -> None:
    database.run("update exporter_project set switched_at = '2026-11-02 09:00Z'")

    _book(database, f"{_SWITCH} 10:14", f"{_SWITCH} 12:00", f"{_SWITCH} 23:59", "2026-11-02 00:00")

    days = {day: row["total_requests"] for day, row in _days(database).items()}
    assert days == {"2026-10-31": 10, _SWITCH: 20 + 2, "2026-11-02": 1}


def test_the_day_of_the_switch_is_its_old_row_plus_usage_since_the_last_old_poll(database: Database) -> None:
    old = _days(database)[_SWITCH]

    _book(database, f"{_SWITCH} 09:00")  # read again from a snapshot: the predecessor has already counted it
    assert {**_days(database)[_SWITCH], "updated_at": ""} == {**old, "updated_at": ""}

    for time in ("10:16", "23:59"):
        _book(database, f"{_SWITCH} {time}", model="o3")

    row = _days(database)[_SWITCH]
    counts = row["total_requests"], row["success_count"], row["failure_count"], row["total_tokens"]
    assert counts == (20 + 2, 18 + 2, 2, 2000 + 2 * 150)
    assert round(row["estimated_cost_usd"] - old["estimated_cost_usd"], 9) == 0.003
    models = row["breakdown"]["models"]
    assert models["gpt-4o"] == old["breakdown"]["models"]["gpt-4o"]
    assert models["o3"] == {"requests": 2, "tokens": 300, "cost": 0.003, "input_tokens": 200, "output_tokens": 100}
    endpoints = {name: each["requests"] for name, each in row["breakdown"]["endpoints"].items()}
    assert endpoints == {RAW_KEY: 20, "client-0a1b2c3d4e": 2}


def test_a_model_that_was_used_before_and_after_the_switch_is_added_up(database: Database) -> None:
    for second in (20, 21):
        _book(database, f"{_SWITCH} 10:{second}")

    model = _days(database)[_SWITCH]["breakdown"]["models"]["gpt-4o"]

    assert model == {"requests": 22, "tokens": 2300, "cost": 2.503, "input_tokens": 200, "output_tokens": 100}


def test_changes_by_the_user_or_the_predecessor_on_that_day_stay(database: Database) -> None:
    _book(database, f"{_SWITCH} 11:00")
    # The user removes keys from the row; the predecessor, still running somewhere, adds 5 requests.
    database.run(
        "update daily_stats set total_requests = total_requests + 5,"
        f" breakdown = breakdown #- '{{endpoints,{RAW_KEY}}}' where stat_date = '{_SWITCH}'"
    )

    _book(database, f"{_SWITCH} 11:01")

    row = _days(database)[_SWITCH]
    assert row["total_requests"] == 20 + 5 + 2
    assert row["breakdown"]["endpoints"].keys() == {"client-0a1b2c3d4e"}


def test_an_alias_on_the_day_of_the_switch_leaves_nothing_of_the_old_name(database: Database) -> None:
    _book(database, f"{_SWITCH} 11:00")
    label = {"kind": "client", "label": "client-0a1b2c3d4e", "shown": "alice"}

    rows = [record(5, ts_ms=at(f"{_SWITCH} 11:05"), day=_SWITCH)]
    database.call("exporter_book", proxy="home", owner=OWNER, rows=rows, labels=[label])

    endpoints = _days(database)[_SWITCH]["breakdown"]["endpoints"]
    assert {name: each["requests"] for name, each in endpoints.items()} == {RAW_KEY: 20, "alice": 2}


def test_days_after_the_switch_are_the_exporters_own(database: Database) -> None:
    _book(database, "2026-11-02 00:00", "2026-11-02 05:00")

    assert _days(database)["2026-11-02"]["total_requests"] == 2


def test_a_day_without_a_row_of_the_predecessor_is_filled(database: Database) -> None:
    _book(database, "2026-10-30 12:00")

    assert _days(database)["2026-10-30"]["total_requests"] == 1


def test_no_key_of_the_predecessor_is_copied_into_the_exporters_tables(database: Database) -> None:
    _book(database, f"{_SWITCH} 11:00", "2026-10-31 12:00")
    _snapshot(database, f"{_SWITCH} 11:05")
    tables = database.rows("select tablename as name from pg_tables where schemaname = 'public'")
    old = {"usage_snapshots", "model_usage", "daily_stats"}

    holding = {
        row["name"]
        for row in tables
        if database.value(f"exists (select from {row['name']} r where r::text like '%{RAW_KEY}%')")
    }

    assert holding == old
    assert database.rows("select 1 from usage_snapshots where slot is not null and raw_data::text like '%sk-%'") == []


# --- the page for users -----------------------------------------------------------------------------------------------


def _statements(heading: str) -> str:
    page = (CHECKOUT / "docs" / "supabase-deleting.md").read_text(encoding="utf-8")
    return page.partition(f"# {heading}\n")[2].partition("```sql\n")[2].partition("```")[0]


def test_the_statements_on_the_page_remove_keys_from_old_rows_and_keep_the_figures(database: Database) -> None:
    _book(database, f"{_SWITCH} 11:00")
    _snapshot(database, f"{_SWITCH} 11:05")
    figures = "select stat_date, total_requests, estimated_cost_usd, breakdown -> 'models' as models from daily_stats"
    before = database.rows(figures)

    database.run(_statements("Old rows with keys"))

    tables = database.rows("select tablename as name from pg_tables where schemaname = 'public'")
    for name in (row["name"] for row in tables):
        assert not database.value(f"exists (select from {name} r where r::text like '%{RAW_KEY}%')"), name
    assert database.rows(figures) == before
    _book(database, f"{_SWITCH} 11:10")
    assert _days(database)[_SWITCH]["breakdown"]["endpoints"]["client-0a1b2c3d4e"]["requests"] == 2
    assert _days(database)[_SWITCH]["total_requests"] == 20 + 2


def test_the_statements_on_the_page_remove_the_exporters_data(database: Database) -> None:
    _book(database, f"{_SWITCH} 11:00")

    database.run(_statements("Everything that the exporter has made"))

    left = database.rows(
        "select tablename as name from pg_tables where schemaname = 'public' union all"
        " select proname from pg_proc where pronamespace = 'public'::regnamespace"
    )
    six = ("usage_snapshots", "model_usage", "daily_stats", "model_pricing", "rate_limit_configs", "rate_limit_status")
    assert {row["name"] for row in left} == {*six}
    database.migrate()


def _empty(database: Database) -> None:
    database.run("truncate exporter_project, exporter_days, exporter_proxies cascade")


def _remove(database: Database) -> None:
    database.run(_statements("Everything that the exporter has made"))
    database.migrate()


@pytest.mark.parametrize("begin_anew", [_empty, _remove])
def test_records_sent_again_after_the_loss_of_the_exporters_tables_count_once(
    database: Database, begin_anew: Callable[[Database], None]
) -> None:
    times = (f"{_SWITCH} 11:00", "2026-11-02 09:00", "2026-11-03 09:00")
    _book(database, *times)
    before = {day: {**row, "updated_at": ""} for day, row in _days(database).items()}

    begin_anew(database)
    assert database.call("exporter_claim", proxy="home", owner=OWNER)["claimed"]
    _book(database, *times)

    assert {day: {**row, "updated_at": ""} for day, row in _days(database).items()} == before


# --- snapshots --------------------------------------------------------------------------------------------------------


def _newest(database: Database) -> Row:
    (row,) = database.rows("select * from usage_snapshots order by collected_at desc limit 1")
    return row


def test_counters_continue_from_the_last_old_row_and_cost_counts_booked_usage(database: Database) -> None:
    _book(database, f"{_SWITCH} 10:20", f"{_SWITCH} 10:21", code="500")

    assert _snapshot(database, f"{_SWITCH} 10:22")

    row = _newest(database)
    counts = row["total_requests"], row["success_count"], row["failure_count"], row["total_tokens"]
    assert counts == (103 + 2, 93, 10 + 2, 15_000 + 300)
    assert row["cumulative_cost_usd"] == 0.003
    assert row["raw_data"] == {
        "usage": {"total_requests": 105, "success_count": 93, "failure_count": 12, "total_tokens": 15_300}
    }


def test_usage_that_the_predecessor_counted_is_not_added_to_the_counters_again(database: Database) -> None:
    _book(database, "2026-10-30 12:00", f"{_SWITCH} 10:14")  # a proxy's /usage shows everything since its start
    _book(database, f"{_SWITCH} 10:16")

    _snapshot(database, f"{_SWITCH} 10:22")

    row = _newest(database)
    assert (row["total_requests"], row["total_tokens"], row["cumulative_cost_usd"]) == (103 + 1, 15_150, 0.0015)
    newest = "(select max(id) from usage_snapshots)"
    assert database.value(f"(select sum(request_count) from model_usage where snapshot_id = {newest})") == 1
    assert database.value("(select sum(requests) from usage_rollups)") == 3


def test_a_models_counters_continue_under_the_clients_name(database: Database) -> None:
    old = {"client": "client-0a1b2c3d4e", "model": "gpt-4o", "tokens": 700, "input_tokens": 0, "output_tokens": 0}
    rows = [old | {"requests": 7, "cost_usd": 12.34}]
    assert database.call("exporter_take_over", proxy="home", owner=OWNER, rows=rows) is True
    assert database.call("exporter_take_over", proxy="home", owner=OWNER, rows=rows) is False, "once"
    _book(database, f"{_SWITCH} 10:20")

    _snapshot(database, f"{_SWITCH} 10:22")

    query = "select * from model_usage where snapshot_id = (select max(id) from usage_snapshots)"
    (row,) = database.rows(query)
    assert (row["api_endpoint"], row["model_name"]) == ("client-0a1b2c3d4e", "gpt-4o")
    assert (row["request_count"], row["total_tokens"], row["estimated_cost_usd"]) == (8, 850, 12.3415)


def test_there_is_one_row_for_five_minutes_whoever_writes_it(database: Database) -> None:
    assert database.call("exporter_claim", proxy="office", owner="another")["claimed"]
    _snapshot(database, f"{_SWITCH} 11:00")
    rows = [record(1, ts_ms=at(f"{_SWITCH} 11:01"), day=_SWITCH)]
    database.call("exporter_book", proxy="office", owner="another", rows=rows)

    database.call("exporter_snapshot", proxy="office", owner="another", at=f"{_SWITCH} 11:02Z")

    written = database.rows("select total_requests from usage_snapshots where slot is not null")
    assert written == [{"total_requests": 104}]
    newest = "(select id from usage_snapshots where slot is not null)"
    assert database.value(f"(select count(*) from model_usage where snapshot_id = {newest})") == 1


def test_counters_never_fall_whatever_arrives_late(database: Database) -> None:
    assert _snapshot(database, f"{_SWITCH} 11:00")
    _book(database, f"{_SWITCH} 10:50")

    assert not _snapshot(database, f"{_SWITCH} 10:50"), "before a row that is there"
    assert not _snapshot(database, f"{_SWITCH} 10:10"), "before the last old row"
    assert _snapshot(database, f"{_SWITCH} 11:05")

    counters = [row["total_requests"] for row in database.rows("select * from usage_snapshots order by collected_at")]
    assert counters == sorted(counters)


def test_only_the_exporters_own_old_snapshots_are_deleted(database: Database) -> None:
    for time in ("11:00", "11:05", "11:10"):
        _snapshot(database, f"{_SWITCH} {time}")

    steps = [database.call("exporter_prune_snapshots", before=f"{_SWITCH} 11:10Z", limit=1) for _ in "123"]

    assert steps == [1, 1, 0]
    assert database.value("(select count(*) from usage_snapshots)") == 4 + 1
