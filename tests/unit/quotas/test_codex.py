"""Codex' pages of usage and reset credits: recorded through CPA 7.2.140, or made up from what public clients read."""

from typing import Any

import pytest

from exporter.quotas.base import Refusal
from tests.benches.asked import HOUR_MS, NOW_MS, call_of, one, told, told_by, windows

_USAGE, _CREDITS = call_of("codex"), call_of("codex", question=1)
_RESET_S = (NOW_MS + HOUR_MS) // 1000
_FIVE_HOURS, _WEEK = 18_000, 604_800


def _window(percent: Any, seconds: Any = _FIVE_HOURS, **fields: Any) -> dict[str, Any]:
    return {"used_percent": percent, "limit_window_seconds": seconds, "reset_at": _RESET_S} | fields


def _limit(primary: Any, secondary: Any = None, **fields: Any) -> dict[str, Any]:
    return {"allowed": True, "limit_reached": False, "primary_window": primary, "secondary_window": secondary} | fields


# --- windows ----------------------------------------------------------------------------------------------------------


def test_the_recorded_page_has_windows_and_plan() -> None:
    report = told_by("codex-usage")

    assert windows(report.readings) == {("5h", ""): 0.12, ("7d", ""): 0.47}
    assert [reading.resets_ms for reading in report.readings] == [1_795_536_000_000, 1_795_651_200_000]
    assert (report.plan, report.reset_credits, report.refusal) == ("plus", None, None)


def test_each_limit_has_its_own_scope() -> None:
    usage = {
        "rate_limit": _limit(_window(12), _window(47, _WEEK), monthly_window=_window(33, 2_628_000)),
        "code_review_rate_limit": _limit(_window(100, _WEEK)),
        "additional_rate_limits": [
            {
                "limit_name": "GPT-5.3-Codex-Spark",
                "metered_feature": "codex_bengalfox",
                "rate_limit": _limit(_window(5)),
            },
            {"limit_name": "gpt-reserve", "metered_feature": "base_model_inference", "rate_limit": _limit(_window(6))},
            {"limit_name": "Something New", "metered_feature": "codex_something", "rate_limit": _limit(_window(7))},
            {"limit_name": "someone@example.com", "metered_feature": "codex_wombat", "rate_limit": _limit(_window(9))},
            {"limit_name": None, "metered_feature": "An Unknown-Feature", "rate_limit": _limit(_window(8))},
        ],
    }

    assert windows(told(_USAGE, usage).readings) == {
        ("5h", ""): 0.12,
        ("7d", ""): 0.47,
        ("month", ""): 0.33,
        ("7d", "code-review"): 1,
        ("5h", "gpt-5.3-codex-spark"): 0.05,  # the same as in headers
        ("5h", "gpt-reserve"): 0.06,
        ("5h", "something-new"): 0.07,  # likewise
        ("5h", "wombat"): 0.09,  # as the group of such headers is called
        ("5h", "other"): 0.08,
    }


def test_names_in_camel_case_mean_the_same() -> None:
    usage = {
        "planType": "pro",
        "rateLimit": {"primaryWindow": {"usedPercent": 12, "limitWindowSeconds": "604800", "resetAt": _RESET_S}},
        "rateLimitResetCredits": {"availableCount": 2},
    }

    report = told(_USAGE, usage)

    assert (windows(report.readings), report.plan, report.reset_credits) == ({("7d", ""): 0.12}, "pro", 2)


def test_a_window_is_named_after_its_length_not_its_place() -> None:
    usage = {"rate_limit": _limit(_window(12, 2_592_000), _window(3, 17_940))}

    assert windows(told(_USAGE, usage).readings) == {("month", ""): 0.12, ("5h", ""): 0.03}


@pytest.mark.parametrize("seconds", [None, 0, -5, "soon", 1e12, True])
def test_an_entry_without_a_length_is_not_a_window(seconds: Any) -> None:
    usage = {"plan_type": "pro", "rate_limit": _limit(_window(12, seconds))}

    assert told(_USAGE, usage).readings == ()


def test_an_absolute_reset_comes_before_one_in_seconds_from_now() -> None:
    both = one(told(_USAGE, {"rate_limit": _limit(_window(12, reset_after_seconds=60))}))
    relative = one(told(_USAGE, {"rate_limit": _limit(_window(12, reset_at=None, reset_after_seconds="60"))}))

    assert (both.resets_ms, both.inferred) == (NOW_MS + HOUR_MS, False)
    assert (relative.resets_ms, relative.inferred) == (NOW_MS + 60_000, True)


