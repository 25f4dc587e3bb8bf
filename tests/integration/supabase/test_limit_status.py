"""``rate_limit_status``: figures by the predecessor's rules, for one exporter and for several."""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from exporter.limits.supabase_limits import moment_text
from exporter.records import Tokens
from tests.benches.limits import Use
from tests.fakes.guarding import TurnableClock
from tests.stack.supabase.api import SupabaseApi
from tests.stack.supabase.limit_project import PASS_SECONDS, LimitProject

_HOURS = 7
_ZONE = timezone(timedelta(hours=_HOURS))
_NOW = datetime(2026, 11, 25, 12, 0, tzinfo=_ZONE)  # a Wednesday
_NOW_MS = int(_NOW.timestamp()) * 1000
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_MIDNIGHT_MS = _NOW_MS - 12 * _HOUR_MS
_MONDAY_MS = _MIDNIGHT_MS - 2 * _DAY_MS


@pytest.fixture
def clock() -> TurnableClock:
    # When the tests evaluate, it is _NOW.
    return TurnableClock(_NOW_MS / 1000 - 2 * PASS_SECONDS)


@pytest.fixture
def project(tmp_path: Path, supabase_api: SupabaseApi, clock: TurnableClock) -> Iterator[LimitProject]:
    made = LimitProject(tmp_path, supabase_api, clock=clock, timezone_offset_hours=str(_HOURS))
    yield made
    made.close()


def _use(ts_ms: int, tokens: int = 1000, **more: Any) -> Use:
    return Use(ts_ms, tokens=Tokens(uncached=tokens - 10, output=10), **more)


def _ms(text: str | None) -> int | None:
    return None if text is None else round(datetime.fromisoformat(text).timestamp() * 1000)


_USES = (
    _use(_MONDAY_MS - 1),
    _use(_MONDAY_MS, 20),
    _use(_MIDNIGHT_MS - 1, 300),
    _use(_MIDNIGHT_MS, 4000),
    _use(_NOW_MS - 5 * _HOUR_MS - 1, 50_000),
    _use(_NOW_MS - 5 * _HOUR_MS, 600_000),
    _use(_NOW_MS - 120_000, 7_000_000, code="500"),
    _use(_NOW_MS - 120_000, model="gpt-5"),
)
_DAY, _WEEK = 7_654_000, 7_654_320


def _row(
    used: tuple[int, int], left: tuple[int, int], percentage: int, label: str, **window: int | None
) -> dict[str, Any]:
    """What a row must say: amounts are tokens and requests; ``window`` is its start and its reset in ms."""
    return {
        "used_tokens": used[0],
        "used_requests": used[1],
        "remaining_tokens": left[0],
        "remaining_requests": left[1],
        "percentage": percentage,
        "status_label": label,
        "window_start": window["start"],
        "next_reset": window["reset"],
        "last_updated": _NOW_MS,
    }


