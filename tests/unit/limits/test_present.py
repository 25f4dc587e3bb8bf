"""A window as a person reads it."""

import pytest

from exporter.limits.model import CONFIGURED, PROVIDER, SHARE, LimitWindow, Thresholds
from exporter.limits.present import LimitRow
from exporter.limits.strategies import CALENDAR


@pytest.mark.parametrize("window", [period.name for period in CALENDAR.values()])
def test_a_budget_by_the_calendar_is_per_day_week_or_month(window: str) -> None:
    budget = LimitWindow(
        proxy="home", limit="team", kind=CONFIGURED, provider="", credential="", scope="", window=window,
        unit="usd", used_ratio=0.5, thresholds=Thresholds(), observed_ms=0,
    )  # fmt: skip
    assert f"per {window}" in LimitRow(budget, now_ms=0).about


def test_an_unknown_reset_is_said_to_be_one() -> None:
    # On a card it stands alone, without the head of a column.
    refused = LimitWindow(
        proxy="home", limit="account", kind=PROVIDER, provider="codex", credential="dave", scope="", window="account",
        unit=SHARE, used_ratio=1.0, thresholds=Thresholds(), observed_ms=0,
    )  # fmt: skip
    assert LimitRow(refused, now_ms=0).resets == "reset unknown"


def _window(used_ratio: float) -> LimitWindow:
    """A window of 5 hours that began at 0."""
    return LimitWindow(
        proxy="home", limit="5h", kind=PROVIDER, provider="claude", credential="ann", scope="", window="5h",
        unit=SHARE, used_ratio=used_ratio, thresholds=Thresholds(), observed_ms=0, start_ms=0, reset_ms=18_000_000,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("used_ratio", "runs_out", "exhausted_ms"),
    [
        (0.5, "\N{EN DASH}", None),
        (0.6, "1 h 40 min", 15_000_000),
        (1.0, "used up", None),
        (1.2, "used up", None),
    ],
    ids=["it lasts exactly until its reset", "it runs out before", "at exactly 100 percent", "more than full"],
)
def test_a_limit_runs_out_before_its_reset_is_used_up_or_neither(
    used_ratio: float, runs_out: str, exhausted_ms: int | None
) -> None:
    half_ms = 9_000_000
    window = _window(used_ratio)
    assert (window.exhausted_ms(half_ms), LimitRow(window, now_ms=half_ms).exhausted) == (exhausted_ms, runs_out)


def test_a_window_has_a_pace_once_2_percent_of_it_have_passed() -> None:
    assert _window(0.1).pace(359_999) is None
    assert _window(0.1).pace(360_000) == pytest.approx(5)
