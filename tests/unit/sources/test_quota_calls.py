"""The proxy's answers to ``api-call`` and to its quota API: recorded ones, made-up ones, and arbitrary bytes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.quotas.base import NEXT_WAY, Call, Refusal, Report
from exporter.quotas.reading import MAX_WINDOWS
from exporter.quotas.values import MAX_SLUG
from exporter.sources.quota_calls import MAX_ANSWER, quota_api_providers, read_quota_api, read_tunnel
from tests.benches.asked import CALLS, HOUR_MS, NOW_MS, call_of, iso, one, told, told_by, windows, wrapped
from tests.fakes.recordings import ROOT, body_of, recorded, secrets

_USAGE = call_of("claude")
_RESET = iso(NOW_MS + HOUR_MS)
_GOOD = {"five_hour": {"utilization": 21.0, "resets_at": _RESET}}
_EVERY_CALL = pytest.mark.parametrize("call", CALLS, ids=lambda call: call.url.removeprefix("https://"))


def _by_proxy(status: int, body: bytes | str = b"") -> Refusal | None:
    text = body if isinstance(body, bytes) else body.encode()
    return read_tunnel(_USAGE, status, text, received_ms=NOW_MS).refusal


def _api(name: str) -> Report:
    return read_quota_api(
        recorded(f"v8-constructed/{name}.json")["status"], body_of(f"v8-constructed/{name}.json"), received_ms=NOW_MS
    )


# --- what the provider refuses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "refusal", "retry_after_s"),
    [
        ("claude-usage-401", Refusal.UNAUTHORIZED, None),
        ("claude-usage-429", Refusal.RATE_LIMITED, 1600),
        ("claude-usage-500", Refusal.UNAVAILABLE, None),
        ("codex-usage-403-html", Refusal.FORBIDDEN, None),
    ],
)
def test_recorded_refusals_are_inside_a_200(name: str, refusal: Refusal, retry_after_s: int | None) -> None:
    report = told_by(name)

    assert (report.refusal, report.retry_after_s, report.readings) == (refusal, retry_after_s, ())


def test_an_api_key_is_not_an_account() -> None:
    assert told_by("error-api-key-credential", _USAGE).refusal is Refusal.FORBIDDEN


@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        (402, Refusal.FORBIDDEN),
        (404, Refusal.NOT_FOUND),
        (410, Refusal.NOT_FOUND),
        (426, Refusal.OUTDATED),
        (400, Refusal.UNAVAILABLE),
        (301, Refusal.UNAVAILABLE),
        (503, Refusal.UNAVAILABLE),
        (0, Refusal.UNAVAILABLE),
        (-200, Refusal.UNAVAILABLE),
        (10**30, Refusal.UNAVAILABLE),
        ("200", Refusal.UNREADABLE),
        (True, Refusal.UNREADABLE),
        (None, Refusal.UNREADABLE),
    ],
)
def test_each_status_of_the_provider_has_a_meaning(status: Any, refusal: Refusal) -> None:
    report = told(_USAGE, _GOOD, status=status)

    assert (report.refusal, report.readings) == (refusal, ())


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        ({"type": "authentication_error", "message": "expired"}, Refusal.UNAUTHORIZED),
        ({"type": "rate_limit_error"}, Refusal.RATE_LIMITED),
        ({"code": 401, "status": "UNAUTHENTICATED"}, Refusal.UNAUTHORIZED),
        ({"status": "PERMISSION_DENIED"}, Refusal.FORBIDDEN),
        ({"code": 429}, Refusal.RATE_LIMITED),
        ({"code": "something new"}, Refusal.UNAVAILABLE),
        ({}, Refusal.UNAVAILABLE),
    ],
)
def test_an_error_inside_a_200_is_the_refusal_that_it_names(error: Any, refusal: Refusal) -> None:
    assert told(_USAGE, {"type": "error", "error": error}).refusal is refusal


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30),
        ("0.2", 1),
        ("Tue, 24 Nov 2026 15:57:33 GMT", 1800),
        ("0", None),
        ("-5", None),
        ("", None),
        ("soon", None),
        ("NaN", None),
        ("Tue, 24 Nov 2026 15:00:00 GMT", None),
        ("1e300", 62 * 86_400),
        ("9" * 500, None),
    ],
)
def test_the_wait_is_seconds_or_a_date_and_nothing_else(value: str, seconds: int | None) -> None:
    assert told(_USAGE, "", status=429, retry_after=value).retry_after_s == seconds


def test_a_wait_is_obeyed_after_any_refusal_and_not_after_an_answer() -> None:
    assert told(_USAGE, "", status=503, retry_after="60").retry_after_s == 60
    assert told(_USAGE, _GOOD, retry_after="60").retry_after_s is None
    assert told(_USAGE, "", status=429).retry_after_s is None


# --- bodies that are no answer ----------------------------------------------------------------------------------------


@_EVERY_CALL
@pytest.mark.parametrize(
    "body",
    [
        "<html><title>Just a moment...</title></html>",
        "<!DOCTYPE html><body>checking your browser</body>",
        "null",
        "[]",
        "5",
        '"text"',
        '{"five_hour": {"utilization": NaN}}',
        '{"five_hour": ',
        "\x00\x01",
        '{"unrelated": {"utilization_of": 5}}',
    ],
)
def test_an_invalid_body_gives_no_reading(call: Call, body: str) -> None:
    report = told(call, body)

    assert (report.refusal, report.readings) == (Refusal.UNREADABLE, ())
    assert report.refusal in NEXT_WAY


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(json.dumps(_GOOD)),
        {"body": _GOOD},
        {"body": json.dumps(_GOOD)},
        {"status_code": 200, "header": {}, "body": json.dumps(json.dumps(_GOOD))},
    ],
    ids=["JSON in JSON", "nested", "nested text", "an envelope in the envelope"],
)
def test_an_answer_is_read_through_its_wrappings(body: Any) -> None:
    assert windows(told(_USAGE, body).readings) == {("5h", ""): 0.21}


def test_a_refusal_is_read_through_its_wrappings() -> None:
    assert told(_USAGE, {"status_code": 401, "body": "{}"}).refusal is Refusal.UNAUTHORIZED


def test_endless_wrappings_are_given_up() -> None:
    body: Any = _GOOD
    for _ in range(12):
        body = json.dumps(body)

    assert told(_USAGE, body).refusal is Refusal.UNREADABLE


def test_an_answer_of_50_megabytes_is_not_even_decoded() -> None:
    body = wrapped(_GOOD) + b" " * (50 << 20)

    for call in CALLS:
        assert read_tunnel(call, 200, body, received_ms=NOW_MS).refusal is Refusal.UNREADABLE
    assert read_quota_api(200, body, received_ms=NOW_MS).refusal is Refusal.UNREADABLE


def test_a_long_answer_below_the_bound_gives_a_limited_number_of_windows() -> None:
    limits = [
        {
            "kind": "weekly_scoped",
            "percent": n % 100,
            "resets_at": _RESET,
            "scope": {"model": {"display_name": f"GPT {n}"}},
        }
        for n in range(5_000)
    ]

    assert len(wrapped({"limits": limits})) < MAX_ANSWER
    assert len(told(_USAGE, {"limits": limits}).readings) == MAX_WINDOWS


def test_endless_nesting_is_given_up() -> None:
    assert told(_USAGE, "[" * 100_000).refusal is Refusal.UNREADABLE
    assert _by_proxy(200, "[" * 100_000) is Refusal.UNREADABLE


def test_windows_appear_and_vanish_with_the_answers() -> None:
    more = _GOOD | {"seven_day": {"utilization": 3, "resets_at": _RESET}}

    assert [len(told(_USAGE, body).readings) for body in (_GOOD, more, _GOOD, _GOOD | {"seven_day": None})] == [
        1,
        2,
        1,
        1,
    ]


def test_a_reading_has_the_moment_of_the_answer_unless_its_clock_is_wrong() -> None:
    assert one(told(_USAGE, _GOOD, date="Tue, 24 Nov 2026 15:27:00 GMT")).observed_ms == NOW_MS - 33_000
    assert one(told(_USAGE, _GOOD, date="Tue, 24 Nov 2026 18:27:00 GMT")).observed_ms == NOW_MS
    assert one(told(_USAGE, _GOOD)).observed_ms == NOW_MS


# --- what the proxy refuses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "refusal"),
    [("error-host-unreachable", Refusal.UNAVAILABLE), ("error-data-object", Refusal.UNAVAILABLE)],
)
def test_recorded_failures_of_the_proxy_are_no_refusals_of_the_account(name: str, refusal: Refusal) -> None:
    assert told_by(name, _USAGE).refusal is refusal


@pytest.mark.parametrize(
    ("status", "body", "refusal"),
    [
        (401, '{"error": "invalid management key"}', Refusal.REFUSED),
        (403, '{"error": "remote management disabled"}', Refusal.REFUSED),
        (404, "404 page not found", Refusal.UNSUPPORTED),
        (404, "", Refusal.UNSUPPORTED),
        (501, "", Refusal.UNSUPPORTED),
        (400, '{"error": "auth token not found"}', Refusal.GONE),
        (400, '{"error": "auth credential not found for auth_index"}', Refusal.GONE),
        (400, '{"error": "auth token refresh failed"}', Refusal.UNAUTHORIZED),
        (400, '{"error": {"message": "no text"}}', Refusal.UNAVAILABLE),
        (502, '{"error": "request failed"}', Refusal.UNAVAILABLE),
        (504, "<html>gateway time-out</html>", Refusal.UNAVAILABLE),
        (200, "<html>the reverse proxy's login page</html>", Refusal.UNREADABLE),
        (200, "", Refusal.UNREADABLE),
        (200, '{"status": "ok"}', Refusal.UNREADABLE),
    ],
)
def test_each_answer_of_the_proxy_has_a_meaning(status: int, body: str, refusal: Refusal) -> None:
    assert _by_proxy(status, body) is refusal


def test_the_placeholder_of_a_token_shows_that_the_account_is_gone() -> None:
    # CPA 7 sends the placeholder on; recorded answers do not repeat it, so only the inventory can tell.
    assert told(_USAGE, "invalid bearer token: $TOKEN$", status=401).refusal is Refusal.GONE
    assert told_by("error-unknown-auth-index").refusal is Refusal.UNAUTHORIZED


# --- the proxy's quota API --------------------------------------------------------------------------------------------


def test_the_quota_api_gives_windows_plan_and_balance() -> None:
    report = read_quota_api(
        200, body_of("v8-constructed/quota-fetch.json"), received_ms=1_787_306_405_000
    )  # 2026-08-21 10:00:05

    assert windows(report.readings) == {("5h", ""): 0.2}
    assert (report.plan, [(each.name, each.nano_usd) for each in report.balances]) == ("pro", [("credits", 12 * 10**9)])


@pytest.mark.parametrize(
    ("name", "refusal"), [("quota-fetch-501", Refusal.UNSUPPORTED), ("quota-fetch-502", Refusal.UNAVAILABLE)]
)
def test_the_quota_api_says_why_it_has_no_answer(name: str, refusal: Refusal) -> None:
    assert _api(name).refusal is refusal


@pytest.mark.parametrize(
    ("status", "body", "refusal"),
    [
        (404, b'{"error": "auth not found"}', Refusal.GONE),
        (404, b"404 page not found", Refusal.UNSUPPORTED),
        (404, b"", Refusal.UNSUPPORTED),
        (401, b"{}", Refusal.REFUSED),
        (200, b"<html>", Refusal.UNREADABLE),
        (200, b"[]", Refusal.UNREADABLE),
        (200, b'{"status": "ok"}', Refusal.UNREADABLE),
    ],
)
def test_a_missing_account_is_not_a_missing_api(status: int, body: bytes, refusal: Refusal) -> None:
    assert read_quota_api(status, body, received_ms=NOW_MS).refusal is refusal


@pytest.mark.parametrize(
    ("summary", "balances"),
    [
        ({"value": "12.5", "currency": "usd"}, [12_500_000_000]),
        ({"key": "spent", "value": 12, "currency": "USD"}, []),
        ({"value": 12, "currency": "EUR"}, []),
        ({"value": 12, "unit": "usd"}, []),
        ({"value": None, "currency": "USD"}, []),
        ({"value": "erin@planted.example", "currency": "USD"}, []),
    ],
)
def test_a_balance_is_read_if_it_is_in_dollars(summary: Any, balances: list[int]) -> None:
    report = read_quota_api(200, json.dumps({"summary": [{"key": "credits"} | summary]}).encode(), received_ms=NOW_MS)

    assert [each.nano_usd for each in report.balances] == balances


def test_the_quota_api_names_the_providers_that_it_answers_for() -> None:
    assert quota_api_providers(200, body_of("v8-constructed/quota-providers.json")) == {"gemini-cli"}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b""),
        (501, b"{}"),
        (200, b"<html>"),
        (200, b'{"providers": null}'),
        (200, b'{"providers": [{"provider": 5}]}'),
    ],
)
def test_a_proxy_without_a_quota_api_answers_for_nobody(status: int, body: bytes) -> None:
    assert quota_api_providers(status, body) == frozenset()


# --- anything at all --------------------------------------------------------------------------------------------------

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=80)
    | st.sampled_from(["NaN", "95%", "1e999", _RESET, "0", "-1", "5h", "weekly", "session", "TIME_UNIT_MINUTE", "USD"])
)
_NAMES = """
account allowed amount_minor body buckets code config creditUsagePercent currentPeriod detail display_name duration end
error extra_usage five_hour groups header is_enabled key kind limit limit_5h limit_window_seconds limits model modelId
models monthlyLimit monthly_limit organization percent plan_type primary_window quotaInfo rate_limit remainingFraction
resetTime reset_at resets_at rows scope seven_day seven_day_breakdown spend status_code timeUnit type usage usages used
used_credits used_percent used_ratio utilization val window
"""
_KEYS = st.text(max_size=12) | st.sampled_from(_NAMES.split())
_ANYTHING = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=6), max_leaves=30
)


def _check(report: Report) -> None:
    assert len(report.readings) <= MAX_WINDOWS
    for reading in report.readings:
        assert 0 <= reading.used_ratio <= 1000
        assert len(reading.scope) <= MAX_SLUG
        assert reading.source == "active"
        assert reading.resets_ms is None or abs(reading.resets_ms - reading.observed_ms) <= 366 * 24 * HOUR_MS
    if report.refusal is not None:
        assert report == Report(refusal=report.refusal, retry_after_s=report.retry_after_s)


@given(call=st.sampled_from(CALLS), status=st.integers(-5, 999), body=st.binary(max_size=300))
def test_no_bytes_of_a_proxy_raise(call: Call, status: int, body: bytes) -> None:
    _check(read_tunnel(call, status, body, received_ms=NOW_MS))
    _check(read_quota_api(status, body, received_ms=NOW_MS))
    assert isinstance(quota_api_providers(status, body), frozenset)


@given(call=st.sampled_from(CALLS), content=_ANYTHING)
def test_no_json_of_a_provider_raises(call: Call, content: Any) -> None:
    text = json.dumps(content)

    _check(read_tunnel(call, 200, wrapped(text), received_ms=NOW_MS))
    _check(read_tunnel(call, 200, text.encode(), received_ms=NOW_MS))
    _check(read_quota_api(200, text.encode(), received_ms=NOW_MS))
    assert isinstance(quota_api_providers(200, text.encode()), frozenset)


_RECORDED = [
    (recording["request"]["body"]["url"], json.loads(recording["body"]["body"]))
    for recording in (
        recorded(f"v7.2.140/api-call/{path.name}") for path in sorted((ROOT / "v7.2.140" / "api-call").iterdir())
    )
    if recording["status"] == 200 and recording["body"]["body"].startswith("{")
]


def _mutated(data: st.DataObject, content: Any) -> Any:
    """A recorded answer with some of its values replaced by arbitrary ones."""
    if isinstance(content, dict):
        return {
            key: data.draw(_ANYTHING) if data.draw(st.integers(0, 9)) == 0 else _mutated(data, value)
            for key, value in content.items()
        }
    if isinstance(content, list):
        return [_mutated(data, value) for value in content]
    return content


@given(call=st.sampled_from(CALLS), data=st.data())
def test_no_nearly_recorded_answer_raises(call: Call, data: st.DataObject) -> None:
    _, body = data.draw(st.sampled_from(_RECORDED))

    _check(told(call, _mutated(data, body)))


# --- secrets ----------------------------------------------------------------------------------------------------------


def _with_secret(content: Any, secret: str) -> Any:
    """A recorded answer with a secret in each of its texts, and in one more field of each object."""
    if isinstance(content, dict):
        changed = {key: _with_secret(value, secret) for key, value in content.items()}
        return changed | {"email": secret, secret: {"utilization": 5, "resets_at": _RESET, "percent": 5}}
    if isinstance(content, list):
        return [_with_secret(value, secret) for value in content]
    return secret if isinstance(content, str) else content


def _one_text_each(content: Any, secret: str) -> list[Any]:
    """For each text in a recorded answer, the answer with a secret in its place; all other texts stay."""
    found: list[Any] = []
    if isinstance(content, dict):
        for key, value in content.items():
            found += [content | {key: changed} for changed in _one_text_each(value, secret)]
    elif isinstance(content, list):
        for place, value in enumerate(content):
            found += [[*content[:place], changed, *content[place + 1 :]] for changed in _one_text_each(value, secret)]
    elif isinstance(content, str):
        found = [secret]
    return found


@pytest.mark.parametrize("secret", secrets())
def test_a_secret_in_any_field_never_comes_out(secret: str) -> None:
    fetch = recorded("v8-constructed/quota-fetch.json")["body"]
    reports = [told(call, _with_secret(body, secret), date=secret) for _, body in _RECORDED for call in CALLS]
    for url, body in _RECORDED:
        own = [call for call in CALLS if call.url == url]
        reports += [told(call, changed) for call in own for changed in _one_text_each(body, secret)]
    reports += [told(call, secret, status=status, retry_after=secret) for call in CALLS for status in (200, 401, 429)]
    fetched = [_with_secret(fetch, secret), *_one_text_each(fetch, secret)]
    reports += [read_quota_api(200, json.dumps(body).encode(), received_ms=NOW_MS) for body in fetched]
    written = " ".join(map(repr, reports)).lower()

    assert any(report.readings for report in reports)
    assert secret.lower() not in written
    assert secret.lower().replace(" ", "-") not in written
    assert "planted" not in written
