"""Antigravity's pages: recorded through CPA 7.2.140, or made up from what public clients read."""

from typing import Any

import pytest

from exporter.quotas.base import NEXT_WAY, AccountIds, Refusal
from tests.benches.asked import HOUR_MS, NOW_MS, call_of, iso, told, told_by, windows

_SUMMARY, _MODELS, _PLAN = call_of("antigravity"), call_of("antigravity", way=3), call_of("antigravity", question=1)
_RESET = iso(NOW_MS + HOUR_MS)


def _summary(group: Any, *buckets: dict[str, Any]) -> dict[str, Any]:
    return {"groups": [{"displayName": group, "buckets": list(buckets)}]}


def _bucket(remaining: Any, window: Any = "5h", **fields: Any) -> dict[str, Any]:
    return {"bucketId": "b1", "window": window, "remainingFraction": remaining, "resetTime": _RESET} | fields


@pytest.mark.parametrize("host", ["daily-cloudcode-pa", "cloudcode-pa"])
def test_the_recorded_summary_has_the_windows_of_each_group_of_models(host: str) -> None:
    report = told_by(f"antigravity-quota-{host}")

    assert windows(report.readings) == {
        ("5h", "claude-gpt"): 0.38,
        ("7d", "claude-gpt"): 0.05,  # "95%" remains
        ("5h", "gemini"): 0,
    }
    assert report.refusal is None


@pytest.mark.parametrize(
    ("group", "scope"),
    [
        ("Gemini Models", "gemini"),
        ("Claude and GPT models", "claude-gpt"),
        ("Models", ""),
        ("Erin's models", "other"),
        (None, "other"),
    ],
)
def test_a_group_is_a_scope_of_known_words(group: Any, scope: str) -> None:
    assert windows(told(_SUMMARY, _summary(group, _bucket(0.25))).readings) == {("5h", scope): 0.75}


@pytest.mark.parametrize(
    ("called", "window"),
    [
        ("five_hour", "5h"),
        ("five-hour", "5h"),
        ("week", "7d"),
        ("WEEKLY", "7d"),
        ("monthly", "month"),
        ("later", "unknown"),
    ],
)
def test_a_window_has_one_name_in_all_its_spellings(called: str, window: str) -> None:
    assert windows(told(_SUMMARY, _summary("Gemini", _bucket(0.25, called))).readings) == {(window, "gemini"): 0.75}


@pytest.mark.parametrize(
    ("remaining", "used"), [(0.62, 0.38), ("0.62", 0.38), ("62%", 0.38), (1, 0), (0, 1), ("0%", 1)]
)
def test_the_remaining_share_is_a_number_or_a_text(remaining: Any, used: float) -> None:
    assert windows(told(_SUMMARY, _summary("Gemini", _bucket(remaining))).readings) == {("5h", "gemini"): used}


@pytest.mark.parametrize("remaining", [None, "", "NaN", "all", 62, "620%", -0.5, True, []])
def test_a_bucket_without_a_fraction_says_nothing(remaining: Any) -> None:
    summary = _summary("Gemini", _bucket(remaining), _bucket(0.25, "weekly"))

    assert windows(told(_SUMMARY, summary).readings) == {("7d", "gemini"): 0.75}


def test_a_share_of_0_without_a_reset_means_a_missing_fraction() -> None:
    summary = _summary("Gemini", _bucket(0, resetTime=None), _bucket(0.25, "weekly"))

    assert windows(told(_SUMMARY, summary).readings) == {("7d", "gemini"): 0.75}


@pytest.mark.parametrize("body", [{"groups": []}, {}, {"groups": [{"buckets": []}]}, {"groups": {}}, []])
def test_after_an_empty_summary_the_next_host_is_asked(body: Any) -> None:
    assert told(_SUMMARY, body).refusal in NEXT_WAY


def test_the_recorded_list_of_models_has_windows_of_unknown_length() -> None:
    assert windows(told_by("antigravity-models").readings) == {
        ("unknown", "claude-sonnet-4-6"): 0.38,
        ("unknown", "gemini-3-flash"): 0,
    }
    assert told(_MODELS, {"models": {}}).refusal is Refusal.UNREADABLE


@pytest.mark.parametrize(
    ("body", "plan"),
    [
        ({"paidTier": {"id": "g1-ultra-lite-tier"}, "currentTier": {"id": "free-tier"}}, "ultra-lite"),
        ({"currentTier": {"id": "free-tier", "name": "Free"}}, "free"),
        ({"currentTier": {"id": "erin@planted.example"}}, "other"),
    ],
)
def test_the_plan_is_the_paid_tier(body: Any, plan: str) -> None:
    assert told_by("antigravity-load-code-assist").plan == "pro"
    assert told(_PLAN, body).plan == plan
    assert told(_PLAN, {}).refusal is Refusal.UNREADABLE


def test_three_hosts_are_asked_in_order_and_the_models_last() -> None:
    ways = [call_of("antigravity", way=way) for way in range(4)]

    assert [way.url.removeprefix("https://").partition("/v1internal:")[::2] for way in ways] == [
        ("daily-cloudcode-pa.googleapis.com", "retrieveUserQuotaSummary"),
        ("daily-cloudcode-pa.sandbox.googleapis.com", "retrieveUserQuotaSummary"),
        ("cloudcode-pa.googleapis.com", "retrieveUserQuotaSummary"),
        ("cloudcode-pa.googleapis.com", "fetchAvailableModels"),
    ]


def test_an_account_without_a_project_is_asked_only_for_its_plan() -> None:
    assert [call_of("antigravity", way=way).request("a", AccountIds()) for way in range(4)] == [None] * 4
    assert _PLAN.request("a", AccountIds()) is not None
