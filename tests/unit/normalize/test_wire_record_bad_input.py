"""Whatever a proxy sends, readable parts are read, the rest is counted, and nothing raises."""

import json
from typing import Any

import msgspec
import pytest

from exporter.normalize.batch import Batch, read_batch
from exporter.normalize.inventory import read_auth_files, read_key_list
from exporter.normalize.snapshot import read_details, read_snapshot
from exporter.normalize.usage_record import normalize
from exporter.normalize.wire_record import decode_line
from exporter.records import UNKNOWN_CREDENTIAL, Billing, Rejected, Tokens, UsageRecord
from tests.fakes.recordings import recorded, secrets

_NOW_MS = 1_795_540_000_000
_GOOD: dict[str, Any] = {
    "timestamp": "2026-11-24T15:00:00Z",
    "provider": "claude",
    "model": "m",
    "auth_index": "0123456789abcdef",
    "auth_type": "oauth",
    "tokens": {"input_tokens": 5, "output_tokens": 7},
}


def _read(body: bytes) -> Batch:
    return read_batch(body, pseudonym=lambda value: f"hash{len(value)}")


def _read_one(record: dict[str, Any]) -> UsageRecord | Rejected:
    batch = _read(json.dumps([record]).encode())
    assert (len(batch.lines), batch.unreadable) == (1, [])
    return _normalized(batch.lines[0])


def _normalized(line: bytes) -> UsageRecord | Rejected:
    wire = decode_line(line)
    if isinstance(wire, Rejected):
        return wire
    return normalize(wire, 1, received_ms=_NOW_MS, facts=lambda _handle, _provider: UNKNOWN_CREDENTIAL)


def _record(**fields: Any) -> UsageRecord:
    record = _read_one(_GOOD | fields)
    assert isinstance(record, UsageRecord), record
    return record


def _reason(**fields: Any) -> str:
    record = _read_one(_GOOD | fields)
    assert isinstance(record, Rejected), record
    return record.reason


# --- bodies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", ["", "\n", ' "x":"\\ud800",'])
def test_a_body_cut_anywhere_keeps_every_whole_record_and_counts_the_rest_as_one(extra: str) -> None:
    one = json.dumps(_GOOD)
    records = [one.replace("{", "{" + extra, 1) for _ in range(3)]
    body = ("[" + ", ".join(records) + "]").encode()
    for length in range(len(body)):
        batch = _read(body[:length])
        assert len(batch.lines) <= 3
        assert len(batch.unreadable) <= 1
        whole = body[:length].count(b"}}")
        assert len(batch.lines) == whole
        assert all(isinstance(_normalized(line), UsageRecord) for line in batch.lines)
        assert batch.received - whole <= 1


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        ('"text"', "not_an_object"),
        ("5", "not_an_object"),
        ("null", "not_an_object"),
        ("true", "not_an_object"),
        ("[1, 2]", "not_an_object"),
        ("[" * 100_000 + "]" * 100_000, "malformed_json"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "malformed_json"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_an_element_that_is_not_a_record_is_counted_by_length_and_hash_and_costs_no_neighbour(
    element: str, reason: str
) -> None:
    good = json.dumps(_GOOD)
    batch = _read(f"[{good},{element},{good}]".encode())
    assert [(what.why.reason, len(what.sha256)) for what in batch.unreadable] == [
        (reason, 32)
    ] or reason == "malformed_json"
    assert batch.lines
    assert all(isinstance(_normalized(line), UsageRecord) for line in batch.lines)
    assert batch.received >= 2


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"\xff\xfe", b"NaN", b'{"error":"x"}'], ids=repr)
def test_a_body_that_is_not_a_list_is_one_unreadable_record(body: bytes) -> None:
    batch = _read(body)
    assert (batch.lines, [what.why.reason for what in batch.unreadable]) == ([], ["malformed_json"])


@pytest.mark.parametrize(
    ("form", "whole", "unreadable"),
    [
        pytest.param("[R]rest", 1, 1, id="text behind the list"),
        pytest.param("[R][R, R]", 1, 1, id="a second list"),
        pytest.param("[R] \n\t", 1, 0, id="white space behind the list"),
        pytest.param("[R}", 1, 1, id="closed by another bracket"),
        pytest.param("[R,,R]", 1, 1, id="a missing element"),
        pytest.param("[R R]", 2, 0, id="a missing comma"),
        pytest.param("[R,]", 1, 0, id="a comma too many"),
        pytest.param('["\\ud800", ' + "9" * 5000 + ", R]", 1, 2, id="a number of 5,000 digits"),
        pytest.param("null or so", 0, 1, id="text that begins like an empty list"),
        pytest.param("null", 0, 0, id="no list, as Go writes an empty one"),
        pytest.param("\ufeff[R]", 0, 1, id="a byte order mark"),
    ],
)
def test_every_part_of_a_malformed_body_is_a_record_or_counted(form: str, whole: int, unreadable: int) -> None:
    batch = _read(form.replace("R", json.dumps(_GOOD)).encode())
    assert (len(batch.lines), len(batch.unreadable)) == (whole, unreadable)
    assert all(isinstance(_normalized(line), UsageRecord) for line in batch.lines)


