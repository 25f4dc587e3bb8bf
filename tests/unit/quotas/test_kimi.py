"""Kimi's page of usage in its two shapes: recorded through CPA 7.2.140, and made up from full answers in reports."""

from typing import Any

import pytest

from exporter.quotas.base import Refusal
from tests.benches.asked import HOUR_MS, NOW_MS, call_of, iso, one, told, told_by, windows

_USAGES = call_of("kimi")
_RESET = iso(NOW_MS + HOUR_MS)
_NEW_PLAN = {
    "limits": [
        {
            "window": {"duration": 300, "timeUnit": "TIME_UNIT_MINUTE"},
            "detail": {"limit": "100", "used": "1", "remaining": "99", "resetTime": _RESET},
        }
    ],
    "usages": {
        "limit_5h": {"used_ratio": 0, "reset_time": _RESET},
        "limit_month_total": {"used_ratio": 0.0338, "reset_time": _RESET},
        "limit_month_code": {"used_ratio": 0, "reset_time": _RESET},
    },
    "user": {"membership": {"level": "LEVEL_INTERMEDIATE"}},
    "parallel": {"limit": "30"},
}
"""The full answer in token-monitor #696 (mid-September 2026)."""


def _limit(detail: dict[str, Any], duration: Any = 300, unit: str = "TIME_UNIT_MINUTE") -> dict[str, Any]:
    return {"limits": [{"window": {"duration": duration, "timeUnit": unit}, "detail": {"resetTime": _RESET} | detail}]}


def test_the_recorded_page_has_five_hours_and_the_week_in_counts() -> None:
    report = told_by("kimi-usages")

    assert windows(report.readings) == {("5h", ""): 0.695, ("7d", ""): 0.104492188}
    assert [reading.resets_ms for reading in report.readings] == [1_795_536_000_000, 1_795_651_200_000]
    assert report.plan == ""


def test_the_plans_since_september_2026_have_fractions_and_a_month() -> None:
    report = told(_USAGES, _NEW_PLAN)

    assert windows(report.readings) == {("5h", ""): 0.01, ("month", ""): 0.0338, ("month", "code"): 0}
    assert report.plan == "intermediate"


@pytest.mark.parametrize(("key", "window"), [("limit_day", "1d"), ("limit_7d", "7d"), ("limit_week", "7d")])
def test_a_fraction_has_the_length_in_its_key(key: str, window: str) -> None:
    usage = {"usages": {key: {"used_ratio": 0.889023, "reset_time": _RESET}, "limit_moon": {"used_ratio": 1}}}

    assert windows(told(_USAGES, usage).readings) == {(window, ""): 0.889023}


def test_counts_of_zero_beside_a_fraction_say_nothing() -> None:
    usage = _limit({"limit": "0", "used": "0"}) | {"usages": {"limit_5h": {"used_ratio": 0.4, "reset_time": _RESET}}}

    assert windows(told(_USAGES, usage).readings) == {("5h", ""): 0.4}


def test_both_shapes_may_come_together() -> None:
    usage = _NEW_PLAN | {"usage": {"limit": 2048, "used": 1024, "resetTime": _RESET}}

    assert windows(told(_USAGES, usage).readings)[("7d", "")] == 0.5


def test_older_answers_wrap_the_counts_or_put_them_beside_the_window() -> None:
    wrapped = {"usages": [{"scope": "FEATURE_CODING", "detail": {"limit": "100", "used": "7", "resetTime": _RESET}}]}
    beside = {
        "limits": [
            {
                "window": {"duration": 5, "timeUnit": "TIME_UNIT_HOUR"},
                "limit": 10,
                "used": 2,
                "detail": {"resetTime": _RESET},
            }
        ]
    }

    assert windows(told(_USAGES, wrapped).readings) == {("7d", ""): 0.07}
    assert windows(told(_USAGES, beside).readings) == {("5h", ""): 0.2}
    assert one(told(_USAGES, beside)).resets_ms == NOW_MS + HOUR_MS


