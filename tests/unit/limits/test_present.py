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
