"""Claude's windows from response headers, and whatever else the headers may hold."""

import math

import pytest

from exporter.quotas.headers import allowed_headers
from exporter.quotas.reading import Reading
from tests.benches.headers import DATE, NOW, NOW_MS, claude, codex, named, read, read_one


def test_claude_windows_are_named_by_their_duration_and_scoped_by_their_tail() -> None:
    headers = claude("5h") | claude("7d") | claude("7d_opus") | claude("7d_oi") | claude("12h_new_thing")
    found = {(reading.window, reading.scope): reading.window_seconds for reading in read(headers)}

    assert found == {
        ("5h", ""): 18_000,
        ("7d", ""): 604_800,
        ("7d", "opus"): 604_800,
        ("7d", "fable"): 604_800,
        ("12h", "new-thing"): 43_200,
    }


def test_names_ignore_case_and_the_first_value_that_is_not_empty_counts() -> None:
    headers = {name.upper(): ["", " ", value, "0.99"] for name, value in claude(utilization="0.4").items()}

    assert read_one(headers) == Reading(
        window="5h",
        scope="",
        window_seconds=18_000,
        used_ratio=0.4,
        resets_ms=(NOW + 3600) * 1000,
        status="",
        observed_ms=NOW_MS,
        inferred=False,
        source="header",
    )


def test_a_share_may_exceed_1() -> None:
    assert read_one(claude(utilization="1.13", status="rejected")).used_ratio == 1.13


@pytest.mark.parametrize(
    ("sent", "status"),
    [("allowed", "allowed"), ("allowed_warning", "warning"), ("rejected", "rejected"), ("on_fire", ""), ("", "")],
)
def test_a_status_is_one_of_three_or_unknown(sent: str, status: str) -> None:
    assert read_one(claude(status=sent)).status == status


@pytest.mark.parametrize(
    "reset",
    [
        "1787313600",
        "1787313600.0",
        "1787313600000",
        "1.7873136e9",
        "2026-08-21T12:00:00Z",
        "2026-08-21T14:00:00+02:00",
        "2026-08-21T12:00:00.000000+00:00",
        "Fri, 21 Aug 2026 12:00:00 GMT",
    ],
    ids=["seconds", "a float", "milliseconds", "an exponent", "RFC 3339", "with a zone", "microseconds", "HTTP date"],
)
def test_a_reset_is_read_in_each_form_that_the_proxy_knows(reset: str) -> None:
    assert read_one(claude(reset=reset)).resets_ms == 1_787_313_600_000


@pytest.mark.parametrize(
    "reset",
    ["", "soon", "nan", "-1", "0", "1e400", "2026-08-21T12:00:00", "Fri, 99 Foo 2026 12:00:00 GMT", "9" * 60],
)
def test_a_window_without_a_usable_reset_has_none(reset: str) -> None:
    reading = read_one(claude(reset=reset))

    assert (reading.used_ratio, reading.resets_ms, reading.inferred) == (0.21, None, False)


@pytest.mark.parametrize(
    ("seconds_ahead", "kept"),
    [(-62 * 86_400, True), (-62 * 86_400 - 1, False), (62 * 86_400, True), (62 * 86_400 + 1, False)],
)
def test_a_reset_is_near_the_moment_of_the_reading(seconds_ahead: int, kept: bool) -> None:
    reading = read_one(claude(reset=str(NOW + seconds_ahead)))

    assert reading.resets_ms == ((NOW + seconds_ahead) * 1000 if kept else None)


@pytest.mark.parametrize(
    ("claim", "slug", "taken"),
    [
        ("five_hour", "5h", True),
        ("seven_day", "7d", True),
        ("seven_day_opus", "7d_opus", True),
        ("seven_day_opus", "7d", False),
        ("seven_day", "5h", False),
        ("seven_days", "7d", False),
        ("seven_dayopus", "7d_opus", False),
    ],
)
def test_only_the_decisive_window_gets_the_overall_reset_for_a_missing_one(claim: str, slug: str, taken: bool) -> None:
    prefix = "Anthropic-Ratelimit-Unified-"
    headers = {f"{prefix}Representative-Claim": claim, f"{prefix}Reset": str(NOW + 60)}
    reading = read_one(claude(slug, reset="") | headers)

    assert (reading.resets_ms, reading.inferred) == ((NOW_MS + 60_000, True) if taken else (None, False))


