"""Limits that users keep in Supabase, through a real API: in force, reset, and while the network is away."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from exporter.limits.supabase_limits import moment_text
from tests.benches.limits import Use
from tests.fakes.guarding import TurnableClock
from tests.stack.supabase import eras
from tests.stack.supabase.api import SupabaseApi
from tests.stack.supabase.limit_project import PASS_SECONDS, LimitProject
from tests.stack.supabase.postgres import Postgres

_NOON_MS = int(datetime(2026, 11, 25, 12, 0, tzinfo=UTC).timestamp()) * 1000  # a Wednesday
_MINUTE_MS, _HOUR_MS = 60_000, 3_600_000


@pytest.fixture
def clock() -> TurnableClock:
    return TurnableClock(_NOON_MS / 1000)


@pytest.fixture
def project(tmp_path: Path, supabase_api: SupabaseApi, clock: TurnableClock) -> Iterator[LimitProject]:
    made = LimitProject(tmp_path, supabase_api, clock=clock)
    yield made
    made.close()


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() * 1000


# --- in force ---------------------------------------------------------------------------------------------------------


def test_a_row_is_in_force_after_the_next_reading_and_follows_every_edit(project: LimitProject) -> None:
    project.book(Use(_NOON_MS - 1000, model="gpt-5", provider="codex"), Use(_NOON_MS - 1000))
    id_ = project.insert(model_pattern="GPT", token_limit=1100, request_limit=10, reset_strategy="daily")

    project.work()

    windows = {window.unit: window for window in project.windows(str(id_))}
    assert {unit: (window.used, window.budget) for unit, window in windows.items()} == {
        "tokens": (110, 1100),
        "requests": (1, 10),
    }
    assert (windows["tokens"].name, windows["tokens"].provider) == ("OpenAI Plus: GPT", "openai")

    project.change(id_, token_limit=220, request_limit=None, model_pattern="claude%4", reset_strategy="weekly")
    project.work()
    window = project.window(str(id_))
    assert (window.used, window.budget, window.window) == (110, 220, "week")

    project.api.database.run(f"delete from rate_limit_configs where id = {id_};")
    project.work()
    assert project.windows() == []


def test_a_row_without_a_budget_has_no_share_and_can_be_reset(project: LimitProject) -> None:
    id_ = project.insert(model_pattern="claude", token_limit=0)
    project.work()

    assert project.windows() == []
    assert project.board.reset(str(id_)) is not None
    assert project.board.problems == []


def test_rows_with_mistakes_are_reported_and_cost_no_other(project: LimitProject) -> None:
    good = project.insert(model_pattern="claude", token_limit=1000)
    bad = [
        project.insert(model_pattern="claude", token_limit=1000, reset_strategy="fixed"),
        project.insert(model_pattern="", token_limit=1000),
        project.insert(model_pattern="claude", token_limit=1000, reset_strategy="rolling", window_minutes=0),
        project.insert(model_pattern="claude", token_limit=-1),
        project.insert(model_pattern="claude", request_limit=-1),
        project.insert(model_pattern="claude", token_limit=1000, reset_anchor_timestamp="infinity"),
    ]
    project.work()

    assert [window.limit for window in project.windows()] == [str(good)]
    told = project.board.problems
    assert [sentence.split(" is not in force")[0] for sentence in told[:5]] == [
        f"Row {id_} of rate_limit_configs" for id_ in bad[:5]
    ]
    assert told[5:] == ["1 more row is not in force. The log names all of them."]
    assert all(project.board.find(str(id_)) is None for id_ in bad)
    assert project.history.status.state == "ok"

    project.change(bad[0], reset_strategy="weekly")
    project.api.database.run(f"delete from rate_limit_configs where id > {bad[0]};")
    project.work()
    assert project.board.problems == []
    assert [window.limit for window in project.windows()] == [str(good), str(bad[0])]


def test_of_two_limits_with_one_id_that_of_the_file_is_in_force(
    tmp_path: Path, supabase_api: SupabaseApi, clock: TurnableClock
) -> None:
    file = "limits:\n- {id: '1', name: Mine, strategy: daily, tokens: 500}\ndefaults: {warning: 0.1, critical: 0.2}\n"
    project = LimitProject(tmp_path, supabase_api, file, clock=clock)
    for _ in range(2):
        project.insert(model_pattern="claude", token_limit=1000)
    project.book(Use(_NOON_MS - 1000))
    project.work()

    windows = {window.limit: window for window in project.windows()}
    assert {id_: (window.name, window.budget) for id_, window in windows.items()} == {
        "1": ("Mine", 500),
        "2": ("OpenAI Plus: claude", 1000),
    }
    assert windows["2"].thresholds.critical == 0.2, "the file's defaults hold for them, too"
    (problem,) = project.board.problems
    assert "both have a limit 1; the file's is in force" in problem

    assert project.board.reset("1") is not None
    project.work(3)
    assert project.config(1)["reset_anchor_timestamp"] is None, "the file's limit was reset, not the row's"
    assert set(project.statuses) == {2}
    project.close()


def test_the_limits_of_the_predecessors_first_schema_are_in_force(
    tmp_path: Path, postgres: Postgres, clock: TurnableClock
) -> None:
    with postgres.database("old_project") as database:
        eras.make(database, "A, the first file", filled=False)
        database.migrate()
        api = SupabaseApi(database)
        project = LimitProject(tmp_path, api, clock=clock)
        project.book(Use(_NOON_MS - 1000, model="claude-opus-4-6"), Use(_NOON_MS - 6 * _HOUR_MS, model="gpt-5"))
        project.work(2)

        assert {window.limit: (window.name, window.window, window.used) for window in project.windows()} == {
            "1": ("OpenAI Plus: gpt", "5h", 0),
            "2": ("OpenAI Plus: gpt-weekly", "week", 0),
            "3": ("Anthropic Pro: claude", "5h", 110),
            "4": ("Anthropic Pro: claude-weekly", "week", 0),
            "5": ("Google AI Pro: gemini", "5h", 0),
            "6": ("Google AI Pro: gemini-weekly", "week", 0),
        }
        assert project.board.current.unmatched == ("2", "4", "5", "6"), "the seeds whose pattern matches no model"
        assert {id_: row["percentage"] for id_, row in project.statuses.items()} == {
            **dict.fromkeys((1, 2, 4, 5, 6), 100),
            3: 99,
        }
        project.close()
        api.kill()


# --- while Supabase is away -------------------------------------------------------------------------------------------


def test_limits_and_resets_work_from_the_start_while_supabase_is_away(project: LimitProject) -> None:
    id_ = project.insert(model_pattern="claude", token_limit=1000)
    project.work()
    project.api.kill()
    project.restart()

    project.book(Use(_NOON_MS - 1000))
    assert project.window(str(id_)).used == 110, "before it was asked at all"
    project.work()
    assert project.history.status.state == "away"
    assert project.board.reset(str(id_)) is not None
    reset_ms = project.now_ms
    assert project.window(str(id_)).used == 0

    project.restart()
    project.api.start()
    project.work(2)
    assert _moment(project.config(id_)["reset_anchor_timestamp"]) == reset_ms
    assert project.window(str(id_)).start_ms == reset_ms


# --- manual resets ----------------------------------------------------------------------------------------------------


def _reset(project: LimitProject, id_: int) -> int:
    assert project.board.reset(str(id_)) is not None
    return project.now_ms


def test_a_reset_is_in_force_at_once_and_then_in_the_table(project: LimitProject) -> None:
    id_ = project.insert(model_pattern="claude", token_limit=1000)
    project.book(Use(_NOON_MS - 1000))
    project.work()
    before = project.config(id_)

    reset_ms = _reset(project, id_)
    assert (project.window(str(id_)).used, project.window(str(id_)).start_ms) == (0, reset_ms)
    project.work(2)

    after = project.config(id_)
    assert _moment(after["reset_anchor_timestamp"]) == reset_ms
    assert {**after, "reset_anchor_timestamp": None} == before, "nothing else of the row"
    assert project.window(str(id_)).start_ms == reset_ms
    assert project.ledger.limits.anchors() == {}, "from now on the row says it"


def test_a_newer_anchor_that_a_user_set_there_wins(project: LimitProject) -> None:
    id_ = project.insert(model_pattern="claude", token_limit=1000)
    project.work()
    reset_ms = _reset(project, id_)
    by_hand = moment_text(reset_ms + 20_000)
    project.change(id_, reset_anchor_timestamp=by_hand)

    project.work(2)

    assert _moment(project.config(id_)["reset_anchor_timestamp"]) == reset_ms + 20_000
    assert project.window(str(id_)).start_ms == reset_ms + 20_000


def test_an_anchor_that_is_set_there_at_the_same_moment_is_not_lost(
    project: LimitProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = project.insert(
        model_pattern="claude", token_limit=1000, reset_anchor_timestamp=moment_text(_NOON_MS - _HOUR_MS)
    )
    project.work()
    reset_ms = _reset(project, id_)
    take = project.ledger.limits.take_configs

    def edited_after_reading(*given: Any, **more: Any) -> None:
        project.change(id_, reset_anchor_timestamp=moment_text(reset_ms + 5000))
        take(*given, **more)

    monkeypatch.setattr(project.ledger.limits, "take_configs", edited_after_reading)
    project.work()
    monkeypatch.undo()
    project.work()

    assert _moment(project.config(id_)["reset_anchor_timestamp"]) == reset_ms + 5000
    assert project.window(str(id_)).start_ms == reset_ms + 5000


def test_an_older_anchor_gives_way_to_a_reset_and_a_future_one_waits(project: LimitProject) -> None:
    id_ = project.insert(
        model_pattern="claude", token_limit=1000, reset_anchor_timestamp=moment_text(_NOON_MS - _HOUR_MS)
    )
    project.work()
    assert project.window(str(id_)).start_ms == _NOON_MS - _HOUR_MS
    first_ms = _reset(project, id_)
    project.work(2)
    assert _moment(project.config(id_)["reset_anchor_timestamp"]) == first_ms

    later_ms = project.now_ms + 4 * PASS_SECONDS * 1000
    project.change(id_, reset_anchor_timestamp=moment_text(later_ms))
    reset_ms = _reset(project, id_)
    project.work(2)
    assert project.window(str(id_)).start_ms == reset_ms
    project.work(3)
    assert project.window(str(id_)).start_ms == later_ms
    assert _moment(project.config(id_)["reset_anchor_timestamp"]) == later_ms


def test_a_reset_that_is_undone_there_is_undone_here(project: LimitProject) -> None:
    id_ = project.insert(model_pattern="claude", token_limit=1000)
    project.book(Use(_NOON_MS - 1000))
    project.work()
    _reset(project, id_)
    project.work(2)

    project.change(id_, reset_anchor_timestamp=None)
    project.work(2)

    assert project.window(str(id_)).used == 110
    assert project.config(id_)["reset_anchor_timestamp"] is None


def test_a_reset_that_could_not_be_written_is_tried_again(project: LimitProject) -> None:
    id_ = project.insert(model_pattern="claude", token_limit=1000)
    project.work()
    owner = "project_owner"
    project.api.database.run("revoke update on rate_limit_configs from service_role;", user=owner)
    try:
        reset_ms = _reset(project, id_)
        project.work(2)
        assert project.history.status.state == "misconfigured"
        assert project.window(str(id_)).start_ms == reset_ms
    finally:
        project.api.database.run("grant update on rate_limit_configs to service_role;", user=owner)
    project.work(5)
    assert _moment(project.config(id_)["reset_anchor_timestamp"]) == reset_ms
    assert project.history.status.state == "ok"
