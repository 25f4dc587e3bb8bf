"""Gemini CLI's pages, made up from what public clients read; there is no recording, as CPA has only a plugin for it."""

import json
from typing import Any

import pytest

from exporter.quotas.base import AccountIds, Refusal
from tests.benches.asked import HOUR_MS, NOW_MS, call_of, iso, told, windows

_QUOTA, _PLAN = call_of("gemini-cli"), call_of("gemini-cli", question=1)


def _bucket(model: str, remaining: Any, kind: str = "REQUESTS") -> dict[str, Any]:
    return {
        "modelId": model,
        "tokenType": kind,
        "remainingFraction": remaining,
        "remainingAmount": "980",
        "resetTime": iso(NOW_MS + HOUR_MS),
    }


def test_each_model_has_a_window_of_unknown_length() -> None:
    buckets = [_bucket("gemini-2.5-pro", 0.98), _bucket("gemini-2.5-flash", 0.5), _bucket("erin@planted.example", 1)]

    report = told(_QUOTA, {"buckets": buckets})

    assert windows(report.readings) == {
        ("unknown", "gemini-2.5-pro"): 0.02,
        ("unknown", "gemini-2.5-flash"): 0.5,
        ("unknown", "other"): 0,
    }
    assert {reading.resets_ms for reading in report.readings} == {NOW_MS + HOUR_MS}


def test_of_requests_and_tokens_the_fuller_one_counts() -> None:
    buckets = [_bucket("gemini-2.5-pro", 0.98), _bucket("gemini-2.5-pro", 0.2, "TOKENS")]

    assert windows(told(_QUOTA, {"buckets": buckets}).readings) == {("unknown", "gemini-2.5-pro"): 0.8}


@pytest.mark.parametrize("body", [{}, {"buckets": []}, {"buckets": [{"modelId": "gemini-2.5-pro"}]}])
def test_a_reply_without_a_bucket_is_not_an_answer(body: Any) -> None:
    assert told(_QUOTA, body).refusal is Refusal.UNREADABLE


def test_the_plan_is_the_tier() -> None:
    assert told(_PLAN, {"currentTier": {"id": "standard-tier"}}).plan == "standard"


def test_the_project_is_where_the_pages_need_it() -> None:
    quota = _QUOTA.request("a", AccountIds(project_id="some-project-1"))
    plan = _PLAN.request("a", AccountIds(project_id="some-project-1"))

    assert quota is not None
    assert json.loads(quota["data"]) == {"project": "some-project-1"}
    assert plan is not None
    assert json.loads(plan["data"])["cloudaicompanionProject"] == "some-project-1"
    assert json.loads(plan["data"])["metadata"]["duetProject"] == "some-project-1"