@pytest.mark.parametrize(
    "slug",
    ["0h", "9999d", "99999h", "5m", "h", "5h_", "5h_Ω", "5h_opus4", "7d-opus", "7d_" + "x" * 40, "7d___", "\u0665h"],
)
def test_a_malformed_slug_or_an_impossible_duration_is_not_a_window(slug: str) -> None:
    assert read(claude(slug)) == []


@pytest.mark.parametrize(
    "used",
    ["", "nan", "inf", "-inf", "-0.1", "1e5", "1e999", "0x1", "1_0", "\u0660.\u0665", "21%", "None", "9" * 400],
)
def test_a_used_share_that_is_not_a_sane_number_makes_no_window(used: str) -> None:
    assert read(claude(utilization=used)) == []
    assert read(codex(used_percent=used.replace("1e5", "1e7")), provider="codex", model="gpt-5.4") == []


@pytest.mark.parametrize("used", ["", "nan", "1e5"])
def test_a_rejection_without_a_share_is_a_full_window(used: str) -> None:
    reading = read_one(claude(utilization=used, status="rejected"))

    assert (reading.used_ratio, reading.ratio_inferred, reading.inferred) == (1.0, True, True)
    assert (reading.window, reading.resets_ms) == ("5h", (NOW + 3600) * 1000)


@pytest.mark.parametrize("status", ["allowed", "allowed_warning", ""])
def test_without_a_share_and_a_rejection_there_is_no_window(status: str) -> None:
    assert read(claude(utilization="", status=status)) == []


def test_a_rejection_with_a_share_keeps_it() -> None:
    reading = read_one(claude(utilization="0.97", status="rejected"))

    assert (reading.used_ratio, reading.ratio_inferred) == (0.97, False)


_REJECTED = {"Date": DATE, "Anthropic-Ratelimit-Unified-Status": "rejected"}


@pytest.mark.parametrize(
    ("claim", "window", "scope"),
    [("five_hour", "5h", ""), ("seven_day_opus", "7d", "opus"), ("overage", "account", ""), ("", "account", "")],
)
def test_a_rejection_without_its_window_applies_to_the_one_that_decides_or_else_to_the_account(
    claim: str, window: str, scope: str
) -> None:
    told = _REJECTED | {
        "Anthropic-Ratelimit-Unified-Representative-Claim": claim,
        "Anthropic-Ratelimit-Unified-Reset": str(NOW + 600),
    }
    found = {(reading.window, reading.scope): reading for reading in read(told | claude("12h", status="allowed"))}

    assert {key: reading.used_ratio for key, reading in found.items()} == {("12h", ""): 0.21, (window, scope): 1.0}
    rejected = found[window, scope]
    assert (rejected.ratio_inferred, rejected.ends_ms) == (True, (NOW + 600) * 1000)


def test_a_rejection_that_states_nothing_else_applies_to_the_account_until_a_window_is_read() -> None:
    reading = read_one(_REJECTED)

    assert (reading.window, reading.used_ratio, reading.ends_ms) == ("account", 1.0, None)


def test_a_rejection_applies_to_the_windows_that_say_so_and_to_no_other() -> None:
    fable = claude("7d_oi", status="rejected", utilization="")
    found = read(_REJECTED | fable | claude("7d", status="allowed"))

    assert named(found) == [("7d", "", 0.21), ("7d", "fable", 1.0)]


@pytest.mark.parametrize("claim", ["overage", "five_hour", ""])
def test_a_rejection_is_not_the_accounts_where_its_session_and_its_week_are_allowed(claim: str) -> None:
    told = _REJECTED | {"Anthropic-Ratelimit-Unified-Representative-Claim": claim}
    fable = claude("7d_oi", status="", utilization="1.01")
    found = read(told | fable | claude("5h", status="allowed") | claude("7d", status="allowed_warning"))

    assert named(found) == [("5h", "", 0.21), ("7d", "", 0.21), ("7d", "fable", 1.01)]


