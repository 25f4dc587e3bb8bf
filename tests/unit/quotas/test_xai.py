"""xAI's pages of billing and settings: recorded through CPA 7.2.140, or made up from what public clients read."""

from typing import Any

import pytest

from exporter.quotas.base import Refusal
from tests.benches.asked import HOUR_MS, NOW_MS, call_of, iso, one, told, told_by, windows

_WEEK, _MONTH, _PLAN = (call_of("xai", question=question) for question in range(3))
_END = iso(NOW_MS + HOUR_MS)
_PERIOD = {"type": "USAGE_PERIOD_TYPE_WEEKLY", "start": iso(NOW_MS), "end": _END}
_DOLLAR = 10**9


def test_the_recorded_page_of_credits_has_the_week() -> None:
    reading = one(told_by("xai-billing-week"))

    assert (reading.window, reading.used_ratio, reading.resets_ms) == ("7d", 0.375, 1_795_651_200_000)


def test_the_recorded_page_of_billing_has_the_month_in_dollars() -> None:
    reading = one(told_by("xai-billing-month"))

    assert (reading.window, reading.scope, reading.used_ratio) == ("month", "", 0.16)
    assert (reading.used_nano_usd, reading.limit_nano_usd) == (24 * _DOLLAR, 150 * _DOLLAR)
    assert reading.resets_ms == 1_795_651_200_000


def test_on_demand_use_is_a_separate_cap() -> None:
    config = {"on_demand_cap": {"val": 5000}, "on_demand_used": 1250, "billing_period_end": _END}

    reading = one(told(_MONTH, {"config": config}))

    assert (reading.scope, reading.used_ratio) == ("on-demand", 0.25)
    assert (reading.used_nano_usd, reading.limit_nano_usd) == (12_500_000_000, 50 * _DOLLAR)


@pytest.mark.parametrize(
    "config",
    [
        {"currentPeriod": _PERIOD},  # nothing used, or no such week: other clients disagree
        {"currentPeriod": _PERIOD, "creditUsagePercent": None},
        {"currentPeriod": _PERIOD, "creditUsagePercent": "NaN"},
        {"currentPeriod": {"type": "USAGE_PERIOD_TYPE_MONTHLY", "end": _END}, "creditUsagePercent": 5},
        {"creditUsagePercent": 5},
    ],
)
def test_a_missing_week_is_unknown_and_never_0(config: Any) -> None:
    report = told(_WEEK, {"config": config})

    assert (report.readings, report.refusal) == ((), None)


@pytest.mark.parametrize("limit", [None, 0, {"val": 0}, {"val": None}, {"val": "NaN"}, {}, "none"])
def test_a_month_without_a_limit_is_not_a_window(limit: Any) -> None:
    report = told(_MONTH, {"config": {"monthlyLimit": limit, "used": {"val": 5}, "billingPeriodEnd": _END}})

    assert (report.readings, report.refusal) == ((), None)


@pytest.mark.parametrize("call", [_WEEK, _MONTH])
@pytest.mark.parametrize("body", ["", "{}", '{"config": null}', '{"config": {}}'])
def test_a_pay_as_you_go_account_has_no_window_and_that_is_an_answer(call: Any, body: str) -> None:
    report = told(call, body)

    assert (report.readings, report.refusal) == ((), None)


@pytest.mark.parametrize("call", [_WEEK, _MONTH])
@pytest.mark.parametrize("body", [{"unrelated": 1}, {"config": 5}, {"config": []}, []])
def test_an_unknown_shape_is_not_an_answer(call: Any, body: Any) -> None:
    assert told(call, body).refusal is Refusal.UNREADABLE


def test_a_client_that_is_too_old_is_recognized() -> None:
    assert told(_WEEK, {"error": "upgrade"}, status=426).refusal is Refusal.OUTDATED


@pytest.mark.parametrize(
    ("tier", "plan"),
    [("SuperGrok Heavy", "supergrok-heavy"), ("X Premium+", "x-premium-plus"), ("Free", "free"), ("Grace", "other")],
)
def test_the_plan_is_one_of_a_few_words(tier: str, plan: str) -> None:
    assert told(_PLAN, {"subscription_tier_display": tier, "force_update": False}).plan == plan
    assert windows(told(_PLAN, {"subscription_tier_display": tier}).readings) == {}


def test_settings_without_a_plan_are_not_an_answer() -> None:
    assert told(_PLAN, {"allow_access": True}).refusal is Refusal.UNREADABLE