_TODAY = {"start": _MIDNIGHT_MS, "reset": _MIDNIGHT_MS + _DAY_MS}
_ROLLING = {"reset_strategy": "rolling", "window_minutes": 300}


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        pytest.param(
            {"token_limit": 10_000_000},
            _row((_DAY, 4), (10_000_000 - _DAY, 0), 23, "7,654,000/10,000,000 Tokens", **_TODAY),
            id="daily, tokens",
        ),
        pytest.param(
            {"request_limit": 80, "reset_strategy": "weekly", "window_minutes": 10_080},
            _row((_WEEK, 6), (0, 74), 92, "6/80 Requests", start=_MONDAY_MS, reset=_MONDAY_MS + 7 * _DAY_MS),
            id="weekly, requests",
        ),
        pytest.param(
            {"token_limit": 8_000_000, "request_limit": 1, **_ROLLING},
            _row(
                (7_600_000, 2),
                (400_000, 0),
                5,
                "7,600,000/8,000,000 Tokens",
                start=_NOW_MS - 5 * _HOUR_MS,
                reset=None,
            ),
            id="rolling; tokens decide alone",
        ),
        pytest.param(
            {"token_limit": 7_000_000},
            _row((_DAY, 4), (0, 0), 0, "7,654,000/7,000,000 Tokens", **_TODAY),
            id="used up",
        ),
        pytest.param(
            {"token_limit": 0, "request_limit": None},
            _row((_DAY, 4), (0, 0), 100, "Used: 7,654,000T / 4R", **_TODAY),
            id="no budget",
        ),
        pytest.param(
            {"token_limit": 8_000_000, "reset_anchor_timestamp": moment_text(_NOW_MS - _HOUR_MS)},
            _row(
                (7_000_000, 1),
                (1_000_000, 0),
                12,
                "7,000,000/8,000,000 Tokens",
                start=_NOW_MS - _HOUR_MS,
                reset=_MIDNIGHT_MS + _DAY_MS,
            ),
            id="an anchor in the window",
        ),
        pytest.param(
            {"token_limit": 10_000_000, "reset_anchor_timestamp": moment_text(_MIDNIGHT_MS - 1)},
            _row((_DAY, 4), (10_000_000 - _DAY, 0), 23, "7,654,000/10,000,000 Tokens", **_TODAY),
            id="an anchor before the window",
        ),
        pytest.param(
            {"request_limit": 3, **_ROLLING, "reset_anchor_timestamp": moment_text(_NOW_MS - _HOUR_MS)},
            _row((7_000_000, 1), (0, 2), 66, "1/3 Requests", start=_NOW_MS - _HOUR_MS, reset=None),
            id="an anchor in a rolling window",
        ),
        pytest.param(
            {"token_limit": 100, "model_pattern": "nothing", "reset_strategy": "session", "window_minutes": 300},
            _row((0, 0), (100, 0), 100, "0/100 Tokens", start=_NOW_MS, reset=None),
            id="a session that nobody opened",
        ),
    ],
)
def test_the_figures_follow_the_predecessors_rules(
    project: LimitProject, columns: dict[str, Any], wanted: dict[str, Any]
) -> None:
    project.book(*_USES)
    id_ = project.insert(**{"model_pattern": "CLAUDE", **columns})
    project.work()
    project.clock.advance(PASS_SECONDS)
    project.board.refresh()

    project.history.work()

    row = project.statuses[id_]
    times = {column: _ms(row[column]) for column in ("window_start", "next_reset", "last_updated")}
    assert {**row, **times} == {"id": row["id"], "config_id": id_, **wanted}


