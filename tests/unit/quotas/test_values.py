"""Values in the answers of providers are read with certainty or not at all, whatever they are."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.quotas.reading import Answer
from exporter.quotas.values import (
    LONGEST_WINDOW,
    MAX_ENTRIES,
    MAX_SLUG,
    amount,
    moment,
    nano_usd,
    near_length,
    quotient,
    scope_named,
    scope_of,
    used_of_remaining,
    window_called,
    window_name,
    window_seconds,
)

_ANSWER = Answer({}, 1_787_306_405_000)
_ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.from_regex(r"[0-9]{1,3}[eE][0-9]{1,3}", fullmatch=True)
    | st.lists(st.integers(), max_size=2)
)


@given(_ANYTHING)
def test_numbers_are_finite_and_not_negative_in_any_notation(value: Any) -> None:
    told = _ANSWER.of({"a": value})
    for found in (amount(value), told.share("a"), told.percent("a"), nano_usd(value)):
        assert found is None or (math.isfinite(found) and found >= 0)
    for at_ms in (moment(value, _ANSWER.observed_ms), _ANSWER.reading(None, "", 0.5, after=value).resets_ms):
        assert at_ms is None or isinstance(at_ms, int)
    seconds = near_length((amount(value) or 0) * 7 * 86_400)
    assert seconds is None or 0 < seconds <= LONGEST_WINDOW
    assert isinstance(scope_of(value), str)
    assert isinstance(window_called(value)[0], str)


@pytest.mark.parametrize("text", ["1e16", "9e307", "1e999"])
def test_a_number_beyond_all_that_providers_count_is_none(text: str) -> None:
    assert [read(text) for read in (amount, nano_usd, window_seconds)] == [None] * 3


@given(st.floats(0, 1), st.sampled_from([str, float, "{:.6%}".format]))
def test_a_fraction_is_the_same_as_number_text_and_percent(fraction: float, written: Any) -> None:
    share = _ANSWER.of({"a": written(fraction)}).share("a")

    assert share == pytest.approx(fraction, abs=1e-8)
    assert used_of_remaining(share) == pytest.approx(1 - fraction, abs=1e-8)


@given(st.integers(1, 10**12), st.integers(0, 10**12))
def test_a_share_is_the_used_part_of_the_limit(limit: int, used: int) -> None:
    assert quotient(used, limit) == (round(used / limit, 9) if used / limit <= 1000 else None)


@given(st.integers(0, 10**8))
def test_money_is_exact_to_the_cent(cents: int) -> None:
    assert nano_usd(cents, scale=100) == cents * 10**7
    assert nano_usd(f"{cents / 100:.2f}") == cents * 10**7


@given(st.text(max_size=60))
def test_a_slug_is_a_harmless_label(text: str) -> None:
    slug = scope_named(text)

    assert len(slug) <= MAX_SLUG
    assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")
    assert scope_named(slug) == slug


@pytest.mark.parametrize(
    ("seconds", "name"),
    [(18_000, "5h"), (604_800, "7d"), (86_400, "1d"), (28 * 86_400, "month"), (31 * 86_400, "month"), (90, "90s")],
)
def test_a_window_is_named_in_the_largest_unit_that_fits(seconds: int, name: str) -> None:
    assert window_name(seconds) == name


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("Opus", "opus"),
        ("GPT-5.3-Codex-Spark", "gpt-5.3-codex-spark"),
        ("gpt-oss-120b-medium", "gpt-oss-120b-medium"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5-20250929"),
        ("kimi k2.5", "kimi-k2.5"),
        ("All models", ""),
        ("  Gemini  ", "gemini"),
        ("", "other"),
        ("   ", "other"),
        (None, "other"),
        ("Gemini of Erin", "other"),
        ("203.0.113.77", "other"),
        ("gpt " * 12, "other"),
        ("pro@planted.example", "other"),
    ],
)
def test_a_scope_is_made_of_known_words_and_versions(name: Any, scope: str) -> None:
    assert scope_of(name) == scope


@pytest.mark.parametrize(
    ("called", "found"),
    [
        ("5h", ("unknown", 18_000)),
        ("90m", ("unknown", 5_400)),
        ("Five_Hour", ("unknown", 18_000)),
        ("month", ("month", None)),
        ("0h", ("unknown", None)),
        ("9999d", ("unknown", None)),
        ("5 hours", ("unknown", None)),
        (5, ("unknown", None)),
    ],
)
def test_a_window_has_a_length_if_its_name_has_one(called: Any, found: tuple[str, int | None]) -> None:
    assert window_called(called) == found


def test_a_reading_without_a_length_keeps_its_given_name() -> None:
    named = _ANSWER.reading(seconds=None, name="month", scope="", used_ratio=0.5)
    unnamed = _ANSWER.reading(seconds=None, scope="", used_ratio=0)

    assert (named.window, named.window_seconds) == ("month", None)
    assert (unnamed.window, unnamed.resets_ms) == ("unknown", None)


def test_names_mean_the_same_in_both_spellings_and_the_first_counts() -> None:
    assert _ANSWER.of({"usedPercent": 5}).get("used_percent") == 5
    assert _ANSWER.of({"used_percent": 4, "usedPercent": 5}).get("used_percent") == 4
    assert _ANSWER.get("used_percent") is None


def test_lists_and_maps_are_read_up_to_the_size_of_real_ones() -> None:
    assert len(list(_ANSWER.of({"a": [{}] * 1_000_000}).each("a"))) == MAX_ENTRIES
    assert len(list(_ANSWER.of({str(place): {} for place in range(10_000)}).entries())) == MAX_ENTRIES
    assert list(_ANSWER.of({"a": {"b": {}}}).each("a")) == []
    assert list(_ANSWER.of([{}]).entries()) == []


@pytest.mark.parametrize(("length", "read"), [(64, True), (65, False)])
def test_text_is_read_up_to_the_length_of_real_values(length: int, read: bool) -> None:
    reset = "2026-08-21T11:00:05.".ljust(length - 1, "0") + "Z"
    at_ms = 1_787_310_005_000

    assert _ANSWER.of({"a": "x" * length}).text("a") == ("x" * length if read else "")
    assert _ANSWER.reading(3600, "", 0.5, reset).resets_ms == (at_ms if read else None)


def test_a_slug_that_is_too_long_is_none_and_is_not_cut() -> None:
    assert (scope_named("n" * 32), scope_named("n" * 33)) == ("n" * 32, "")