def test_an_empty_body_has_no_records() -> None:
    assert _read(b"").received == _read(b"[]").received == _read(b" [ ] ").received == _read(b"null").received == 0


def test_a_record_of_10_megabytes_is_kept_small() -> None:
    huge = "x" * 10_000_000
    batch = _read(json.dumps([_GOOD | {"model": huge, "fail": {"body": huge}, "unknown": huge}, _GOOD]).encode())
    assert max(map(len, batch.lines)) < 2_000
    first, second = map(_normalized, batch.lines)
    assert isinstance(first, UsageRecord)
    assert isinstance(second, UsageRecord)
    assert len(first.model) == 200


# --- fields --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", sorted(_GOOD))
def test_a_field_may_be_missing_or_null(field: str) -> None:
    without = {name: value for name, value in _GOOD.items() if name != field}
    expected = "missing_timestamp" if field == "timestamp" else None
    for record in (_read_one(without), _read_one(_GOOD | {field: None})):
        assert (record.reason if isinstance(record, Rejected) else None) == expected


@pytest.mark.parametrize("value", [{"a": 1}, ["a"], {}])
@pytest.mark.parametrize("field", ["timestamp", "provider", "model", "failed", "latency_ms", "request_id"])
def test_a_field_of_another_type_rejects_its_record_alone(field: str, value: object) -> None:
    batch = _read(json.dumps([_GOOD, _GOOD | {field: value}, _GOOD]).encode())
    outcomes = [_normalized(line) for line in batch.lines]
    assert [isinstance(outcome, Rejected) for outcome in outcomes] == [False, True, False]
    assert isinstance(outcomes[1], Rejected)
    assert outcomes[1].reason == "malformed_record"
    assert field in outcomes[1].detail


def test_the_last_of_repeated_fields_counts_and_none_leaks() -> None:
    twice = json.dumps(_GOOD).replace(
        '"model": "m"', '"model": "first", "source": "sk-first", "model": "m", "source": 5'
    )
    (line,) = _read(f"[{twice}]".encode()).lines
    assert _normalized(line) == _record()
    assert b"sk-first" not in line


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_json_does_not_allow_rejects_its_record_alone(number: str) -> None:
    good = json.dumps(_GOOD)
    odd = good.replace('"input_tokens": 5', f'"input_tokens": {number}')
    outcomes = [_normalized(line) for line in _read(f"[{good},{odd},{good}]".encode()).lines]
    assert [isinstance(outcome, Rejected) for outcome in outcomes] == [False, True, False]


def test_unknown_fields_are_dropped() -> None:
    record = _GOOD | {"new_secret_field": "sk-secret", "nested": {"token": "sk-secret"}}
    assert b"sk-secret" not in _read(json.dumps([record]).encode()).lines[0]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        pytest.param({"input_tokens": "12", "output_tokens": "7"}, (12, 7), id="numbers as text"),
        pytest.param({"input_tokens": 12.0, "output_tokens": 7}, (12, 7), id="a whole float"),
        pytest.param({"input_tokens": -12, "output_tokens": 7}, (0, 7), id="negative: as 0"),
        pytest.param({"input_tokens": None}, (0, 0), id="null"),
        pytest.param({}, (0, 0), id="empty"),
        pytest.param(None, (0, 0), id="no tokens"),
        pytest.param({"input_tokens": 3_000_000_000}, (3_000_000_000, 0), id="three billion"),
    ],
)
def test_odd_but_readable_counts_are_read(tokens: object, expected: tuple[int, int]) -> None:
    record = _record(tokens=tokens)
    assert (record.tokens.uncached, record.tokens.output) == expected


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [
        pytest.param({"input_tokens": 1.5}, "malformed_record", id="a fraction"),
        pytest.param({"input_tokens": "many"}, "malformed_record", id="a word"),
        pytest.param({"input_tokens": [1]}, "malformed_record", id="a list"),
        pytest.param("none", "malformed_record", id="tokens is a text"),
        pytest.param({"input_tokens": 10**11}, "impossible_tokens", id="more than any request"),
        pytest.param({"output_tokens": 2**63}, "impossible_tokens", id="beyond 64 bits"),
        pytest.param({"output_tokens": 10**40}, "impossible_tokens", id="beyond anything"),
    ],
)
def test_unreadable_or_impossible_counts_reject_the_record(tokens: object, reason: str) -> None:
    assert _reason(tokens=tokens) == reason