@pytest.mark.parametrize(
    ("overage", "status"), [("allowed", "overage"), ("allowed_warning", "overage"), ("rejected", "rejected")]
)
def test_a_full_window_allows_requests_that_are_paid_as_extra_usage(overage: str, status: str) -> None:
    told = _REJECTED | {"Anthropic-Ratelimit-Unified-Overage-Status": overage}
    found = read(
        told | claude("5h", status="rejected", utilization="1.02") | claude("7d", status="rejected", utilization="")
    )

    assert named(found) == [("5h", "", 1.02), ("7d", "", 1.0)]
    assert [reading.status for reading in found] == [status, status]
    assert named(read(told)) == ([("account", "", 1.0)] if overage == "rejected" else [])


@pytest.mark.parametrize("used", ["-0.0", "-0", "-0.00"])
def test_a_signed_zero_is_zero(used: str) -> None:
    for reading in (
        read_one(claude(utilization=used)),
        read_one(codex(used_percent=used), provider="codex", model="gpt-5.4"),
    ):
        assert (reading.used_ratio, math.copysign(1, reading.used_ratio)) == (0, 1)


@pytest.mark.parametrize("slug", ["7d_oi", "7d_iguana_necktie", "iguana_necktie", "7d_fable", "7d_Fable"])
def test_the_names_of_the_fable_week_mean_one_window(slug: str) -> None:
    reading = read_one(claude(slug))

    assert (reading.window, reading.scope, reading.window_seconds) == ("7d", "fable", 604_800)


def test_the_claim_of_the_fable_week_has_its_reset() -> None:
    prefix = "Anthropic-Ratelimit-Unified-"
    overall = {f"{prefix}Representative-Claim": "seven_day_overage_included", f"{prefix}Reset": str(NOW + 60)}

    assert read_one(claude("7d_oi", reset="") | overall).resets_ms == NOW_MS + 60_000


# --- the end of a window ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "reset_in", "end_in"),
    [
        ("0", 18_000, None),
        ("0", 17_880, None),
        ("0", 18_120, None),
        ("-0.0", 18_000, None),
        ("0", 17_879, 17_879),
        ("0.01", 18_000, 18_000),
        ("1", -1, None),
        ("1", 0, None),
        ("1", -5 * 86_400, None),
        ("1", 1, 1),
    ],
    ids=["untouched", "jitters back", "jitters on", "signed", "started", "used", "read late", "at it", "days", "ahead"],
)
def test_a_window_that_has_not_started_or_outlives_its_reset_has_no_end(
    used: str, reset_in: int, end_in: int | None
) -> None:
    reading = read_one(claude(utilization=used, reset=str(NOW + reset_in)))

    assert reading.ends_ms == (None if end_in is None else (NOW + end_in) * 1000)


def test_the_answers_of_two_models_add_up_to_three_windows() -> None:
    of_opus = read(claude("7d") | claude("7d_opus"), model="claude-opus-4-6")
    of_sonnet = read(claude("5h") | claude("7d"), model="claude-sonnet-4-5")

    assert {(reading.window, reading.scope) for reading in of_opus + of_sonnet} == {
        ("5h", ""),
        ("7d", ""),
        ("7d", "opus"),
    }


def test_a_429_without_its_headers_says_nothing() -> None:
    assert read({"Date": DATE, "Retry-After": "30", "X-Should-Retry": "true"}) == []


def test_buckets_of_api_keys_are_not_windows() -> None:
    headers = {
        "Date": DATE,
        "Anthropic-Ratelimit-Tokens-Limit": "80000",
        "Anthropic-Ratelimit-Tokens-Remaining": "79000",
        "Anthropic-Ratelimit-Tokens-Reset": "2026-08-21T10:01:00Z",
        "X-Ratelimit-Remaining-Requests": "5",
        "X-Ratelimit-Limit-Requests": "500",
    }
    assert allowed_headers(headers) == {"date": DATE}
    assert read(headers) == []
