"""Two readings of one window: which one counts, and whether the provider gave quota back early."""

from itertools import permutations
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.quotas import reading as merging
from exporter.quotas.reading import OVERAGE, Reading, is_current

_NOW_MS = 1_787_306_405_000
_HOUR_MS = 3_600_000
_KNOWN = Reading(
    window="5h",
    scope="",
    window_seconds=18_000,
    used_ratio=0.5,
    resets_ms=_NOW_MS + _HOUR_MS,
    status="allowed",
    observed_ms=_NOW_MS,
    inferred=False,
    source="header",
)


def _reading(after_ms: int = 60_000, **changes: Any) -> Reading:
    """The known reading's window, seen ``after_ms`` later."""
    return replace(_KNOWN, observed_ms=_NOW_MS + after_ms, **changes)


class _Merged(NamedTuple):
    reading: Reading | None
    changed: bool
    early_reset: bool


def merge(known: Reading | None, new: Reading) -> _Merged:
    """The reading that counts, whether it is a new one, and whether quota seems to be given back early."""
    kept = merging.merge(known, new)
    early = known is not None and kept is not None and merging.reset_early(known, kept)
    return _Merged(kept, kept != known, early)


def test_the_first_reading_is_kept() -> None:
    merged = merge(None, _KNOWN)

    assert (merged.reading, merged.changed, merged.early_reset) == (_KNOWN, True, False)


@pytest.mark.parametrize("source", ["header", "auth_files", "api_call"])
def test_a_newer_reading_wins_whatever_its_source(source: str) -> None:
    new = _reading(5_001, used_ratio=0.6, source=source)

    assert merge(_KNOWN, new).reading == new
    assert merge(replace(_KNOWN, source=source), replace(new, source="header")).reading == replace(new, source="header")


@pytest.mark.parametrize("source", ["header", "auth_files"])
def test_an_older_reading_never_wins(source: str) -> None:
    merged = merge(_KNOWN, _reading(-5_001, used_ratio=0.9, source=source))

    assert (merged.reading, merged.changed, merged.early_reset) == (_KNOWN, False, False)


@pytest.mark.parametrize("after_ms", [-5_000, 0, 5_000])
def test_within_five_seconds_a_header_comes_before_other_sources(after_ms: int) -> None:
    other = _reading(after_ms, used_ratio=0.52, source="api_call")

    assert merge(_KNOWN, other).reading == _KNOWN
    assert merge(other, _KNOWN).reading == _KNOWN


def test_the_same_reading_again_changes_nothing() -> None:
    assert merge(_KNOWN, _KNOWN).changed is False


def test_a_newer_reading_with_the_same_values_is_a_newer_observation() -> None:
    merged = merge(_KNOWN, _reading())

    assert merged.changed
    assert merged.reading is not None
    assert merged.reading.observed_ms == _NOW_MS + 60_000


# --- resets -----------------------------------------------------------------------------------------------------------


def test_a_missing_reset_is_kept_from_before_while_it_is_ahead() -> None:
    merged = merge(_KNOWN, _reading(used_ratio=0.6, resets_ms=None))

    assert merged.reading == _reading(used_ratio=0.6, inferred=True)
    assert (merged.changed, merged.early_reset) == (True, False)


@pytest.mark.parametrize(
    ("known", "after_ms"),
    [(None, 0), (_KNOWN, _HOUR_MS), (_KNOWN, 2 * _HOUR_MS), (replace(_KNOWN, resets_ms=None), 60_000)],
    ids=["nothing known", "it has just passed", "it passed long ago", "the known one has none either"],
)
def test_without_a_reset_ahead_a_reading_that_could_never_expire_is_dropped(
    known: Reading | None, after_ms: int
) -> None:
    merged = merge(known, _reading(after_ms, used_ratio=0.9, resets_ms=None))

    assert (merged.reading, merged.changed) == (known, False)


def test_a_cap_on_money_is_kept_without_a_reset() -> None:
    cap = _reading(used_ratio=0.9, resets_ms=None, used_nano_usd=9 * 10**9, limit_nano_usd=10 * 10**9)

    assert (merge(None, cap).reading, is_current(cap, _NOW_MS + 1000 * _HOUR_MS)) == (cap, True)


def test_usage_after_the_reset_is_not_an_early_reset() -> None:
    new = _reading(_HOUR_MS + 1000, used_ratio=0.01, resets_ms=_NOW_MS + 6 * _HOUR_MS)
    merged = merge(_KNOWN, new)

    assert (merged.reading, merged.early_reset) == (new, False)