@pytest.mark.parametrize(
    ("timestamp", "milliseconds"),
    [
        ("2026-11-24T15:00:00Z", 1_795_532_400_000),
        ("2026-11-24T15:00:00.5Z", 1_795_532_400_500),
        ("2026-11-24T15:00:00.123456789Z", 1_795_532_400_123),
        ("2026-11-24T23:00:00.1234567+08:00", 1_795_532_400_123),
        ("2026-11-24T20:45:00+05:45", 1_795_532_400_000),
        ("2026-11-24T11:30:00.999999999-03:30", 1_795_532_400_999),
    ],
)
def test_every_form_of_a_timestamp_is_read(timestamp: str, milliseconds: int) -> None:
    assert _record(timestamp=timestamp).ts_ms == milliseconds


@pytest.mark.parametrize(
    ("timestamp", "reason"),
    [
        ("", "missing_timestamp"),
        ("yesterday", "bad_timestamp"),
        ("2026-11-24", "bad_timestamp"),
        ("2026-11-24T15:00:00", "bad_timestamp"),
        ("2026-02-30T15:00:00Z", "bad_timestamp"),
        ("2026-11-24T25:00:00Z", "bad_timestamp"),
        ("0001-01-01T00:00:00Z", "impossible_time"),
        ("1970-01-01T00:00:00Z", "impossible_time"),
        ("2026-11-28T15:00:00Z", "impossible_time"),
        ("9999-12-31T23:59:59Z", "impossible_time"),
    ],
)
def test_impossible_times_are_rejected(timestamp: str, reason: str) -> None:
    assert _reason(timestamp=timestamp) == reason


def test_a_proxy_whose_clock_is_a_day_off_is_still_booked() -> None:
    for timestamp in ("2026-11-23T15:00:00Z", "2026-11-25T15:00:00Z"):
        assert isinstance(_record(timestamp=timestamp), UsageRecord)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("a\x00b", "a\N{REPLACEMENT CHARACTER}b", id="NUL"),
        pytest.param("a\nb\u2028c", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c", id="line ends"),
        pytest.param("a\u202eb", "a\N{REPLACEMENT CHARACTER}b", id="right-to-left mark"),
        pytest.param("\N{GRINNING FACE} é", "\N{GRINNING FACE} é", id="other scripts"),
        pytest.param("<b>&\"'\\", "<b>&\"'\\", id="markup is not our business here"),
    ],
)
def test_names_have_no_control_characters(text: str, shown: str) -> None:
    assert _record(model=text).model == shown


def test_lone_surrogates_and_broken_utf8_cost_no_record() -> None:
    body = json.dumps([_GOOD | {"model": "a\ud800b"}]).encode()
    assert _normalized(_read(body).lines[0]) == _record(model="a?b")
    broken = json.dumps([_GOOD]).encode().replace(b'"m"', b'"\xff\xfe"')
    line = _read(broken).lines[0]
    assert isinstance(_normalized(line), UsageRecord)


@pytest.mark.parametrize("misfit", [{}, {"latency_ms": "soon"}], ids=["fits", "misfit"])
def test_no_text_keeps_a_nul(misfit: dict[str, Any]) -> None:
    texts = ("auth_index", "provider", "executor_type", "model", "alias", "endpoint", "auth_type", "request_id")
    body = json.dumps([_GOOD | dict.fromkeys(texts, "a\x00\x00b") | misfit]).encode()
    (line,) = _read(body).lines
    assert b"u0000" not in line
    assert line.count("\ufffd\ufffd".encode()) + line.count(rb"\ufffd\ufffd") == len(texts)


def test_a_text_that_only_looks_like_a_nul_stays() -> None:
    assert _record(model="a\\u0000b").model == "a\\u0000b"


def test_a_line_with_a_nul_that_an_older_version_stored_is_read_without_it() -> None:
    line = json.dumps(_GOOD | {"auth_index": "a\0b"}).encode()
    record = _normalized(line)
    assert isinstance(record, UsageRecord)
    assert record.auth_index == "a\ufffdb"