def test_a_window_whose_reset_moves_with_the_clock_has_not_started() -> None:
    reading = one(told(_USAGE, {"rate_limit": _limit(_window(0, reset_at=NOW_MS // 1000 + _FIVE_HOURS))}))

    assert (reading.used_ratio, reading.ends_ms) == (0, None)


@pytest.mark.parametrize("refusal", [{"allowed": False}, {"limit_reached": True}])
def test_a_refused_account_without_a_percentage_is_exhausted(refusal: dict[str, bool]) -> None:
    reading = one(told(_USAGE, {"rate_limit": _limit(_window(None), **refusal)}))

    assert (reading.window, reading.used_ratio, reading.status) == ("5h", 1, "rejected")
    assert (reading.ratio_inferred, reading.resets_ms) == (True, NOW_MS + HOUR_MS)


def test_a_refusal_is_explained_by_a_window_that_is_stated_to_be_full() -> None:
    limit = _limit(_window(100), _window(None, _WEEK), limit_reached=True)

    assert windows(told(_USAGE, {"rate_limit": limit}).readings) == {("5h", ""): 1}


@pytest.mark.parametrize("refusal", [{"allowed": False}, {"limit_reached": True}])
def test_a_refusal_that_no_window_explains_is_the_accounts(refusal: dict[str, bool]) -> None:
    # Credits or a spend cap of the workspace may be used up, and shares are rounded down.
    limit = _limit(_window(40), _window(99, _WEEK), **refusal)

    shares = windows(told(_USAGE, {"rate_limit": limit}).readings)

    assert shares == {("5h", ""): 0.4, ("7d", ""): 0.99, ("account", ""): 1}


@pytest.mark.parametrize("windows", [{}, {"primary_window": None}, {"primary_window": _window(None, reset_at=None)}])
def test_a_refused_account_without_a_window_is_exhausted_as_a_whole(windows: dict[str, Any]) -> None:
    reading = one(told(_USAGE, {"rate_limit": {"allowed": False} | windows}))

    assert (reading.window, reading.used_ratio, reading.ratio_inferred) == ("account", 1, True)


def test_the_spend_cap_of_a_member_is_a_share_unless_its_unit_is_dollars() -> None:
    # From full answers in public reports: business plans have it in place of windows.
    cap = {"limit": "2500", "used": "1000", "remaining_percent": 60, "reset_at": _RESET_S, "unit": "credit"}

    credits = one(told(_USAGE, {"spend_control": {"individual_limit": cap}}))
    dollars = one(told(_USAGE, {"spend_control": {"individual_limit": cap | {"unit": "usd"}}}))

    assert (credits.window, credits.scope, credits.used_ratio) == ("month", "spend-cap", 0.4)
    assert (credits.used_nano_usd, credits.limit_nano_usd) == (None, None)
    assert (dollars.used_nano_usd, dollars.limit_nano_usd) == (1000 * 10**9, 2500 * 10**9)


# --- plans and reset credits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told_as", "plan"),
    [
        ("prolite", "prolite"),
        ("education", "edu"),
        ("ent26", "enterprise"),
        ("carol@planted.example", "other"),
        ("", ""),
        (None, ""),
        (5, ""),
    ],
)
def test_the_plan_is_one_of_a_few_words(told_as: Any, plan: str) -> None:
    assert told(_USAGE, {"plan_type": told_as, "rate_limit": _limit(_window(12))}).plan == plan


def test_the_recorded_page_of_reset_credits_gives_their_number() -> None:
    assert told_by("codex-reset-credits").reset_credits == 0


@pytest.mark.parametrize("count", [None, -1, "none", []])
def test_reset_credits_without_a_count_are_unknown(count: Any) -> None:
    assert (
        told(_USAGE, {"plan_type": "pro", "rate_limit_reset_credits": {"available_count": count}}).reset_credits is None
    )
    assert told(_CREDITS, {"available_count": count}).refusal is Refusal.UNREADABLE


@pytest.mark.parametrize("body", [{}, {"unrelated": 1}, [], {"detail": "Unauthorized"}])
def test_an_unknown_shape_is_not_an_answer(body: Any) -> None:
    assert told(_USAGE, body).refusal is Refusal.UNREADABLE