@pytest.mark.parametrize(
    ("detail", "ratio"),
    [
        ({"limit": "200", "remaining": "61"}, 0.695),
        ({"limit": 200, "used": 139, "remaining": 1}, 0.695),
        ({"limit": 200, "used": 250}, 1.25),
        ({"limit": 200.0, "used": "139.0"}, 0.695),
    ],
)
def test_counts_are_numbers_or_texts_and_may_lack_the_used_part(detail: dict[str, Any], ratio: float) -> None:
    assert one(told(_USAGES, _limit(detail))).used_ratio == ratio


@pytest.mark.parametrize(
    "detail",
    [
        {"limit": "0", "used": "0"},
        {"used": "5"},
        {"limit": "100"},
        {"limit": "100", "remaining": "120"},
        {"limit": None, "used": None},
        {"limit": "NaN", "used": "1"},
        {"limit": 1e-300, "used": 1},
    ],
)
def test_counts_that_make_no_share_are_not_a_window(detail: dict[str, Any]) -> None:
    assert told(_USAGES, _limit(detail)).refusal is Refusal.UNREADABLE


@pytest.mark.parametrize(
    ("duration", "unit", "window"),
    [
        (300, "TIME_UNIT_MINUTE", "5h"),
        ("300", "MINUTE", "5h"),
        (18_000, "TIME_UNIT_SECOND", "5h"),
        (24, "TIME_UNIT_HOUR", "1d"),
        (30, "TIME_UNIT_DAY", "month"),
        (1, "TIME_UNIT_WEEK", "7d"),
    ],
)
def test_a_window_is_named_after_its_length(duration: Any, unit: str, window: str) -> None:
    assert one(told(_USAGES, _limit({"limit": 10, "used": 1}, duration, unit))).window == window


@pytest.mark.parametrize(
    ("duration", "unit"), [(None, "TIME_UNIT_MINUTE"), (5, "TIME_UNIT_MOON"), (0, "TIME_UNIT_DAY")]
)
def test_an_entry_without_a_length_is_not_a_window(duration: Any, unit: str) -> None:
    assert told(_USAGES, _limit({"limit": 10, "used": 1}, duration, unit)).refusal is Refusal.UNREADABLE


@pytest.mark.parametrize(
    ("reset", "resets_ms", "inferred"),
    [
        ({"resetTime": None, "reset_at": NOW_MS + HOUR_MS}, NOW_MS + HOUR_MS, False),
        ({"resetTime": None, "reset_at": (NOW_MS + HOUR_MS) // 1000}, NOW_MS + HOUR_MS, False),
        ({"resetTime": "soon", "resetIn": 3600}, NOW_MS + HOUR_MS, True),
        ({"resetTime": None, "ttl": "60"}, NOW_MS + 60_000, True),
        ({"resetTime": "", "reset_at": NOW_MS + HOUR_MS}, NOW_MS + HOUR_MS, False),
        ({"resetTime": "0001-01-01T00:00:00Z", "resetIn": "", "ttl": 60}, NOW_MS + 60_000, True),
        ({"resetTime": None, "ttl": -60}, None, False),
        ({"resetTime": None, "ttl": 1e14}, None, False),
    ],
)
def test_a_reset_is_a_moment_or_seconds_from_now(reset: dict[str, Any], resets_ms: int | None, inferred: bool) -> None:
    reading = one(told(_USAGES, _limit({"limit": 10, "used": 1} | reset)))

    assert (reading.resets_ms, reading.inferred) == (resets_ms, inferred)


@pytest.mark.parametrize(
    ("level", "plan"), [("LEVEL_FREE", "free"), ("LEVEL_NEW", "other"), ("Frank", "other"), (7, "")]
)
def test_the_plan_is_one_of_a_few_words(level: Any, plan: str) -> None:
    assert told(_USAGES, _NEW_PLAN | {"user": {"membership": {"level": level}}}).plan == plan


def test_the_international_service_answers_alike() -> None:
    call = call_of("kimi-ai")

    assert call.url == "https://api.kimi.ai/coding/v1/usages"
    assert told(call, _NEW_PLAN) == told(_USAGES, _NEW_PLAN)


@pytest.mark.parametrize("body", [{}, {"limits": []}, {"usages": 5}, []])
def test_an_unknown_shape_is_not_an_answer(body: Any) -> None:
    assert told(_USAGES, body).refusal is Refusal.UNREADABLE
