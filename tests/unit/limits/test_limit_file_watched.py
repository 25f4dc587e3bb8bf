"""The limits file while the exporter runs: edits, mistakes, and how they show."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.errors import SettingsError
from exporter.limits.model import Thresholds
from tests.benches.limits import LimitBench, Use

_DAY = "limits:\n- {id: day, tokens: 1000, strategy: daily}\n"
_MORE = """\
defaults: {warning: 0.5}
limits:
- {id: day, tokens: 500, strategy: daily}
- {id: new, usd: 1, strategy: weekly}
"""
_BAD = "limits:\n- id: day\n  tokens: -5\n  strategy: dayly\n"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[LimitBench]:
    bench = LimitBench(tmp_path, _DAY)
    bench.tick()
    yield bench
    bench.ledger.close()


def _budgets(bench: LimitBench) -> dict[str, float | None]:
    return {window.limit: window.budget for window in bench.board.current.windows}


def test_an_edit_is_in_force_at_the_second_tick(bench: LimitBench) -> None:
    with capture_logs() as logs:
        bench.edit(_MORE)
    assert _budgets(bench) == {"day": 500, "new": 1}
    assert bench.board.current.windows[0].thresholds == Thresholds(warning=0.5, critical=0.95)
    (line,) = [line for line in logs if line["event"] == "limits_reloaded"]
    assert (line["file"], line["limits"]) == ("limits.yaml", 2)


def test_half_of_a_file_that_is_being_written_is_not_used(bench: LimitBench) -> None:
    bench.file.write_text(_MORE)
    bench.board.refresh()
    assert _budgets(bench) == {"day": 1000}
    bench.board.refresh()
    assert _budgets(bench) == {"day": 500, "new": 1}


def test_a_bad_edit_keeps_the_last_good_limits_and_is_logged_once(bench: LimitBench) -> None:
    with capture_logs() as logs:
        bench.edit(_BAD)
        bench.tick()
    assert _budgets(bench) == {"day": 1000}
    (problem,) = bench.board.problems
    assert "The last edit of the limits file is not in use; the limits from before it are." in problem
    assert "EXPORTER_LIMITS_FILE (limits.yaml:3): '-5' is not a budget in tokens." in problem
    assert problem.endswith("There is 1 more problem.")
    assert [line["message"] for line in logs if line["event"] == "limits_not_reloaded"] == [problem]


def test_a_good_edit_ends_the_problem(bench: LimitBench) -> None:
    bench.edit(_BAD)
    bench.edit(_MORE)
    assert bench.board.problems == []
    assert _budgets(bench) == {"day": 500, "new": 1}


def test_the_old_text_ends_the_problem_too(bench: LimitBench) -> None:
    bench.edit(_BAD)
    bench.edit(_DAY)
    assert bench.board.problems == []
    assert _budgets(bench) == {"day": 1000}


def test_a_missing_file_keeps_the_limits_and_is_used_again_when_it_is_back(bench: LimitBench) -> None:
    bench.file.unlink()
    bench.tick()
    assert _budgets(bench) == {"day": 1000}
    assert "The file does not exist." in bench.board.problems[0]
    bench.edit(_MORE)
    assert (bench.board.problems, _budgets(bench)) == ([], {"day": 500, "new": 1})


def test_a_folder_in_place_of_the_file_is_reported_until_it_is_gone(bench: LimitBench) -> None:
    bench.file.unlink()
    bench.file.mkdir()
    bench.tick()
    assert "The file cannot be read: Is a directory." in bench.board.problems[0]
    bench.file.rmdir()
    bench.edit(_DAY)
    assert (bench.board.problems, _budgets(bench)) == ([], {"day": 1000})


def test_a_removed_limit_is_gone_and_one_that_returns_has_its_use(bench: LimitBench) -> None:
    bench.book(Use(bench.now_ms - 1000))
    bench.edit("limits: []\n")
    assert _budgets(bench) == {}
    bench.edit(_DAY)
    assert bench.window("day").used == 110


def test_at_the_start_a_mistake_is_an_error_with_all_problems(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        LimitBench(tmp_path, _BAD)
    assert "'-5' is not a budget" in str(raised.value)
    assert "'dayly' is not accepted. Use 'daily', " in str(raised.value)


# --- limits that match nothing ----------------------------------------------------------------------------------------


def test_a_limit_that_matches_nothing_is_reported_once_and_not_before_anything_was_used(bench: LimitBench) -> None:
    bench.edit("limits:\n- {id: odd, tokens: 5, strategy: daily, models: [gtp-5]}\n")
    assert not bench.board.current.unmatched
    with capture_logs() as logs:
        bench.book(Use(bench.now_ms))
        bench.tick()
        bench.tick()
    assert list(bench.board.current.unmatched) == ["odd"]
    assert [line["limit"] for line in logs if line["event"] == "limit_matches_nothing"] == ["odd"]
    assert bench.window("odd").used == 0, "it is shown all the same"


def test_a_limit_per_model_that_matches_nothing_is_reported_too(bench: LimitBench) -> None:
    bench.book(Use(bench.now_ms))
    bench.edit("limits:\n- {id: odd, tokens: 5, strategy: daily, models: [gtp-5], per: model}\n")
    assert list(bench.board.current.unmatched) == ["odd"]
    bench.book(Use(bench.now_ms, model="gtp-5"))
    bench.board.refresh()
    assert not bench.board.current.unmatched
