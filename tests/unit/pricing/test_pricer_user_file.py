"""The user's price file while the exporter runs."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.errors import SettingsError
from exporter.pricing.price import MatchedBy
from exporter.pricing.pricer import DEFAULT_PRICE, UserPrices, watch_price_file
from exporter.settings.watched import WatchedFile

AT_MS = int(datetime(2026, 11, 24, tzinfo=UTC).timestamp()) * 1000
GOOD = "prices:\n  - {model: house, input: 1, output: 2}\n"
BETTER = "prices:\n  - {model: house, input: 7, output: 9}\n"
BAD = "prices:\n  - {model: house, input: cheap}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "prices.yaml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def prices(path: Path) -> WatchedFile[UserPrices]:
    return watch_price_file(path)


def input_of(
    prices: WatchedFile[UserPrices], model: str = "house", provider: str = "p", at_ms: int = AT_MS
) -> int | None:
    price = prices.content.prices.find(provider, model, at_ms=at_ms)
    return None if price is None else price.tariff.input


def look(prices: WatchedFile[UserPrices]) -> None:
    """Refresh twice: an edit takes effect once the file stays the same."""
    prices.reload()
    prices.reload()


def edit(path: Path, text: str) -> None:
    """Edit as editors do: a new file replaces the old one."""
    new = path.with_name("new")
    new.write_text(text)
    new.replace(path)


def test_the_file_is_an_override_and_says_so(prices: WatchedFile[UserPrices]) -> None:
    price = prices.content.prices.find("p", " HOUSE ", at_ms=AT_MS)
    assert price is not None
    assert (price.origin, price.matched_by) == ("prices.yaml house", MatchedBy.OVERRIDE)
    assert prices.problem == ""


@pytest.mark.parametrize("model", ["house-20260101", "house(high)", "vendor/house", "hous", "house-2"])
def test_only_the_whole_name_is_overridden(prices: WatchedFile[UserPrices], model: str) -> None:
    assert input_of(prices, model) is None


def test_a_row_for_the_provider_comes_before_one_for_any(path: Path) -> None:
    path.write_text(
        "prices:\n"
        "  - {model: house, input: 1}\n"
        "  - {model: house, provider: codex, input: 2}\n"
        "  - {model: house, provider: mine, input: 3}\n"
        "  - {model: house, provider: openai-compatible-yours, input: 4}\n"
    )
    prices = watch_price_file(path)
    asked = ["claude", "codex", "Codex", "mine", "openai-compatible-mine", "openai-compatible-yours", "yours"]
    found = [input_of(prices, provider=provider) for provider in asked]
    assert found == [1_000_000, 2_000_000, 2_000_000, 3_000_000, 3_000_000, 4_000_000, 1_000_000]


def test_a_row_for_any_provider_counts_while_none_for_the_provider_holds(path: Path) -> None:
    path.write_text(
        "prices:\n"
        "  - {model: house, input: 1}\n"
        "  - {model: house, provider: codex, input: 2, from: 2026-11-24, to: 2026-11-26}\n"
        "  - {model: night, input: 3}\n"
        "  - {model: night, provider: codex, input: 4, hours: ['22:00-24:00']}\n"
    )
    prices, hour_ms = watch_price_file(path), 3_600_000
    contract = [input_of(prices, provider="codex", at_ms=AT_MS + hours * hour_ms) for hours in (-1, 0, 47, 48)]
    assert contract == [1_000_000, 2_000_000, 2_000_000, 1_000_000]
    nightly = [input_of(prices, "night", "codex", AT_MS + hours * hour_ms) for hours in (21, 22, 24)]
    assert nightly == [3_000_000, 4_000_000, 3_000_000]


@pytest.mark.parametrize(
    ("moment", "input_pico"),
    [
        ("2026-04-30T23:59:59.999", None),
        ("2026-05-01T00:00:00", 1_000_000),
        ("2026-05-31T23:59:59.999", 1_000_000),
        ("2026-06-01T00:00:00", 2_000_000),
        ("2026-06-30T23:59:59.999", 2_000_000),
        ("2026-07-01T00:00:00", None),
    ],
)
def test_a_row_applies_from_its_first_day_until_before_its_last(
    path: Path, moment: str, input_pico: int | None
) -> None:
    path.write_text(
        "prices:\n"
        "  - {model: house, input: 2, from: 2026-06-01, to: 2026-07-01}\n"
        "  - {model: house, input: 1, from: 2026-05-01, to: 2026-06-01}\n"
    )
    at_ms = round(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() * 1000)
    assert input_of(watch_price_file(path), at_ms=at_ms) == input_pico


def test_a_good_edit_takes_effect(path: Path, prices: WatchedFile[UserPrices]) -> None:
    edit(path, BETTER)
    look(prices)
    assert input_of(prices) == 7_000_000
    assert not prices.problem


def test_an_edit_in_place_takes_effect(path: Path, prices: WatchedFile[UserPrices]) -> None:
    path.write_text(BETTER)
    os.utime(path, ns=(0, 0))  # a clock too coarse to tell two edits apart
    look(prices)
    assert input_of(prices) == 7_000_000


@pytest.mark.parametrize(
    "break_it",
    [
        pytest.param(lambda path: edit(path, BAD), id="a mistake"),
        pytest.param(lambda path: edit(path, ""), id="cut off"),
        pytest.param(lambda path: path.unlink(), id="deleted"),
    ],
)
def test_a_bad_edit_keeps_the_earlier_prices_until_it_is_corrected(
    path: Path, prices: WatchedFile[UserPrices], break_it: Callable[[Path], None]
) -> None:
    break_it(path)
    with capture_logs() as events:
        look(prices)
        look(prices)
    assert input_of(prices) == 1_000_000
    assert "The last edit of the price file is not in use; the prices from before it are." in prices.problem
    assert "prices.yaml" in prices.problem
    assert [event["event"] for event in events] == ["prices_not_reloaded"], "once for each edit"

    edit(path, BETTER)
    with capture_logs() as events:
        look(prices)
    assert input_of(prices) == 7_000_000
    assert not prices.problem
    assert [event["event"] for event in events] == ["prices_reloaded"]


def test_a_file_that_is_moved_away_and_back_is_used_again(path: Path, prices: WatchedFile[UserPrices]) -> None:
    away = path.rename(path.with_name("away"))
    seen = []
    for place in (away, path):
        away = away.rename(place)
        look(prices)
        seen.append(not prices.problem)
    assert seen == [False, True]


def test_an_untouched_file_is_not_read_again(prices: WatchedFile[UserPrices]) -> None:
    with capture_logs() as events:
        look(prices)
    assert events == []


def test_the_file_may_set_the_default_price(path: Path, prices: WatchedFile[UserPrices]) -> None:
    assert prices.content.default is DEFAULT_PRICE
    edit(path, "prices:\n  - {model: _default, input: 3, output: 15}\n")
    look(prices)
    default = prices.content.default
    assert (default.tariff.input, default.tariff.cache_read, default.tariff.output) == (
        3_000_000,
        3_000_000,
        15_000_000,
    )
    assert (default.origin, default.matched_by) == ("prices.yaml _default", MatchedBy.DEFAULT)
    edit(path, GOOD)
    look(prices)
    assert prices.content.default is DEFAULT_PRICE


def test_a_mistake_at_the_start_is_an_error_with_all_problems(path: Path) -> None:
    path.write_text("prices:\n  - {model: a, input: x}\n  - {input: 1}\n")
    with pytest.raises(SettingsError) as raised:
        watch_price_file(path)
    assert [line.partition(": ")[0] for line in str(raised.value).splitlines()] == [
        "EXPORTER_PRICES_FILE (prices.yaml:2)",
        "EXPORTER_PRICES_FILE (prices.yaml:3)",
    ]


def test_a_file_that_is_still_being_written_is_not_used(path: Path, prices: WatchedFile[UserPrices]) -> None:
    before = input_of(prices)
    edit(path, "prices:\n  - {model: house, input: 1")
    prices.reload()
    edit(path, "prices:\n  - {model: house, input: 12, output: 12}\n")
    prices.reload()
    assert input_of(prices) == before
    assert not prices.problem
    prices.reload()
    assert input_of(prices) == 12_000_000
