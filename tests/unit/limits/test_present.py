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


@pytest.mark.parametrize(
    ("used_ratio", "runs_out", "exhausted_ms"),
    [(0.6, "1 h 40 min", 6_000_000), (1.0, "used up", None), (1.2, "used up", None)],
)
def test_a_limit_at_exactly_100_percent_is_used_up(used_ratio: float, runs_out: str, exhausted_ms: int | None) -> None:
    """Half of its 5 hours have passed."""
    half_ms = 9_000_000
    full = LimitWindow(
        proxy="home", limit="5h", kind=PROVIDER, provider="claude", credential="ann", scope="", window="5h",
        unit=SHARE, used_ratio=used_ratio, thresholds=Thresholds(), observed_ms=0, start_ms=-half_ms, reset_ms=half_ms,
    )  # fmt: skip
    assert (full.exhausted_ms(0), LimitRow(full, now_ms=0).exhausted) == (exhausted_ms, runs_out)
