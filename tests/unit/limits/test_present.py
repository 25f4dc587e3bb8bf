"""A window as a person reads it."""

import pytest

from exporter.limits.model import CONFIGURED, LimitWindow, Thresholds
from exporter.limits.present import LimitRow
from exporter.limits.strategies import CALENDAR


@pytest.mark.parametrize("window", [period.name for period in CALENDAR.values()])
def test_a_budget_by_the_calendar_is_per_day_week_or_month(window: str) -> None:
    budget = LimitWindow(
        proxy="home", limit="team", kind=CONFIGURED, provider="", credential="", scope="", window=window,
        unit="usd", used_ratio=0.5, thresholds=Thresholds(), observed_ms=0,
    )  # fmt: skip
    assert f"per {window}" in LimitRow(budget, now_ms=0).about