@pytest.mark.parametrize(
    ("used_ratio", "reset_moves_ms", "early"),
    [
        (0.0, 0, True),
        (0.0, 120_000, True),
        (0.0, -120_000, True),
        (0.0, 5 * _HOUR_MS, True),
        (0.489, 0, True),
        (0.49, 0, False),
        (0.495, 0, False),
        (0.5, 0, False),
        (0.5, 5 * _HOUR_MS, False),
        (0.7, 0, False),
    ],
    ids=[
        "emptied",
        "emptied, the reset jitters",
        "emptied, the reset jitters back",
        "a new window began before the old one's end",
        "a little more than a point",
        "a point is rounding",
        "less than a point is rounding",
        "as before",
        "the reset moves, nothing is given back",
        "used further",
    ],
)
def test_quota_given_back_before_the_reset_is_accepted_and_counted(
    used_ratio: float, reset_moves_ms: int, early: bool
) -> None:
    new = _reading(used_ratio=used_ratio, resets_ms=_NOW_MS + _HOUR_MS + reset_moves_ms)
    merged = merge(_KNOWN, new)

    assert (merged.reading, merged.early_reset) == (new, early)


@pytest.mark.parametrize(("before_end_ms", "early"), [(119_000, False), (121_000, True)])
def test_a_new_window_that_begins_near_the_old_ones_end_is_not_an_early_reset(before_end_ms: int, early: bool) -> None:
    new = _reading(_HOUR_MS - before_end_ms, used_ratio=0.0, resets_ms=_NOW_MS + 6 * _HOUR_MS)

    assert merge(_KNOWN, new).early_reset is early


@pytest.mark.parametrize(
    ("before_end_ms", "reset_moves_ms", "early"),
    [(60_000, 0, True), (1, 0, True), (0, 0, False), (60_000, 120_000, True), (60_000, 120_001, False)],
    ids=["a minute before", "just before", "at its end", "its reset jitters", "another window has begun"],
)
def test_a_window_that_is_emptied_and_keeps_its_reset_was_reset_early_until_its_very_end(
    before_end_ms: int, reset_moves_ms: int, early: bool
) -> None:
    new = _reading(_HOUR_MS - before_end_ms, used_ratio=0.0, resets_ms=_NOW_MS + _HOUR_MS + reset_moves_ms)

    assert merge(_KNOWN, new).early_reset is early


def test_a_reading_that_loses_counts_no_early_reset() -> None:
    assert merge(_KNOWN, _reading(-60_000, used_ratio=0.0)).early_reset is False
    assert merge(_KNOWN, _reading(1_000, used_ratio=0.0, source="auth_files")).early_reset is False


def test_answers_of_one_second_give_the_same_result_in_any_order() -> None:
    readings = [
        replace(_KNOWN, used_ratio=0.50),
        replace(_KNOWN, used_ratio=0.52),
        replace(_KNOWN, used_ratio=0.01, resets_ms=_NOW_MS + 6 * _HOUR_MS),
        replace(_KNOWN, used_ratio=0.02, resets_ms=_NOW_MS + 6 * _HOUR_MS + 1000),
    ]
    for order in permutations(readings):
        known: Reading | None = None
        for reading in order:
            known = merge(known, reading).reading
        assert known == readings[-1]


def test_of_answers_of_one_second_that_agree_on_the_share_the_last_one_counts() -> None:
    """Extra usage was switched on: the window is as full as before, and requests pass."""
    full = replace(_KNOWN, used_ratio=1.0, status="rejected")

    assert merge(full, replace(full, status=OVERAGE)).reading == replace(full, status=OVERAGE)


def test_of_answers_of_one_second_the_fuller_one_counts_although_its_reset_jitters() -> None:
    fuller = replace(_KNOWN, used_ratio=0.52)
    emptier = replace(_KNOWN, used_ratio=0.51, resets_ms=_NOW_MS + _HOUR_MS + 120_000)

    assert merge(fuller, emptier).reading == merge(emptier, fuller).reading == fuller


@pytest.mark.parametrize(("after_ms", "current"), [(_HOUR_MS - 1, True), (_HOUR_MS, False), (_HOUR_MS + 1, False)])
def test_a_window_ends_at_its_reset(after_ms: int, current: bool) -> None:
    assert is_current(_KNOWN, _NOW_MS + after_ms) is current


def test_a_window_that_never_resets_never_ends() -> None:
    assert is_current(replace(_KNOWN, resets_ms=None), _NOW_MS + 10**12)


@given(
    st.permutations(range(6)),
    st.lists(st.integers(min_value=0, max_value=20), min_size=6, max_size=6),
)
def test_readings_of_different_moments_end_with_the_newest_in_any_order(order: list[int], used: list[int]) -> None:
    readings = [_reading(place * 60_000, used_ratio=used[place] / 20) for place in range(6)]
    known: Reading | None = None
    for place in order:
        known = merge(known, readings[place]).reading

    assert known == readings[-1]
