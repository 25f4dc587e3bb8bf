"""Claude's pages of usage and profile: recorded through CPA 7.2.140, or made up from what public clients read."""

from typing import Any

import pytest

from exporter.quotas.base import Refusal
from exporter.quotas.reading import OVERAGE
from tests.benches.asked import HOUR_MS, NOW_MS, call_of, iso, one, told, told_by, windows

_USAGE, _PROFILE = call_of("claude"), call_of("claude", question=1)
_RESET = iso(NOW_MS + HOUR_MS)
_DOLLAR = 10**9


def _listed(kind: str, percent: Any, model: str | None = None, **fields: Any) -> dict[str, Any]:
    scope = None if model is None else {"model": {"id": None, "display_name": model}, "surface": None}
    return {"kind": kind, "percent": percent, "resets_at": _RESET, "scope": scope} | fields


def _elsewhere(*rows: tuple[str, Any]) -> float | None:
    shares = [{"key": key, "display_name": key.title(), "percent": percent} for key, percent in rows]
    usage = {"five_hour": {"utilization": 1, "resets_at": _RESET}, "seven_day_breakdown": {"rows": shares}}
    return told(_USAGE, usage).elsewhere_ratio


# --- windows ----------------------------------------------------------------------------------------------------------


def test_the_recorded_page_has_the_windows_of_account_and_models_and_the_cost_of_extra_usage() -> None:
    report = told_by("claude-usage")

    assert windows(report.readings) == {
        ("5h", ""): 0.21,
        ("7d", ""): 0.83,
        ("7d", "sonnet"): 0.04,
        ("7d", "other"): 0.4,  # a model called X
        ("month", "extra-usage"): 0.024,
    }
    five_hours = report.readings[0]
    assert (five_hours.resets_ms, five_hours.window_seconds) == (1_795_536_000_000, 18_000)
    assert (five_hours.observed_ms, five_hours.source) == (NOW_MS, "active")  # the time in the answer's Date
    assert report.refusal is None


def test_the_answer_through_version_8_is_the_same() -> None:
    # Made up from its documentation.
    assert told_by("api-call-claude-usage", version="v8-constructed/") == told_by("claude-usage")


def test_windows_of_models_are_only_in_the_list_since_july_2026() -> None:
    usage = {
        "five_hour": {"utilization": 9, "resets_at": _RESET},
        "seven_day_opus": None,
        "limits": [
            _listed("session", 12.5),
            _listed("weekly_all", 40),
            _listed("weekly_scoped", 70, "Opus 4.5"),
            _listed("weekly_scoped", 3, "Fable 5"),
            _listed("monthly_bonus", 3),
        ],
    }

    assert windows(told(_USAGE, usage).readings) == {
        ("5h", ""): 0.125,
        ("7d", ""): 0.4,
        ("7d", "opus"): 0.7,
        ("7d", "fable"): 0.03,
    }


def test_of_two_entries_for_one_window_the_decisive_one_counts() -> None:
    limits = [
        _listed("weekly_scoped", 90, "Opus", is_active=False),
        _listed("weekly_scoped", 20, "Opus", is_active=True),
    ]

    assert windows(told(_USAGE, {"limits": limits}).readings) == {("7d", "opus"): 0.2}


@pytest.mark.parametrize("key", ["iguana_necktie", "seven_day_overage_included"])
def test_the_week_of_fable_is_one_window_under_each_of_its_names(key: str) -> None:
    usage = {key: {"utilization": 30, "resets_at": _RESET}, "limits": [_listed("weekly_scoped", 30, "Fable")]}

    assert windows(told(_USAGE, usage).readings) == {("7d", "fable"): 0.3}


def test_a_code_name_with_a_reset_is_a_window_of_unknown_length() -> None:
    usage = {
        "five_hour": {"utilization": 1, "resets_at": _RESET},
        "tangelo": {"utilization": 30, "resets_at": _RESET},
        "nimbus_quill": {"utilization": 0},
        "Somebody's key": {"utilization": 30, "resets_at": _RESET},
    }

    assert windows(told(_USAGE, usage).readings) == {("5h", ""): 0.01, ("unknown", "tangelo"): 0.3}


def test_an_unused_window_is_shown_at_zero_and_never_ends() -> None:
    reading = one(told(_USAGE, {"five_hour": {"utilization": 0, "resets_at": None}}))

    assert (reading.used_ratio, reading.ends_ms, reading.inferred) == (0, None, True)


def test_an_account_without_windows_gives_an_answer_without_windows() -> None:
    page: dict[str, Any] = {
        "five_hour": None,
        "seven_day": None,
        "extra_usage": {"is_enabled": False, "monthly_limit": None},
        "limits": [],
    }
    report = told(_USAGE, page)
    assert (report.readings, report.refusal) == ((), None)
    for changed in ({"five_hour": {"used": 3}}, {"seven_day": {"used": 3}}, {"limits": [{"sort": "session"}]}):
        assert told(_USAGE, page | changed).refusal == Refusal.UNREADABLE