def test_a_status_is_written_when_it_changes_or_grows_old(project: LimitProject) -> None:
    day = project.insert(model_pattern="claude", token_limit=1000)
    rolling = project.insert(model_pattern="claude", token_limit=1000, reset_strategy="rolling", window_minutes=300)
    other = project.insert(model_pattern="gpt", token_limit=1000)
    project.book(_use(_NOW_MS - _HOUR_MS, 100))
    project.work(2)
    first = project.statuses
    assert set(first) == {day, rolling, other}

    project.work(3)
    assert project.statuses == first, "nothing was used"

    project.book(_use(project.now_ms, 50))
    project.work(2)
    second = project.statuses
    assert second[other] == first[other]
    assert [second[id_]["used_tokens"] for id_ in (day, rolling)] == [150, 150]

    project.work(300 // PASS_SECONDS)
    third = project.statuses
    assert third[other]["last_updated"] > first[other]["last_updated"]
    assert {**third[other], "last_updated": ""} == {**first[other], "last_updated": ""}


def test_the_status_of_a_deleted_limit_goes_and_delays_no_other(project: LimitProject) -> None:
    gone, stays = (
        project.insert(model_pattern="claude", token_limit=1000),
        project.insert(model_pattern="claude", request_limit=10),
    )
    project.book(_use(_NOW_MS - _HOUR_MS, 100))
    project.work(2)
    assert set(project.statuses) == {gone, stays}

    project.book(_use(project.now_ms, 50))
    project.board.refresh()
    project.api.database.run(f"delete from rate_limit_configs where id = {gone};")
    project.clock.advance(PASS_SECONDS)
    project.history.work()  # the exporter evaluated the limits while it was still there

    assert {id_: row["used_tokens"] for id_, row in project.statuses.items()} == {stays: 150}
    assert project.history.status.state == "ok"
    assert set(project.history.status.errors.values()) == {0}


def test_two_exporters_of_a_project_write_the_sum_of_both(
    tmp_path: Path, supabase_api: SupabaseApi, clock: TurnableClock
) -> None:
    home, office = (
        LimitProject(tmp_path / name, supabase_api, clock=clock, proxy=name, timezone_offset_hours=str(_HOURS))
        for name in ("home", "office")
    )
    day = home.insert(model_pattern="claude", token_limit=100_000)
    rolling = home.insert(
        model_pattern="cla_de%opus", token_limit=100_000, reset_strategy="rolling", window_minutes=301
    )
    week = home.insert(model_pattern="gpt", request_limit=100, reset_strategy="weekly")
    home.book(_use(_NOW_MS - _HOUR_MS, 1000, proxy="home"))
    office.book(
        _use(_NOW_MS - _HOUR_MS, 20_000, proxy="office"),
        _use(_NOW_MS - 5 * _HOUR_MS - 30_000, 300, proxy="office"),
        _use(_NOW_MS - 5 * _HOUR_MS - 100_000, 4000, proxy="office"),
        _use(_MIDNIGHT_MS - 1, 5000, proxy="office", model="gpt-5"),
    )
    office.work()
    for exporter in (home, office):  # the last one writes the sum
        clock.advance(-PASS_SECONDS)
        exporter.work(2)
        clock.advance(-PASS_SECONDS)
        assert {id_: (row["used_tokens"], row["used_requests"]) for id_, row in home.statuses.items()} == {
            day: (25_300, 4),
            rolling: (21_300, 3),
            week: (5000, 1),
        }
        assert home.statuses[week]["status_label"] == "1/100 Requests"
    assert home.window(str(day)).used == 1000, "in metrics each exporter tells of its own proxies"
    for exporter in (home, office):
        exporter.close()


def test_usage_of_a_proxy_that_left_the_settings_counts_once(
    tmp_path: Path, supabase_api: SupabaseApi, clock: TurnableClock
) -> None:
    first = LimitProject(tmp_path / "first", supabase_api, clock=clock, proxy="home")
    first.ledger.register("office")
    id_ = first.insert(model_pattern="claude", token_limit=100_000, reset_strategy="monthly")
    first.book(_use(_NOW_MS - _HOUR_MS, 1000, proxy="home"), _use(_NOW_MS - _HOUR_MS, 2000, proxy="office"))
    first.restart()  # without office
    first.work(2)
    assert first.statuses[id_]["used_tokens"] == 3000

    second = LimitProject(tmp_path / "second", supabase_api, clock=clock, proxy="office")
    supabase_api.database.run("update exporter_proxies set claimed_at = '2026-01-01' where name = 'home'")
    second.work(2)
    moved_ms = _NOW_MS - 60_000
    supabase_api.database.run(
        f"update exporter_proxies set claimed_at = to_timestamp({moved_ms} / 1000) where name = 'office'"
    )
    second.book(_use(moved_ms + 1, 40_000, proxy="office"))
    for exporter in (second, first):  # the last one writes
        exporter.work(2)
        assert exporter.statuses[id_]["used_tokens"] == 43_000
    for exporter in (first, second):
        exporter.close()


def test_usage_of_others_is_found_by_the_index_of_the_roll_up(supabase_api: SupabaseApi) -> None:
    database = supabase_api.database
    database.run("""
        insert into exporter_proxies (name, owner) values ('other', 'another exporter');
        insert into rate_limit_configs (id, provider, tier_name, model_pattern) values (1, 'p', 't', 'gpt');
        insert into usage_rollups
        select 'other', timestamptz '2026-11-01 00:00Z' + n * interval '15 minutes', 'openai', 'gpt-5', 'a', 'c',
               'exact', 'metered', 1, 0, 0, 10, 0, 0, 0, 0, 0, 0
        from generate_series(0, 19999) n;
    """)
    database.run("analyze usage_rollups")
    scans = "select seq_scan from pg_stat_xact_user_tables where relname = 'usage_rollups'"
    told = database.run(f"""
        {scans};
        select requests, tokens from exporter_limit_use('me', '{{}}',
            '[{{"config_id": 1, "since_ms": 1811401200000}}]');  -- the beginning of the last hundred
        {scans};
    """)
    before, use, after = told.split()
    assert use == "100|1000"
    assert after == before, "all rows were read"


def test_an_exporter_that_may_not_write_leaves_the_status_alone(
    tmp_path: Path, supabase_api: SupabaseApi, clock: TurnableClock
) -> None:
    first, second = (LimitProject(tmp_path / name, supabase_api, clock=clock) for name in ("first", "second"))
    id_ = first.insert(model_pattern="claude", token_limit=1000)
    first.book(_use(_NOW_MS - _HOUR_MS, 100))
    first.work(2)
    second.book(_use(_NOW_MS - _HOUR_MS, 700))
    second.work(2)

    assert second.history.status.state == "name_taken"
    assert second.window(str(id_)).used == 700, "its own limits are in force all the same"
    assert first.statuses[id_]["used_tokens"] == 100
    for exporter in (first, second):
        exporter.close()
