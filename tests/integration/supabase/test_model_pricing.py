"""``model_pricing``: the prices of the models in use, beside rows that users wrote."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import HistoryAwayError
from exporter.history.supabase_client import Remote
from tests.benches.limits import Use
from tests.fakes.guarding import TurnableClock
from tests.stack.supabase.api import SupabaseApi
from tests.stack.supabase.limit_project import LimitProject

_DAY_MS = 86_400_000
_PRICES = "prices:\n- {{model: house, input: {input}, output: 2.5}}\n- {{model: hall, input: 3, output: 4}}\n"


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    """The user's price file."""
    file = tmp_path / "prices.yaml"
    file.write_text(_PRICES.format(input="1.25"))
    return file


@pytest.fixture
def project(tmp_path: Path, supabase_api: SupabaseApi, prices: Path) -> Iterator[LimitProject]:
    made = LimitProject(tmp_path, supabase_api, clock=TurnableClock(), exporter_prices_file=prices)
    yield made
    made.close()


def _rows(project: LimitProject) -> dict[str, tuple[str, Decimal, Decimal]]:
    rows = project.api.database.rows(
        "select model_pattern, provider, input_price_per_million::text as i, output_price_per_million::text as o"
        " from model_pricing order by 1"
    )
    return {row["model_pattern"]: (row["provider"], Decimal(row["i"]), Decimal(row["o"])) for row in rows}


def _price(provider: str, input_: str, output: str) -> tuple[str, Decimal, Decimal]:
    return provider, Decimal(input_), Decimal(output)


_DEFAULT = {"_default": _price("default", "0.15", "0.6")}


def _edit(project: LimitProject, prices: Path, **figures: str) -> None:
    prices.write_text(_PRICES.format(**figures))
    assert project.prices.user is not None
    for _ in range(2):  # the exporter accepts an edit once the file stays the same
        project.prices.user.reload()


def test_each_model_in_use_has_a_row_with_its_present_price(project: LimitProject, prices: Path) -> None:
    now = project.now_ms
    project.book(
        Use(now - 1000, model="house", provider="openai"),
        Use(now - 1000, model="house", provider="codex"),
        Use(now - 2000, model="house", provider="codex"),
        Use(now - 1000, model="nobody-knows-this", provider="openai"),
        Use(now - 3 * _DAY_MS, model="hall", provider="openai"),
        Use(now - 1000, model="x" * 256, provider="openai"),
    )
    project.work(2)
    assert _rows(project) == {
        **_DEFAULT,
        "house": _price("codex", "1.25", "2.5"),
        "nobody-knows-this": _price("openai", "0.15", "0.6"),
    }
    assert project.history.status.state == "ok"

    _edit(project, prices, input="0.075")
    project.work(2)
    assert _rows(project)["house"] == _price("codex", "0.075", "2.5")


def test_a_row_that_a_user_wrote_stays(project: LimitProject, prices: Path) -> None:
    project.api.database.run(
        "insert into model_pricing (model_pattern, input_price_per_million, output_price_per_million, provider)"
        " values ('house', 1.25, 9, 'mine'), ('gpt-%', 2.5, 10, 'Open AI');"
        " update model_pricing set input_price_per_million = 7 where model_pattern = '_default';"
    )
    by_hand = _rows(project)
    project.book(Use(project.now_ms - 1000, model="house"), Use(project.now_ms - 1000, model="_default"))
    project.work(2)
    _edit(project, prices, input="5")
    project.work(2)
    assert _rows(project) == by_hand


def test_the_default_price_is_there_again_if_somebody_deleted_it(project: LimitProject) -> None:
    project.book(Use(project.now_ms - 1000, model="house"))
    project.work(2)
    project.api.database.run("delete from model_pricing")

    project.clock.advance(3600)
    project.work(2)

    assert _rows(project) == {**_DEFAULT, "house": _price("claude", "1.25", "2.5")}


def test_a_row_that_a_user_changed_is_left_alone_from_then_on(project: LimitProject, prices: Path) -> None:
    project.book(Use(project.now_ms - 1000, model="house"), Use(project.now_ms - 1000, model="hall"))
    project.work(2)
    project.api.database.run("update model_pricing set output_price_per_million = 3 where model_pattern = 'house';")
    project.restart()
    _edit(project, prices, input="5")
    project.work(2)
    assert _rows(project)["house"] == _price("claude", "1.25", "3")
    project.api.database.run("delete from model_pricing where model_pattern = 'hall';")
    project.work(2)
    assert "hall" not in _rows(project)
    project.clock.advance(3600)
    project.work()
    assert _rows(project)["hall"] == _price("claude", "3", "4"), "looked after once an hour"


def test_written_rows_are_remembered_over_a_restart(project: LimitProject, prices: Path) -> None:
    project.book(Use(project.now_ms - 1000, model="house"))
    project.work(2)
    for price in ("5", "6"):
        project.restart()
        _edit(project, prices, input=price)
        project.work(2)
        assert _rows(project)["house"] == _price("claude", price, "2.5")


@pytest.mark.parametrize("lost", ["upsert", "update"])
@pytest.mark.parametrize("arrives", [True, False])
def test_a_row_of_a_broken_call_is_still_the_exporters(
    project: LimitProject, prices: Path, monkeypatch: pytest.MonkeyPatch, lost: str, *, arrives: bool
) -> None:
    project.book(Use(project.now_ms - 1000, model="house"))
    if lost == "update":
        project.work(2)
        _edit(project, prices, input="5")
    do = getattr(Remote, lost)

    def cut_off(remote: Remote, table: str, *given: Any, **more: Any) -> None:
        if arrives:
            do(remote, table, *given, **more)
        raise HistoryAwayError("The connection broke.", reason="unreachable")

    monkeypatch.setattr(Remote, lost, cut_off)
    project.work()
    assert project.history.status.state == "away"
    monkeypatch.undo()
    project.restart()
    _edit(project, prices, input="6")
    project.work(2)
    assert _rows(project)["house"] == _price("claude", "6", "2.5")
