"""Providers' windows out of response headers: what recorded answers give, and whatever else a header can hold."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.normalize.redact import response_identity, takes_windows
from exporter.quotas.header_allowlist import MAX_BYTES, MAX_HEADERS, allowed_headers
from exporter.quotas.headers import read_headers, read_signals
from exporter.quotas.reading import MAX_SLUG, MAX_WINDOWS, Reading, slugged, window_name
from tests.fakes.recordings import ROOT, batch_bodies, batches, recorded, secrets

_NOW_MS = 1_787_306_405_000  # 2026-08-21 10:00:05 UTC
_NOW = _NOW_MS // 1000
_DATE = "Fri, 21 Aug 2026 10:00:05 GMT"
_DAY_MS = 86_400_000
_SPARK = "gpt-5.3-codex-spark"


def _read(headers: dict[str, Any], *, provider: str = "claude", model: str = "", **times: int) -> list[Reading]:
    """The windows of a record with these raw headers, received two seconds after they were sent."""
    at = {"started_ms": _NOW_MS - 900, "ttft_ms": 900, "latency_ms": 1900, "received_ms": _NOW_MS + 2000} | times
    return read_headers(allowed_headers(headers), provider=provider, model=model, **at)


def _claude(slug: str = "5h", **values: str) -> dict[str, str]:
    fields = {"utilization": "0.21", "reset": str(_NOW + 3600)} | values
    return {"Date": _DATE} | {f"Anthropic-Ratelimit-Unified-{slug}-{name}": value for name, value in fields.items()}


def _codex(position: str = "Primary", **values: str | None) -> dict[str, str]:
    fields = {"used_percent": "12.5", "window_minutes": "300", "reset_at": str(_NOW + 3600)} | values
    return {"Date": _DATE} | {
        f"X-Codex-{position}-{name.replace('_', '-')}": value for name, value in fields.items() if value is not None
    }


def _one(headers: dict[str, Any], **record: Any) -> Reading:
    (reading,) = _read(headers, **record)
    return reading


def _windows(readings: list[Reading]) -> list[tuple[str, str, float]]:
    return [(reading.window, reading.scope, reading.used_ratio) for reading in readings]


# --- recorded answers -------------------------------------------------------------------------------------------------


def _main(used_5h: float, used_7d: float) -> list[tuple[str, str, float]]:
    return [("5h", "", used_5h), ("7d", "", used_7d)]


def _with_spark(used_5h: float, used_7d: float) -> list[tuple[str, str, float]]:
    return [*_main(used_5h, used_7d), ("5h", _SPARK, 0)]


def _with_opus(used_5h: float, used_7d: float, opus: float) -> list[tuple[str, str, float]]:
    return [*_main(used_5h, used_7d), ("7d", "opus", opus)]


# Per file: the records that give windows, by their place in the body. All others give none.
_RECORDED: dict[str, dict[int, list[tuple[str, str, float]]]] = {
    "claude-oauth": {
        0: _main(0.1001, 0.05),
        1: _main(0.1001, 0.0501),
        2: _main(0.1002, 0.0501),
        3: _with_opus(0.1001, 0.05, 0.0333),
        4: _with_opus(0.1001, 0.0501, 0.0334),
        5: _with_opus(0.1002, 0.0501, 0.0334),
    },
    "codex-oauth": dict.fromkeys(range(6), _with_spark(0.1, 0.05)),
    # A stream that broke is a failure without a status of the upstream's; three were answered to the end.
    "broken-streams": {6: _main(0.1008, 0.0504), 7: _with_spark(0.101, 0.05), 12: _with_spark(0.101, 0.05)},
    # 403 and 429; the 400, 401, 500 and 529 have headers too, but a status that the proxy may have made up.
    "failures-by-status": {
        11: _main(0.1003, 0.0502),
        12: _main(0.1004, 0.0502),
        13: _with_spark(0.1, 0.05),
        14: _with_spark(0.1, 0.05),
        23: _main(1.0, 0.0502),
        24: _main(1.0, 0.0502),
        25: _with_spark(1.0, 0.05),
        26: _with_spark(1.0, 0.05),
    },
    "retries-and-failover": {2: _with_spark(1.0, 0.05), 3: _with_spark(0.1, 0.05), 6: _main(0.1007, 0.0504)},
    # The second account of each pair died without an answer and shows the first one's headers.
    "stale-headers": {0: _main(1.0, 0.0505), 2: _with_spark(1.0, 0.05)},
    "cooldown": {0: _main(1.0, 0.0501)},
    "oddities": {
        0: _with_spark(0.101, 0.051),
        1: _main(0.1011, 0.0505),
        2: _main(0.1011, 0.0506),
        3: _with_spark(0.101, 0.051),
        4: _with_spark(0.101, 0.051),
        5: _with_spark(0.101, 0.051),
        6: _with_spark(0.101, 0.051),  # the image tool's second record: the same response, so the same windows
    },
    "antigravity-oauth": {},
    "claude-apikey": {},
    "codex-apikey": {},
    "cooldown-refused": {},
    "gemini-apikey": {},
    "kimi-oauth": {},  # recorded as claude, without claude's headers
    "open-proxy": {},
    "openai-compat": {},
    "vertex-apikey": {},
    "xai": {},
}
_RESETS_MS = {"5h": 1_795_536_000_000, "7d": 1_795_651_200_000}


def _of_record(record: dict[str, Any]) -> list[Reading]:
    if not takes_windows(record["failed"], record["fail"]["status_code"]):
        return []
    started_ms = int(datetime.fromisoformat(record["timestamp"]).timestamp() * 1000)
    return read_headers(
        allowed_headers(record.get("response_headers") or {}),
        provider=record["provider"],
        model=record["model"],
        started_ms=started_ms,
        ttft_ms=record.get("ttft_ms", 0),
        latency_ms=record["latency_ms"],
        received_ms=started_ms + 5_000,
    )


def test_every_batch_with_a_truth_file_has_its_windows_written_down() -> None:
    assert {batch for batch in batches("v7.2.140") if batch != "seeded"} <= set(_RECORDED)


@pytest.mark.parametrize("batch", list(_RECORDED))
def test_a_recorded_batch_gives_the_windows_that_its_headers_say(batch: str) -> None:
    records = recorded(f"v7.2.140/usage-queue/{batch}.json")["body"]
    readings = {place: _of_record(record) for place, record in enumerate(records)}

    assert {place: _windows(found) for place, found in readings.items() if found} == _RECORDED[batch]
    for found in readings.values():
        for reading in found:
            assert reading.resets_ms == _RESETS_MS[reading.window]
            assert (reading.inferred, reading.source) == (False, "header")


def test_seeded_traffic_gives_windows_for_accounts_of_two_providers_and_opus_only_for_opus() -> None:
    truth = recorded("v7.2.140/usage-queue/seeded.truth.json")
    accounts = {
        served["auth_index"]: served["credential"].partition("-")[0]
        for served in truth["served"]
        if served["kind"] == "oauth" and served["credential"].startswith(("claude-", "codex-"))
    }
    seen = 0
    for body in batch_bodies("v7.2.140", "seeded"):
        for record in json.loads(body):
            found = {(reading.window, reading.scope) for reading in _of_record(record)}
            account = accounts.get(record["auth_index"])
            expected: set[tuple[str, str]] = set()
            if account is not None and not record["failed"]:
                expected = {("5h", ""), ("7d", "")}
                if account == "codex":
                    expected.add(("5h", _SPARK))
                if "opus" in record["model"]:
                    expected.add(("7d", "opus"))
                seen += 1
            assert found == expected
    assert seen > 30


def test_the_status_of_a_full_window_is_kept() -> None:
    record = recorded("v7.2.140/usage-queue/stale-headers.json")["body"][0]

    assert [(reading.window, reading.status) for reading in _of_record(record)] == [
        ("5h", "rejected"),
        ("7d", "allowed"),
    ]


@pytest.mark.parametrize("version", ["v7.1.0", "v8-constructed"])
def test_other_versions_give_windows_only_where_they_send_headers(version: str) -> None:
    path = (
        "v8-constructed/usage-queue.json" if version == "v8-constructed" else f"{version}/usage-queue/claude-oauth.json"
    )
    found = [len(_of_record(record)) for record in recorded(path)["body"]]

    assert found == ([0] * 6 if version == "v7.1.0" else [2, 2, 2, 3, 3])


def test_recorded_auth_files_hold_no_signals_and_give_no_windows() -> None:
    entries = 0
    for path in sorted(ROOT.glob("*/auth-files-*.json")):
        for entry in recorded(str(path.relative_to(ROOT)))["body"]["files"]:
            entries += 1
            assert read_signals(entry, received_ms=1_795_534_000_000) == []
    assert entries > 0


# --- the same response under another account --------------------------------------------------------------------------


def test_stale_headers_have_the_identity_of_the_response_they_came_with() -> None:
    first, second, third, fourth = (
        response_identity(record["response_headers"])
        for record in recorded("v7.2.140/usage-queue/stale-headers.json")["body"]
    )

    assert first == second != ""
    assert third == fourth != ""
    assert first != third


@pytest.mark.parametrize("name", ["Request-Id", "x-request-id", "CF-RAY"])
def test_a_response_is_told_by_its_id(name: str) -> None:
    one, other = response_identity({name: ["a1"]}), response_identity({name: ["b2"]})

    assert one != other
    assert response_identity({name.swapcase(): "a1"}) == one


def test_without_an_id_the_moment_and_the_values_tell_a_response() -> None:
    one = _claude()

    assert response_identity(one) == response_identity({name.upper(): [value] for name, value in one.items()}) != ""
    assert response_identity(one) != response_identity(_claude(utilization="0.22"))
    assert response_identity(one) != response_identity(one | {"Date": "Fri, 21 Aug 2026 10:00:06 GMT"})


@pytest.mark.parametrize(
    "headers",
    [{}, {"Date": _DATE}, {"Request-Id": [""]}, {"Request-Id": ["x" * 1000]}, _claude() | {"Date": ""}],
    ids=["nothing", "a date is shared by many", "empty id", "no id is that long", "values without a moment"],
)
def test_some_responses_cannot_be_told(headers: dict[str, Any]) -> None:
    assert response_identity(headers) == ""


@pytest.mark.parametrize(
    ("failed", "status", "takes"),
    [
        (False, 200, True),
        (True, 429, True),
        (True, 403, True),
        (True, 402, True),
        (True, 500, False),
        (True, 401, False),
        (True, 408, False),
        (True, 200, False),
        (True, 0, False),
    ],
)
def test_a_failure_is_believed_only_with_a_status_of_the_upstream(failed: bool, status: int, takes: bool) -> None:
    assert takes_windows(failed, status) is takes


# --- claude -----------------------------------------------------------------------------------------------------------


def test_claude_windows_are_named_by_their_duration_and_scoped_by_their_tail() -> None:
    headers = _claude("5h") | _claude("7d") | _claude("7d_opus") | _claude("7d_oi") | _claude("12h_new_thing")
    found = {(reading.window, reading.scope): reading.window_seconds for reading in _read(headers)}

    assert found == {
        ("5h", ""): 18_000,
        ("7d", ""): 604_800,
        ("7d", "opus"): 604_800,
        ("7d", "fable"): 604_800,
        ("12h", "new-thing"): 43_200,
    }


def test_names_are_read_without_case_and_the_first_value_that_is_not_empty_counts() -> None:
    headers = {name.upper(): ["", " ", value, "0.99"] for name, value in _claude(utilization="0.4").items()}

    assert _one(headers) == Reading(
        window="5h",
        scope="",
        window_seconds=18_000,
        used_ratio=0.4,
        resets_ms=(_NOW + 3600) * 1000,
        status="",
        observed_ms=_NOW_MS,
        inferred=False,
        source="header",
    )


def test_more_than_everything_can_be_used() -> None:
    assert _one(_claude(utilization="1.13", status="rejected")).used_ratio == 1.13


@pytest.mark.parametrize(
    ("sent", "status"),
    [("allowed", "allowed"), ("allowed_warning", "warning"), ("rejected", "rejected"), ("on_fire", ""), ("", "")],
)
def test_a_status_is_one_of_three_or_unknown(sent: str, status: str) -> None:
    assert _one(_claude(status=sent)).status == status


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
    assert _one(_claude(reset=reset)).resets_ms == 1_787_313_600_000


@pytest.mark.parametrize(
    "reset",
    ["", "soon", "nan", "-1", "0", "1e400", "2026-08-21T12:00:00", "Fri, 99 Foo 2026 12:00:00 GMT", "9" * 60],
)
def test_a_window_without_a_usable_reset_stays_without_one(reset: str) -> None:
    reading = _one(_claude(reset=reset))

    assert (reading.used_ratio, reading.resets_ms, reading.inferred) == (0.21, None, False)


@pytest.mark.parametrize(
    ("seconds_ahead", "kept"),
    [(-62 * 86_400, True), (-62 * 86_400 - 1, False), (62 * 86_400, True), (62 * 86_400 + 1, False)],
)
def test_a_reset_is_near_the_moment_of_the_reading(seconds_ahead: int, kept: bool) -> None:
    reading = _one(_claude(reset=str(_NOW + seconds_ahead)))

    assert reading.resets_ms == ((_NOW + seconds_ahead) * 1000 if kept else None)


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
def test_a_missing_reset_is_the_overall_one_only_for_the_window_that_decides(
    claim: str, slug: str, taken: bool
) -> None:
    prefix = "Anthropic-Ratelimit-Unified-"
    headers = {f"{prefix}Representative-Claim": claim, f"{prefix}Reset": str(_NOW + 60)}
    reading = _one(_claude(slug, reset="") | headers)

    assert (reading.resets_ms, reading.inferred) == ((_NOW_MS + 60_000, True) if taken else (None, False))


@pytest.mark.parametrize(
    "slug",
    ["0h", "9999d", "99999h", "5m", "h", "5h_", "5h_Ω", "5h_opus4", "7d-opus", "7d_" + "x" * 40, "7d___", "\u0665h"],
)
def test_a_slug_of_another_shape_or_an_impossible_duration_is_no_window(slug: str) -> None:
    assert _read(_claude(slug)) == []


@pytest.mark.parametrize(
    "used",
    ["", "nan", "inf", "-inf", "-0.1", "1e5", "1e999", "0x1", "1_0", "\u0660.\u0665", "21%", "None", "9" * 400],
)
def test_a_used_share_that_is_no_sane_number_is_no_window(used: str) -> None:
    assert _read(_claude(utilization=used)) == []
    assert _read(_codex(used_percent=used.replace("1e5", "1e7")), provider="codex", model="gpt-5.4") == []


@pytest.mark.parametrize("used", ["", "nan", "1e5"])
def test_a_rejection_without_a_share_is_a_full_window(used: str) -> None:
    reading = _one(_claude(utilization=used, status="rejected"))

    assert (reading.used_ratio, reading.ratio_inferred, reading.inferred) == (1.0, True, True)
    assert (reading.window, reading.resets_ms) == ("5h", (_NOW + 3600) * 1000)


@pytest.mark.parametrize("status", ["allowed", "allowed_warning", ""])
def test_without_a_share_and_a_rejection_there_is_no_window(status: str) -> None:
    assert _read(_claude(utilization="", status=status)) == []


def test_a_rejection_with_a_share_keeps_it() -> None:
    reading = _one(_claude(utilization="0.97", status="rejected"))

    assert (reading.used_ratio, reading.ratio_inferred) == (0.97, False)


@pytest.mark.parametrize("used", ["-0.0", "-0", "-0.00"])
def test_a_zero_with_a_sign_is_zero(used: str) -> None:
    for reading in (
        _one(_claude(utilization=used)),
        _one(_codex(used_percent=used), provider="codex", model="gpt-5.4"),
    ):
        assert (reading.used_ratio, math.copysign(1, reading.used_ratio)) == (0, 1)


@pytest.mark.parametrize("slug", ["7d_oi", "7d_iguana_necktie", "iguana_necktie", "7d_fable", "7d_Fable"])
def test_the_names_of_the_fable_week_are_one_window(slug: str) -> None:
    reading = _one(_claude(slug))

    assert (reading.window, reading.scope, reading.window_seconds) == ("7d", "fable", 604_800)


def test_the_claim_of_the_fable_week_has_its_reset() -> None:
    prefix = "Anthropic-Ratelimit-Unified-"
    overall = {f"{prefix}Representative-Claim": "seven_day_overage_included", f"{prefix}Reset": str(_NOW + 60)}

    assert _one(_claude("7d_oi", reset="") | overall).resets_ms == _NOW_MS + 60_000


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
    reading = _one(_claude(utilization=used, reset=str(_NOW + reset_in)))

    assert reading.ends_ms == (None if end_in is None else (_NOW + end_in) * 1000)


def test_what_two_models_answer_adds_up_to_three_windows() -> None:
    of_opus = _read(_claude("7d") | _claude("7d_opus"), model="claude-opus-4-6")
    of_sonnet = _read(_claude("5h") | _claude("7d"), model="claude-sonnet-4-5")

    assert {(reading.window, reading.scope) for reading in of_opus + of_sonnet} == {
        ("5h", ""),
        ("7d", ""),
        ("7d", "opus"),
    }


def test_a_429_without_its_headers_says_nothing() -> None:
    assert _read({"Date": _DATE, "Retry-After": "30", "X-Should-Retry": "true"}) == []


def test_buckets_of_api_keys_are_no_windows() -> None:
    headers = {
        "Date": _DATE,
        "Anthropic-Ratelimit-Tokens-Limit": "80000",
        "Anthropic-Ratelimit-Tokens-Remaining": "79000",
        "Anthropic-Ratelimit-Tokens-Reset": "2026-08-21T10:01:00Z",
        "X-Ratelimit-Remaining-Requests": "5",
        "X-Ratelimit-Limit-Requests": "500",
    }
    assert allowed_headers(headers) == {"date": _DATE}
    assert _read(headers) == []


# --- codex ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minutes", "window"),
    [
        ("300", "5h"),
        ("300.0", "5h"),
        ("10080", "7d"),
        ("1440", "1d"),
        ("90", "90m"),
        ("40320", "month"),
        ("43200", "month"),
        ("43800", "month"),
        ("44640", "month"),
        ("46080", "32d"),
    ],
)
def test_a_codex_window_is_named_by_its_minutes_whatever_its_position(minutes: str, window: str) -> None:
    for position in ("Primary", "Secondary"):
        reading = _one(_codex(position, window_minutes=minutes), provider="codex", model="gpt-5.4")
        assert (reading.window, reading.window_seconds) == (window, int(float(minutes)) * 60)


def test_a_weekly_primary_needs_no_secondary() -> None:
    assert _windows(_read(_codex(window_minutes="10080"), provider="codex", model="gpt-5.4")) == [("7d", "", 0.125)]


@pytest.mark.parametrize(
    ("minutes", "window", "seconds"),
    [
        ("299", "5h", 18_000),
        ("303", "5h", 18_000),
        ("304", "304m", 18_240),
        ("10079", "7d", 604_800),
        ("40316", "40316m", 2_418_960),
        ("40317", "month", 2_419_200),
        ("90", "90m", 5_400),
        ("2", "2m", 120),
    ],
)
def test_a_window_of_some_minutes_more_or_less_than_whole_hours_is_the_same_window(
    minutes: str, window: str, seconds: int
) -> None:
    reading = _one(_codex(window_minutes=minutes), provider="codex", model="gpt-5.4")

    assert (reading.window, reading.window_seconds) == (window, seconds)


@pytest.mark.parametrize(
    "gap",
    [
        {"used_percent": None},
        {"window_minutes": None},
        {"window_minutes": "0"},
        {"window_minutes": "10080.5"},
        {"window_minutes": "99999999"},
        {"reset_at": None},
        {"reset_at": "0"},
        {"reset_at": "", "reset_after_seconds": "-5"},
        {"reset_at": "", "reset_after_seconds": "1e9"},
    ],
)
def test_a_half_filled_window_is_ignored_and_the_other_kept(gap: dict[str, str | None]) -> None:
    headers = _codex("Primary") | _codex("Secondary", **({"window_minutes": "10080"} | gap))

    assert _windows(_read(headers, provider="codex", model="gpt-5.4")) == [("5h", "", 0.125)]


@pytest.mark.parametrize(
    ("reset_at", "after", "resets_ms", "inferred"),
    [
        (str(_NOW + 100), "7", _NOW_MS + 100_000, False),
        (str(_NOW_MS + 100_000), None, _NOW_MS + 100_000, False),
        (None, "7", _NOW_MS + 7_000, True),
        ("0", "7", _NOW_MS + 7_000, True),
        (None, "0", _NOW_MS, True),
    ],
    ids=["absolute before relative", "milliseconds", "relative to the Date", "0 is no moment", "just over"],
)
def test_an_absolute_reset_is_preferred(
    reset_at: str | None, after: str | None, resets_ms: int, inferred: bool
) -> None:
    headers = _codex(reset_at=reset_at, reset_after_seconds=after)
    reading = _one(headers, provider="codex", model="gpt-5.4")

    assert (reading.resets_ms, reading.inferred) == (resets_ms, inferred)


@pytest.mark.parametrize(
    ("model", "scope"),
    [
        ("gpt-5.4", ""),
        ("gpt-image-2", ""),
        ("gpt-5.3-codex-spark", _SPARK),
        ("GPT-5.3-Codex-Spark", _SPARK),
        ("carol/gpt-5.3-codex-spark(high)", _SPARK),
        ("gpt-5.3-codex-spark-high", _SPARK),
        ("模型", ""),
        ("", None),
        ("unknown", None),
        ("carol/", None),
    ],
)
def test_the_model_that_answered_decides_whose_the_windows_without_a_group_are(model: str, scope: str | None) -> None:
    headers = _codex() | {"X-Codex-Active-Limit": "codex_bengalfox"}

    found = _read(headers, provider="codex", model=model)
    assert [reading.scope for reading in found] == ([] if scope is None else [scope])


def test_an_idle_spark_window_does_not_hide_the_full_main_one() -> None:
    spark = _codex(used_percent="0") | {"X-Codex-Active-Limit": "codex_bengalfox"}
    main = _codex(used_percent="97") | {"X-Codex-Active-Limit": "codex"}
    found = _read(main, provider="codex", model="gpt-5.4") + _read(spark, provider="codex", model=_SPARK)

    assert _windows(found) == [("5h", "", 0.97), ("5h", _SPARK, 0.0)]


def test_a_group_is_scoped_by_its_name_and_believed_before_what_the_model_suggests() -> None:
    group = _codex("Bengalfox-Primary", used_percent="40") | {"X-Codex-Bengalfox-Limit-Name": "GPT-5.3-Codex-Spark"}

    with_main = _read(_codex() | group, provider="codex", model="gpt-5.4")
    with_spark = _read(_codex() | group, provider="codex", model=_SPARK)
    assert _windows(with_main) == [("5h", "", 0.125), ("5h", _SPARK, 0.4)]
    assert _windows(with_spark) == [("5h", _SPARK, 0.4)]
    assert _windows(_read(group, provider="codex", model="")) == [("5h", _SPARK, 0.4)]


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("Code Review (beta)", "code-review-beta"),
        ('x"} 1\ncliproxy_up 0', "wombat"),
        ("../../etc/passwd", "wombat"),
        ("<script>", "wombat"),
        ("ÄÖÜ", "wombat"),
        ("someone@planted.example", "wombat"),
        ("n" * 33, "wombat"),
        ("n" * 32, "n" * 32),
        ("", "wombat"),
    ],
)
def test_a_hostile_name_of_a_group_is_slugged_or_the_groups_id_stands_for_it(name: str, scope: str) -> None:
    headers = _codex("Wombat-Primary") | {"X-Codex-Wombat-Limit-Name": name}

    assert _one(headers, provider="codex", model="gpt-5.4").scope == scope


def test_of_two_windows_of_one_name_the_fuller_counts() -> None:
    headers = _codex("Primary", used_percent="10") | _codex("Secondary", used_percent="90")
    assert _windows(_read(headers, provider="codex", model="gpt-5.4")) == [("5h", "", 0.9)]
    assert _windows(_read(_claude("7d", utilization="0.3") | _claude("168h", utilization="0.2"))) == [("7d", "", 0.3)]


def test_a_flood_of_scopes_is_bounded_and_the_accounts_own_windows_stay() -> None:
    headers: dict[str, str] = {}
    for number in range(40):
        headers |= _claude(f"7d_{chr(97 + number % 26) * (1 + number // 26)}")
    headers |= _claude("5h") | _claude("7d")
    allowed = {name.lower(): value for name, value in headers.items()}
    at = {"started_ms": _NOW_MS, "ttft_ms": 0, "latency_ms": 0, "received_ms": _NOW_MS}
    found = read_headers(allowed, provider="claude", model="", **at)

    assert len(found) == MAX_WINDOWS
    assert [(reading.window, reading.scope) for reading in found[:2]] == [("5h", ""), ("7d", "")]


@pytest.mark.parametrize("provider", ["kimi", "xai", "openai-compatible-openrouter", "unknown", ""])
def test_other_providers_have_no_windows_in_headers(provider: str) -> None:
    assert _read(_claude() | _codex(), provider=provider, model="gpt-5.4") == []
    assert len(_read(_claude() | _codex(), provider="claude", model="gpt-5.4")) == 1


# --- the moment of a reading ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("date", "times", "observed_ms"),
    [
        (_DATE, {}, _NOW_MS),
        ("", {"started_ms": _NOW_MS - 5000, "ttft_ms": 900, "latency_ms": 4000}, _NOW_MS - 4100),
        ("", {"started_ms": _NOW_MS - 5000, "ttft_ms": 0, "latency_ms": 4000}, _NOW_MS - 1000),
        ("", {"started_ms": _NOW_MS - 5000, "ttft_ms": 0, "latency_ms": 0}, _NOW_MS - 5000),
        ("yesterday", {"started_ms": _NOW_MS - 5000, "ttft_ms": 900}, _NOW_MS - 4100),
        ("Thu, 20 Aug 2026 10:00:06 GMT", {}, _NOW_MS),
        ("Thu, 20 Aug 2026 10:00:07 GMT", {}, _NOW_MS - _DAY_MS + 2000),
        ("Fri, 21 Aug 2026 10:05:07 GMT", {}, _NOW_MS + 302_000),
        ("Fri, 21 Aug 2026 10:05:08 GMT", {}, _NOW_MS),
        ("", {"started_ms": _NOW_MS + 40_000_000, "ttft_ms": 0}, _NOW_MS + 2000),
    ],
    ids=[
        "the Date header",
        "the first token",
        "the end",
        "the start",
        "a Date that is none",
        "more than a day behind",
        "a day behind",
        "five minutes ahead",
        "more than five minutes ahead: it would shut out all readings until then",
        "a proxy whose clock is ahead of ours",
    ],
)
def test_a_reading_is_of_the_moment_of_the_answer(date: str, times: dict[str, int], observed_ms: int) -> None:
    headers = _codex(reset_at=None, reset_after_seconds="60") | {"Date": date}
    reading = _one(headers, provider="codex", model="gpt-5.4", **times)

    assert reading.observed_ms == observed_ms
    assert reading.resets_ms == observed_ms + 60_000


# --- signals of auth-files --------------------------------------------------------------------------------------------


def _signals(headers: dict[str, str], observed_at: Any = "2026-08-21T10:00:05Z") -> dict[str, Any]:
    return {"observed_at": observed_at, "signals": headers}


def test_signals_of_an_account_and_its_models_give_the_newest_of_each_window() -> None:
    entry = {
        "provider": "claude",
        "quota": _signals(_claude("7d", utilization="0.30") | _claude("5h"), "2026-08-21T09:50:00+00:00"),
        "model_quotas": {
            "claude-opus-4-6": _signals(_claude("7d", utilization="0.31") | _claude("7d_opus")),
            "claude-sonnet-4-5": _signals(_claude("7d", utilization="0.29"), "2026-08-21T09:40:00Z"),
        },
    }
    found = read_signals(entry, received_ms=_NOW_MS + 60_000)

    assert _windows(found) == [("5h", "", 0.21), ("7d", "", 0.31), ("7d", "opus", 0.21)]
    assert [reading.observed_ms for reading in found] == [_NOW_MS - 605_000, _NOW_MS, _NOW_MS]
    assert {reading.source for reading in found} == {"auth_files"}


def test_signals_of_codex_are_scoped_by_their_model() -> None:
    entry = {
        "type": "codex",
        "quota": _signals(_codex(used_percent="1")),
        "model_quotas": {"gpt-5.4": _signals(_codex()), _SPARK: _signals(_codex(used_percent="0"))},
    }

    assert _windows(read_signals(entry, received_ms=_NOW_MS)) == [("5h", "", 0.125), ("5h", _SPARK, 0.0)]


def test_an_idle_accounts_signals_may_be_days_old() -> None:
    headers = _claude("7d", reset=str(_NOW + 5 * 86_400))
    del headers["Date"]
    entry = {"provider": "claude", "quota": _signals(headers)}

    (reading,) = read_signals(entry, received_ms=_NOW_MS + 4 * _DAY_MS)
    assert reading.observed_ms == _NOW_MS


@pytest.mark.parametrize("observed_at", [None, "", "never", "2027-01-01T00:00:00Z", "2025-01-01T00:00:00Z", 5, ["x"]])
def test_signals_without_a_moment_use_the_date_or_are_left_out(observed_at: Any) -> None:
    headers = _claude()
    with_date = read_signals({"provider": "claude", "quota": _signals(headers, observed_at)}, received_ms=_NOW_MS)
    del headers["Date"]
    without = read_signals({"provider": "claude", "quota": _signals(headers, observed_at)}, received_ms=_NOW_MS)

    assert [reading.observed_ms for reading in with_date] == [_NOW_MS]
    assert without == []


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"provider": 5},
        {"provider": "claude", "quota": None, "model_quotas": None},
        {"provider": "claude", "quota": [], "model_quotas": [1]},
        {"provider": "claude", "quota": {"signals": [1], "observed_at": "2026-08-21T10:00:05Z"}},
        {"provider": "claude", "quota": {"exceeded": True, "next_recover_at": "2026-08-21T11:00:05Z"}},
        {"provider": "claude", "model_quotas": {"m": None, "n": {"signals": None}}},
        {"provider": "kimi", "quota": {"signals": {"Date": _DATE}, "observed_at": "2026-08-21T10:00:05Z"}},
    ],
)
def test_an_entry_without_signals_gives_nothing(entry: dict[str, Any]) -> None:
    assert read_signals(entry, received_ms=_NOW_MS) == []


# --- refusals of codex, its reserve, and meta -------------------------------------------------------------------------


@pytest.mark.parametrize("flag", [{"X-Codex-Allowed": "False"}, {"X-Codex-Limit-Reached": "true"}])
def test_a_refused_codex_window_without_a_share_is_full_and_one_with_a_share_keeps_it(flag: dict[str, str]) -> None:
    headers = _codex(used_percent="") | _codex("Secondary", used_percent="40", window_minutes="10080") | flag
    found = _read(headers, provider="codex", model="gpt-5.4")

    assert _windows(found) == [("5h", "", 1.0), ("7d", "", 0.4)]
    assert [reading.ratio_inferred for reading in found] == [True, False]


def test_a_refusal_without_any_window_is_one_of_the_account() -> None:
    reading = _one({"Date": _DATE, "X-Codex-Allowed": "false"}, provider="codex", model="gpt-5.4")

    assert (reading.window, reading.used_ratio, reading.ratio_inferred) == ("account", 1.0, True)
    assert reading.ends_ms is None


@pytest.mark.parametrize(
    "flags", [{"X-Codex-Allowed": "true"}, {"X-Codex-Limit-Reached": "false"}, {"X-Codex-Allowed": "no"}, {}]
)
def test_an_account_that_is_not_refused_has_no_window_without_a_share(flags: dict[str, str]) -> None:
    assert _read(_codex(used_percent=None) | flags, provider="codex", model="gpt-5.4") == []


def test_the_codex_reserve_has_a_scope_of_its_own_and_an_empty_second_window_is_none() -> None:
    reserve = {
        "X-Base-Model-Inference-Primary-Used-Percent": "0",
        "X-Base-Model-Inference-Primary-Window-Minutes": "10080",
        "X-Base-Model-Inference-Primary-Reset-At": str(_NOW + 604_800),
        "X-Base-Model-Inference-Secondary-Used-Percent": "0",
        "X-Base-Model-Inference-Secondary-Window-Minutes": "0",
        "X-Base-Model-Inference-Secondary-Reset-At": "",
    }
    main, week = _read(_codex() | reserve, provider="codex", model="gpt-5.4")

    assert (main.scope, week.scope) == ("", "gpt-reserve")
    assert (week.window, week.used_ratio, week.ends_ms) == ("7d", 0.0, None)


def _meta(**changes: str) -> dict[str, str]:
    told = {"Window-Used-Percent": "104.5", "Window-Minutes": "300", "Window-Reset-At": str(_NOW + 60)}
    told |= {"Weekly-Used-Percent": "31", "Weekly-Reset-At": str(_NOW + 86_400)}
    return {"Date": _DATE} | {f"X-Meta-{name}": changes.get(name, value) for name, value in told.items()}


def test_meta_has_a_short_window_named_by_its_minutes_and_a_week() -> None:
    found = _read(_meta(), provider="meta")

    assert _windows(found) == [("5h", "", 1.045), ("7d", "", 0.31)]
    assert [reading.resets_ms for reading in found] == [_NOW_MS + 60_000, _NOW_MS + _DAY_MS]
    assert _read(_meta(), provider="codex", model="gpt-5.4") == []


def test_signals_of_meta_are_read_as_its_headers_are() -> None:
    entry = {"type": "meta", "quota": _signals(_meta(), datetime.fromtimestamp(_NOW, UTC).isoformat())}

    assert _windows(read_signals(entry, received_ms=_NOW_MS)) == [("5h", "", 1.045), ("7d", "", 0.31)]


# --- what may be stored -----------------------------------------------------------------------------------------------


def test_of_every_recorded_header_map_only_windows_and_the_date_are_kept() -> None:
    kept: set[str] = set()
    for path in sorted((ROOT / "v7.2.140" / "usage-queue").glob("*.json")):
        body = recorded(str(path.relative_to(ROOT))).get("body")
        for record in body if isinstance(body, list) else []:
            allowed = allowed_headers(record.get("response_headers") or {})
            kept |= set(allowed)
            text = json.dumps(allowed)
            assert not [secret for secret in secrets() if secret in text]

    assert kept == {
        "date",
        "anthropic-ratelimit-unified-reset",
        "anthropic-ratelimit-unified-status",
        "anthropic-ratelimit-unified-representative-claim",
        *(
            f"anthropic-ratelimit-unified-{slug}-{what}"
            for slug in ("5h", "7d", "7d_opus")
            for what in ("reset", "status", "utilization")
        ),
        "x-codex-plan-type",
        "x-codex-active-limit",
        "x-codex-bengalfox-limit-name",
        *(f"x-codex-bengalfox-primary-{what}" for what in ("reset-at", "used-percent", "window-minutes")),
        *(
            f"x-codex-{position}-{what}"
            for position in ("primary", "secondary")
            for what in ("reset-after-seconds", "reset-at", "used-percent", "window-minutes")
        ),
    }


def test_no_secret_passes_in_a_name_or_in_a_value_that_is_not_free_text() -> None:
    # The name of a group is the one free text; it is short, and the provider's own word for a limit.
    names = [*_claude("5h", status="allowed"), *_codex(), *_codex("Bengalfox-Secondary")]
    names += ["Anthropic-Ratelimit-Unified-Status", "Anthropic-Ratelimit-Unified-Reset", "Retry-After", "Set-Cookie"]
    names += ["Anthropic-Ratelimit-Unified-Representative-Claim", "X-Codex-Active-Limit", "X-Codex-Plan-Type"]
    names += ["X-Codex-Allowed", "X-Codex-Limit-Reached", "X-Base-Model-Inference-Primary-Used-Percent", *_meta()]
    names += ["Anthropic-Organization-Id", "Request-Id", "X-Codex-Credits-Balance", "Cf-Ray", "Openai-Organization"]
    for secret in secrets():
        planted = {name: [secret] for name in names} | {secret: ["1"], f"X-{secret}": ["1"]}
        assert secret not in json.dumps(allowed_headers(planted))


@pytest.mark.parametrize(
    "name",
    [
        "X-Codex-Credits-Balance",
        "X-Codex-Primary-Over-Secondary-Limit-Percent",
        "X-Codex-Turn-State",
        "Anthropic-Ratelimit-Unified-Upgrade-Paths",
        "Anthropic-Ratelimit-Unified-Overage-Utilization",
        "Anthropic-Ratelimit-Unified-Fallback-Percentage",
        "Anthropic-Ratelimit-Unified-5h-Token",
        "Anthropic-Ratelimit-Unified--Status",
        "X-Meta-Tier",
        "X-Meta-Weekly-Minutes",
        "X-Meta-Window-Token",
        "X-Base-Model-Inference-Token",
        "X-Base-Model-Inference-Primary-Token",
        "X-Codex-Allowed",
        "Prefix-Date",
        "Date ",
    ],
)
def test_a_header_that_is_not_needed_is_not_kept(name: str) -> None:
    assert allowed_headers({name: ["1"]}) == {}


@pytest.mark.parametrize("value", [None, 5, 0.5, True, {}, [], [None], [5], [["0.5"]], "0.5" * 100, "0.5\n"])
def test_a_value_that_is_no_short_text_is_not_kept(value: Any) -> None:
    kept = allowed_headers({"Anthropic-Ratelimit-Unified-5h-Utilization": value})

    assert kept == ({"anthropic-ratelimit-unified-5h-utilization": "0.5"} if value == "0.5\n" else {})


def test_what_is_kept_is_bounded_in_number_and_bytes() -> None:
    short = {f"x-codex-g{number}-primary-used-percent": "1" for number in range(500)}
    long = {f"x-codex-{'g' * 20}{number}-limit-name": "N" * 32 for number in range(100, 500)}

    assert len(allowed_headers(short)) == MAX_HEADERS
    kept = allowed_headers(long)
    assert MAX_BYTES - 100 < sum(len(name) + len(value) for name, value in kept.items()) <= MAX_BYTES


def test_keeping_twice_is_keeping_once() -> None:
    once = allowed_headers(_claude() | _codex())

    assert allowed_headers(once) == once


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "name"),
    [(18_000, "5h"), (604_800, "7d"), (86_400, "1d"), (28 * 86_400, "month"), (31 * 86_400, "month"), (90, "90s")],
)
def test_a_window_is_named_in_the_largest_unit_that_fits(seconds: int, name: str) -> None:
    assert window_name(seconds) == name


@given(st.text(max_size=60))
def test_a_slug_is_a_harmless_label(text: str) -> None:
    slug = slugged(text)

    assert len(slug) <= MAX_SLUG
    assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")
    assert slugged(slug) == slug


# --- anything at all --------------------------------------------------------------------------------------------------

_TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["nan", "1e309", "-1", "1.13", "0", "300", str(_NOW), str(_NOW_MS), _DATE, "9999-12-31T23:59:59Z"]),
    st.sampled_from(["0001-01-01T00:00:00+14:00", "rejected", "seven_day_opus", "GPT-5.3-Codex-Spark", "2026-W34-5"]),
    st.floats().map(str),
    st.integers().map(str),
)
_NAMES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(sorted({*_claude(), *_claude("7d_opus"), *_codex(), *_codex("Wombat-Secondary")})),
    st.sampled_from(["X-Codex-Wombat-Limit-Name", "X-Codex-Primary-Reset-After-Seconds", "Request-Id", "date"]),
    st.sampled_from(["Anthropic-Ratelimit-Unified-Reset", "Anthropic-Ratelimit-Unified-Representative-Claim"]),
    st.sampled_from([*_meta(), "X-Codex-Allowed", "X-Base-Model-Inference-Primary-Window-Minutes"]),
)
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)


def _is_sane(reading: Reading) -> bool:
    return (
        math.isfinite(reading.used_ratio)
        and 0 <= reading.used_ratio <= 1000
        and (reading.window_seconds is None or 0 < reading.window_seconds <= 366 * 86_400)
        and (reading.resets_ms is None or abs(reading.resets_ms - reading.observed_ms) <= 62 * _DAY_MS)
        and reading.status in ("", "allowed", "warning", "rejected")
        and slugged(reading.scope) == reading.scope
    )


@given(
    st.dictionaries(_NAMES, _ANYTHING, max_size=12),
    st.sampled_from(["claude", "codex", "meta", "other"]),
    st.one_of(st.sampled_from(["gpt-5.4", _SPARK, ""]), st.text(max_size=30)),
    st.integers(min_value=-(10**15), max_value=10**15),
)
def test_whatever_a_record_holds_the_windows_are_sane(
    headers: dict[str, Any], provider: str, model: str, started_ms: int
) -> None:
    allowed = allowed_headers(headers)
    assert len(allowed) <= MAX_HEADERS
    assert all(isinstance(value, str) and value.isascii() and value.isprintable() for value in allowed.values())
    assert isinstance(response_identity(headers), str)
    for given_headers in (allowed, headers):
        found = read_headers(
            given_headers,
            provider=provider,
            model=model,
            started_ms=started_ms,
            ttft_ms=0,
            latency_ms=0,
            received_ms=_NOW_MS,
        )
        assert len(found) <= MAX_WINDOWS
        assert len({(reading.window, reading.scope) for reading in found}) == len(found)
        assert all(_is_sane(reading) for reading in found)


@given(
    st.fixed_dictionaries(
        {"provider": st.sampled_from(["claude", "codex"])},
        optional={"quota": _ANYTHING, "model_quotas": st.dictionaries(_NAMES, _ANYTHING, max_size=3) | _ANYTHING},
    ),
    st.dictionaries(_NAMES, _TEXTS, max_size=8),
)
def test_whatever_an_entry_holds_the_windows_are_sane(entry: dict[str, Any], signals: dict[str, str]) -> None:
    observed = datetime.fromtimestamp(_NOW, UTC).isoformat()
    for given_entry in (entry, entry | {"quota": {"signals": signals, "observed_at": observed}}):
        assert all(_is_sane(reading) for reading in read_signals(given_entry, received_ms=_NOW_MS))