def test_a_used_window_without_a_reset_has_none() -> None:
    assert one(told(_USAGE, {"five_hour": {"utilization": 3, "resets_at": None}})).resets_ms is None


@pytest.mark.parametrize(
    ("severity", "status"), [("normal", "allowed"), ("warning", "warning"), ("critical", ""), (None, "")]
)
def test_a_known_severity_is_the_status(severity: Any, status: str) -> None:
    assert one(told(_USAGE, {"limits": [_listed("session", 5, severity=severity)]})).status == status


@pytest.mark.parametrize(
    ("percent", "ratio"),
    [(21, 0.21), (21.5, 0.215), ("21", 0.21), ("21.5%", 0.215), (113, 1.13), (0.5, 0.005), (-0.0, 0), (10.1, 0.101)],
)
def test_percents_are_read_as_number_or_text_and_may_exceed_100(percent: Any, ratio: float) -> None:
    # 0.5 is half a percent: nothing would distinguish it from a half.
    assert one(told(_USAGE, {"five_hour": {"utilization": percent, "resets_at": _RESET}})).used_ratio == ratio


@pytest.mark.parametrize("percent", [None, "NaN", "nan%", "", "many", True, [], {}, -3, "-3", 1e9, 10**400, "1e99"])
def test_an_invalid_percentage_makes_no_window(percent: Any) -> None:
    usage = {"five_hour": {"utilization": percent, "resets_at": _RESET}, "seven_day": {"utilization": 2}}

    assert windows(told(_USAGE, usage).readings) == {("7d", ""): 0.02}