def test_lists_and_snapshots_keep_no_nul() -> None:
    def same(value: str) -> str:
        return value

    files = json.dumps({"files": [{"name": "f\0", "provider": "p\0", "auth_index": "a\0b"}]}).encode()
    (file,) = read_auth_files(files, same, received_ms=0).accounts
    upstreams = [{"name": "n\0", "api-key-entries": [{"api-key": "k\0", "auth-index": "i\0"}]}]
    lists = json.dumps({"openai-compatibility": upstreams}).encode()
    (key,) = read_key_list("openai-compatibility", lists, uses={}, pseudonym=same).accounts
    detail = {"timestamp": _GOOD["timestamp"], "auth_index": "a\0b"}
    usage = {"apis": {"sk\0": {"models": {"m\0": {"total_requests": 1, "details": [detail]}}}}}
    (series,) = read_snapshot(json.dumps({"usage": usage}).encode(), same)
    assert series.details is not None
    (wire,) = read_details(series.details, series, same)
    assert "\0" not in repr((file, key, series.key, series.model, wire)).replace("\\x00", "\0")
    assert (file.auth_index, key.auth_index) == ("a\ufffdb", "i\ufffd")


# --- what is no ordinary request -------------------------------------------------------------------------------------


def test_a_synthetic_result_of_a_home_node_is_not_booked() -> None:
    assert _reason(executor_type="home-result") == "home_result"


def test_a_prewarm_keeps_its_tokens_and_is_not_a_request() -> None:
    record = _record(generate=False)
    assert (record.counted, record.tokens.output) == (False, 7)


def test_a_failed_request_keeps_its_tokens() -> None:
    record = _record(failed=True, fail={"status_code": 500, "body": '{"error":{}}'})
    assert (record.code, record.counted, record.tokens.output) == ("500", True, 7)


@pytest.mark.parametrize(
    ("fail", "code"),
    [
        (None, "other"),
        ({}, "broken_stream"),
        ({"status_code": 200}, "broken_stream"),
        ({"status_code": 418}, "other"),
        ({"status_code": 429}, "429"),
        ({"status_code": 529}, "529"),
        ({"status_code": 504}, "504"),
        ({"status_code": 99999}, "other"),
        ({"status_code": 500, "body": "context canceled"}, "499"),
        ({"status_code": 500, "body": '{"error": "unexpected EOF"}'}, "500"),
        ({"status_code": 500, "body": "unexpected EOF"}, "broken_stream"),
    ],
)
def test_the_code_of_a_failure_says_what_failed(fail: object, code: str) -> None:
    assert _record(failed=True, fail=fail).code == code


def test_an_unknown_provider_is_read_like_openai_and_marked() -> None:
    record = _record(
        provider="plugin-x",
        tokens={"input_tokens": 100, "cached_tokens": 60, "output_tokens": 10, "reasoning_tokens": 4},
    )
    assert (record.tokens.uncached, record.tokens.cache_read, record.tokens.output) == (40, 60, 10)
    assert not record.known_family
    assert _record().known_family


def test_a_provider_whose_counts_the_proxy_has_split_needs_no_family() -> None:
    breakdown = {"quality": "complete", "input": {"uncached_tokens": 100}, "output": {"non_reasoning_tokens": 10}}
    assert _record(provider="plugin-x", token_breakdown=breakdown).known_family
    assert not _record(provider="plugin-x", token_breakdown=breakdown | {"quality": "new"}).known_family


def test_a_breakdown_may_have_one_side_only() -> None:
    """As of an embedding, or of a stream that broke."""
    sent = {"quality": "complete", "input": {"uncached_tokens": 100}}
    assert _record(token_breakdown=sent).tokens == Tokens(uncached=100)
    sent = {"quality": "complete", "output": {"non_reasoning_tokens": 10, "reasoning_tokens": 4}}
    assert _record(token_breakdown=sent).tokens == Tokens(output=14, reasoning=4)


@pytest.mark.parametrize(
    ("tokens", "reads"),
    [
        pytest.param({"cached_tokens": 60}, 60, id="up to 7.2.66"),
        pytest.param({"cached_tokens": 0, "cache_read_tokens": 60}, 60, id="from 7.2.67"),
        pytest.param({"cached_tokens": 60, "cache_read_tokens": 0, "cache_read_tokens_present": True}, 0, id="7.2.74"),
        pytest.param({"cached_tokens": 160}, 160, id="more than the prompt"),
    ],
)
@pytest.mark.parametrize("provider", ["codex", "gemini"])
def test_cache_reads_are_read_from_the_field_that_the_version_fills(
    provider: str, tokens: dict[str, Any], reads: int
) -> None:
    counted = _record(provider=provider, tokens={"input_tokens": 100} | tokens).tokens
    assert (counted.uncached, counted.cache_read) == (max(0, 100 - reads), reads)