@pytest.mark.parametrize(
    ("written", "resets_ms"),
    [
        (iso(NOW_MS + HOUR_MS), NOW_MS + HOUR_MS),
        ((NOW_MS + HOUR_MS) // 1000, NOW_MS + HOUR_MS),
        (str((NOW_MS + HOUR_MS) // 1000), NOW_MS + HOUR_MS),
        (NOW_MS + HOUR_MS, NOW_MS + HOUR_MS),
        ("2026-11-24T16:27:33.123456789Z", NOW_MS + HOUR_MS + 123),
        (iso(NOW_MS - HOUR_MS), NOW_MS - HOUR_MS),
        ("2026-11-24T16:27:33", None),  # without a zone
        ("in an hour", None),
        (0, None),
        (iso(NOW_MS + 100 * 24 * HOUR_MS), None),
        ("x" * 5_000, None),
        ({"seconds": 5}, None),
    ],
)
def test_resets_are_read_in_each_form_that_gives_a_moment(written: Any, resets_ms: int | None) -> None:
    assert one(told(_USAGE, {"seven_day": {"utilization": 5, "resets_at": written}})).resets_ms == resets_ms


def test_a_window_that_counts_dollars_has_its_amounts() -> None:
    # The plans of companies, from full answers in public reports (September 2026).
    usage = {"seven_day": {"utilization": None, "resets_at": _RESET, "limit_dollars": 100, "used_dollars": 100.09}}

    reading = one(told(_USAGE, usage))

    assert (reading.used_ratio, reading.used_nano_usd, reading.limit_nano_usd) == (
        1.0009,
        100_090_000_000,
        100 * _DOLLAR,
    )


@pytest.mark.parametrize("key", ["iguana_necktie", "velvet_otter"])
def test_credits_that_were_given_once_are_no_window(key: str) -> None:
    # Read by public clients in October 2026: they expire after weeks, and pay for sessions in the cloud.
    given = {
        "utilization": 1.4,
        "resets_at": iso(NOW_MS + 30 * 24 * HOUR_MS),
        "limit_dollars": 250,
        "used_dollars": 3.5,
    }
    usage = {"five_hour": {"utilization": 8, "resets_at": _RESET}, key: given}

    assert windows(told(_USAGE, usage).readings) == {("5h", ""): 0.08}


@pytest.mark.parametrize("utilization", [40, None])
def test_a_window_may_state_the_dollars_that_remain(utilization: int | None) -> None:
    dollars = {"limit_dollars": 50, "remaining_dollars": 30}
    usage = {"seven_day": {"utilization": utilization, "resets_at": _RESET} | dollars}

    reading = one(told(_USAGE, usage))

    assert (reading.used_ratio, reading.used_nano_usd, reading.limit_nano_usd) == (0.4, 20 * _DOLLAR, 50 * _DOLLAR)


# --- money ------------------------------------------------------------------------------------------------------------


def test_extra_usage_is_a_limit_in_dollars_with_an_inferred_unit() -> None:
    (reading,) = [each for each in told_by("claude-usage").readings if each.scope == "extra-usage"]

    assert (reading.used_nano_usd, reading.limit_nano_usd) == (1_200_000_000, 50 * _DOLLAR)
    assert (reading.window_seconds, reading.resets_ms, reading.inferred) == (None, None, True)


@pytest.mark.parametrize(("percent", "spent", "status"), [(100, 4999, OVERAGE), (100, 5000, ""), (99, 4999, "")])
def test_requests_beyond_a_full_window_pass_while_extra_usage_has_money_left(
    percent: int, spent: int, status: str
) -> None:
    extra = {"is_enabled": True, "monthly_limit": 5000, "used_credits": spent}
    usage = {"five_hour": {"utilization": percent, "resets_at": _RESET}, "extra_usage": extra}

    session, cap = told(_USAGE, usage).readings

    assert (session.window, session.status, cap.status) == ("5h", status, "")


def test_extra_usage_in_its_newer_form_is_read_once_and_exactly() -> None:
    usage = {
        "extra_usage": {
            "is_enabled": True,
            "used_credits": 1234,
            "monthly_limit": 5000,
            "currency": "USD",
            "decimal_places": 2,
            "resets_at": iso(NOW_MS + 100 * HOUR_MS),
        },
        "spend": {
            "enabled": True,
            "used": {"amount_minor": 12345, "exponent": 3, "currency": "USD"},
            "limit": {"amount_minor": 50000, "exponent": 3, "currency": "USD"},
        },
    }

    reading = one(told(_USAGE, usage))

    assert (reading.used_nano_usd, reading.limit_nano_usd) == (12_345_000_000, 50 * _DOLLAR)
    assert (reading.resets_ms, reading.inferred) == (NOW_MS + 100 * HOUR_MS, False)


@pytest.mark.parametrize(
    "extra",
    [
        {"is_enabled": False, "monthly_limit": 5000, "used_credits": 120},
        {"is_enabled": True, "monthly_limit": None, "used_credits": 120},
        {"is_enabled": True, "monthly_limit": 0, "used_credits": 0},
        {"is_enabled": True, "monthly_limit": 5000, "used_credits": 120, "currency": "EUR"},
        {"is_enabled": True, "monthly_limit": 5000, "used_credits": "NaN"},
        {"is_enabled": True, "monthly_limit": 1e300, "used_credits": 1},
        [],
    ],
    ids=["switched off", "no limit", "a limit of nothing", "euros", "not a number", "beyond all money", "no object"],
)
def test_extra_usage_without_dollars_is_left_out(extra: Any) -> None:
    usage = {"five_hour": {"utilization": 1, "resets_at": _RESET}, "extra_usage": extra}

    assert windows(told(_USAGE, usage).readings) == {("5h", ""): 0.01}


# --- use elsewhere ----------------------------------------------------------------------------------------------------


def test_the_share_of_the_week_outside_the_proxy_is_everything_but_claude_code() -> None:
    assert _elsewhere(("claude_code", 90), ("chat", 0), ("cowork", 10), ("other", 0)) == 0.1


@pytest.mark.parametrize(
    ("rows", "ratio"),
    [
        ([("claude_code", 93)], 0.07),
        ([("claude_code", 100), ("chat", 0)], 0),
        ([("claude_code", 51), ("chat", 50)], 0.495049505),
        ([("claude_code", 0), ("chat", 100)], 1),
        ([("claude_code", 0), ("chat", 0)], None),
        ([("chat", 100)], None),
        ([("claude_code", None), ("chat", 3)], None),
        ([("claude_code", 400), ("chat", 300)], None),
        ([], None),
    ],
    ids=[
        "rows left out",
        "all of it",
        "rounded up",
        "none of it",
        "nothing used",
        "no row for Claude Code",
        "no percent",
        "more than all",
        "no rows",
    ],
)
def test_the_share_elsewhere_is_given_only_if_the_rows_have_it(
    rows: list[tuple[str, Any]], ratio: float | None
) -> None:
    assert _elsewhere(*rows) == ratio


# --- plans ------------------------------------------------------------------------------------------------------------


def test_the_recorded_profile_gives_the_plan_and_nothing_about_the_person() -> None:
    report = told_by("claude-profile")

    assert report.plan == "max-5x"
    assert not any(word in repr(report) for word in ("Alice", "Planted", "planted.example"))


@pytest.mark.parametrize(
    ("account", "organization", "plan"),
    [
        ({"has_claude_max": True}, {"rate_limit_tier": "default_claude_max_20x"}, "max-20x"),
        ({"has_claude_max": True}, {}, "max"),
        ({"has_claude_max": False, "has_claude_pro": True}, {}, "pro"),
        ({}, {"organization_type": "claude_team", "subscription_status": "active"}, "team"),
        ({}, {"organization_type": "claude_team", "subscription_status": "canceled"}, ""),
        ({}, {"organization_type": "claude_enterprise"}, "enterprise"),
        ({"has_claude_max": False, "has_claude_pro": False}, {}, "free"),
        ({"has_claude_max": None}, {"organization_type": "new"}, ""),
        ({"has_claude_max": "yes"}, {}, ""),
    ],
)
def test_the_plan_is_one_of_a_few_words(account: Any, organization: Any, plan: str) -> None:
    assert told(_PROFILE, {"account": account, "organization": organization}).plan == plan


@pytest.mark.parametrize("call", [_USAGE, _PROFILE])
@pytest.mark.parametrize("body", [{}, {"unrelated": 1}, [], None, 5, {"limits": "none"}])
def test_an_unknown_shape_is_not_an_answer(call: Any, body: Any) -> None:
    assert told(call, body).refusal is Refusal.UNREADABLE