def test_a_record_without_a_model_is_of_an_unknown_one() -> None:
    assert _record(model=None).model == "unknown"


def test_an_image_that_may_have_been_asked_for_counts_as_a_request() -> None:
    assert _record(provider="codex", model="gpt-image-2", alias=None).counted


def test_google_charges_a_vertex_account_that_the_proxy_no_longer_lists() -> None:
    assert _record(provider="vertex", auth_type="oauth").billing is Billing.METERED
    assert _record(provider="claude", auth_type="oauth").billing is Billing.SUBSCRIPTION


def test_a_numeric_auth_index_is_not_a_handle() -> None:
    assert _record(auth_index=7).auth_index == ""


@pytest.mark.parametrize(
    ("answered", "asked", "tier"),
    [
        (None, "auto", ""),
        ("default", "priority", ""),
        ("priority", "auto", "priority"),
        (None, "flex", "flex"),
        (None, "standard_only", ""),
        ("on_demand", None, ""),
        (" Priority ", None, "priority"),
    ],
)
def test_the_charged_tier_is_read(answered: str | None, asked: str | None, tier: str) -> None:
    record = _record(response_service_tier=answered, service_tier=asked)
    assert (record.service_tier, record.tier_only_asked) == (tier, bool(tier and not answered))


@pytest.mark.parametrize(
    ("auth_type", "answered", "asked", "tier"),
    [
        ("oauth", "default", "priority", ("priority", True)),
        ("oauth", "auto", "fast", ("fast", True)),
        ("oauth", "default", "auto", ("", False)),
        ("oauth", "priority", "auto", ("priority", False)),
        ("apikey", "default", "priority", ("", False)),
    ],
)
def test_the_request_decides_the_tier_of_codex_by_login(
    auth_type: str, answered: str, asked: str, tier: tuple[str, bool]
) -> None:
    record = _record(provider="codex", auth_type=auth_type, response_service_tier=answered, service_tier=asked)
    assert (record.service_tier, record.tier_only_asked) == tier


@pytest.mark.parametrize(
    ("auth_type", "billing"),
    [
        ("oauth", Billing.SUBSCRIPTION),
        ("apikey", Billing.METERED),
        ("unknown", Billing.UNKNOWN),
        (None, Billing.UNKNOWN),
    ],
)
def test_billing_without_an_inventory_follows_the_records_auth_type(auth_type: str | None, billing: Billing) -> None:
    assert _record(auth_type=auth_type).billing is billing


# --- redaction -------------------------------------------------------------------------------------------------------

_DANGEROUS = ("source", "api_key", "client_ip", "x_forwarded_for", "user_agent", "access_token_sha256", "new_field")


@pytest.mark.parametrize("misfit", [False, True], ids=["a record", "a record that does not fit"])
def test_no_secret_is_in_a_stored_line(misfit: bool) -> None:
    for secret in secrets():
        record = _GOOD | dict.fromkeys(_DANGEROUS, secret)
        record |= {
            "fail": {"status_code": 500, "body": f"invalid key {secret}"},
            "response_headers": {"Set-Cookie": [secret], secret: ["x"]},
            "nested": {"deep": [secret, {secret: secret}]},
        }
        if misfit:
            record["latency_ms"] = [secret]
            record["tokens"] = {"input_tokens": secret, secret: 5}
            record["failed"] = secret
        batch = _read(json.dumps([record]).encode())
        assert (len(batch.lines), batch.unreadable) == (1, [])
        assert secret.encode() not in batch.lines[0]


def test_an_error_text_about_a_record_names_no_value() -> None:
    outcome = _read_one(_GOOD | {"latency_ms": ["sk-secret"], "tokens": {"input_tokens": "sk-secret"}})
    assert isinstance(outcome, Rejected)
    assert "sk-secret" not in outcome.detail


def test_a_stored_line_is_read_back_unchanged_and_not_redacted_again() -> None:
    batch = _read(json.dumps(recorded("v7.2.140/usage-queue/oddities.json")["body"]).encode())
    for line, wire in zip(batch.lines, batch.wires, strict=True):
        assert msgspec.json.encode(decode_line(line)) == line == msgspec.json.encode(wire)
