"""Reading the body of a snapshot: known details, new ones, and unreadable ones."""

import json
from typing import Any

import pytest

from exporter.errors import BadAnswerError
from exporter.normalize.snapshot import (
    SnapshotSeries,
    compare,
    may_have_moments,
    model_family,
    read_details,
    read_snapshot,
    snapshot_fingerprint,
)
from exporter.normalize.wire_record import Wire

DETAIL: dict[str, Any] = {
    "timestamp": "2026-04-01T09:15:02.5+08:00",
    "latency_ms": 5312,
    "source": "dev@example.com",
    "auth_index": "4f1c0a9be2d37718",
    "tokens": {
        "input_tokens": 1200,
        "output_tokens": 400,
        "reasoning_tokens": 150,
        "cached_tokens": 1000,
        "total_tokens": 1600,
    },
    "failed": False,
}


def _pseudonym(value: str) -> str:
    return f"hash-of-{len(value)}"


def _series(details: Any, *, key: str = "sk-client", indent: int | None = None, requests: int = 1) -> SnapshotSeries:
    model = {"total_requests": requests, "total_tokens": 1600, "details": details}
    body = json.dumps({"usage": {"apis": {key: {"models": {"gpt-5": model}}}}}, indent=indent)
    (series,) = read_snapshot(body.encode(), _pseudonym)
    return series


def _wires(series: SnapshotSeries) -> list[Wire | bytes]:
    assert series.details is not None
    return list(read_details(series.details, series, _pseudonym))


def _fingerprint(**changes: Any) -> int:
    (wire,) = _wires(_series([{**DETAIL, **changes}]))
    assert isinstance(wire, Wire)
    return snapshot_fingerprint("p", wire)


# --- identity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"timestamp": "2026-04-01T01:15:02.5Z"},
        {"timestamp": "2026-03-31T20:45:02.500000000-04:30"},
        {"latency_ms": 1},
        {"source": "other@example.com"},
        {"a field of a later version": 1},
    ],
    ids=str,
)
def test_a_detail_is_recognized_whatever_an_import_changes(changes: dict[str, Any]) -> None:
    assert _fingerprint(**changes) == _fingerprint()


@pytest.mark.parametrize(
    "changes",
    [
        {"timestamp": "2026-04-01T09:15:02.500000001+08:00"},
        {"timestamp": "2026-04-01T09:15:02.5+09:00"},
        {"auth_index": "other"},
        {"failed": True},
        {"tokens": {**DETAIL["tokens"], "cached_tokens": 999}},
    ],
    ids=str,
)
def test_a_different_detail_is_another_one(changes: dict[str, Any]) -> None:
    assert _fingerprint(**changes) != _fingerprint()


def test_a_number_in_place_of_a_handle_identifies_nothing() -> None:
    assert _fingerprint(auth_index=3) == _fingerprint(auth_index=17)


def test_the_identity_never_changes() -> None:
    """A different identity would book everything again that proxies still show."""
    assert _fingerprint() == 2705196836833912740


# --- what is new ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("indent", [None, 2])
def test_only_details_after_the_known_ones_are_read(indent: int | None) -> None:
    known, _ = compare(_series([DETAIL] * 3, indent=indent), None)
    more = {**DETAIL, "failed": True}
    grown = _series([DETAIL] * 3 + [more] * 2, indent=indent, requests=5)
    mark, tail = compare(grown, known)
    if indent is None:
        assert tail is not None
        assert [detail["failed"] for detail in json.loads(tail)] == [True, True]
    else:
        assert tail is None, "white space moved, so everything is read"
    assert mark == compare(grown, None)[0]
    assert compare(grown, mark) == (mark, b"[]")


@pytest.mark.parametrize("indent", [None, 2])
def test_a_list_with_the_newest_first_is_read_only_up_to_the_known_details(
    indent: int | None,
) -> None:
    known, _ = compare(_series([DETAIL] * 3, indent=indent), None)
    more = {**DETAIL, "failed": True}
    grown = _series([more] * 2 + [DETAIL] * 3, indent=indent, requests=5)
    mark, added = compare(grown, known)
    assert added is not None
    assert [detail["failed"] for detail in json.loads(added)] == [True, True]
    assert mark == compare(grown, None)[0]


def test_details_that_changed_are_read_from_the_start() -> None:
    known, _ = compare(_series([DETAIL, {**DETAIL, "failed": True}]), None)
    assert compare(_series([{**DETAIL, "failed": True}, DETAIL, DETAIL]), known)[1] is None
    assert compare(_series([DETAIL]), known)[1] is None


# --- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["POST /v1/chat/completions", "GET /v1/responses", "claude", "unknown", ""])
def test_a_text_in_place_of_a_key_is_not_a_client(key: str) -> None:
    assert _series([DETAIL], key=key).client == ""


def test_an_unreadable_detail_costs_no_other_and_keeps_no_secret() -> None:
    bad = {**DETAIL, "tokens": "dev@example.com"}
    good, misfit, other = _wires(_series([DETAIL, bad, {**DETAIL, "latency_ms": 7}]))
    assert isinstance(good, Wire)
    assert isinstance(other, Wire)
    assert (good.latency_ms, other.latency_ms, good.source) == (5312, 7, "hash-of-15")
    assert isinstance(misfit, bytes)
    assert b"dev@example.com" not in misfit
    assert b"sk-client" not in misfit


def test_the_added_digits_of_a_number_that_grew_are_an_unreadable_detail() -> None:
    known, _ = compare(_series([1]), None)
    grown = _series([1.5], requests=2)
    _, added = compare(grown, known)
    assert added is not None
    (line,) = read_details(added, grown, _pseudonym)
    assert isinstance(line, bytes)


@pytest.mark.parametrize(
    ("details", "moment", "found"),
    [
        ([{}, {"timestamp": "soon"}, DETAIL], 1_775_006_102_500, True),
        ([{}, {"timestamp": "soon"}, DETAIL], 1_775_006_102_501, False),
        ([DETAIL, "no detail"], 1_775_006_102_501, True),
    ],
)
def test_a_detail_that_may_be_of_a_given_moment_is_found(details: list[Any], moment: int, found: bool) -> None:
    view = _series(details).details
    assert view is not None
    assert may_have_moments(view, {moment}) == found


@pytest.mark.parametrize("model", ["null", "{}", '{"total_requests": null, "total_tokens": null, "details": [ ]}'])
def test_nulls_cost_no_other_series(model: str) -> None:
    body = f'{{"usage": {{"apis": {{"a": null, "b": {{"models": {{"m": {model}, "n": {{"total_requests": 2}}}}}}}}}}}}'
    assert read_snapshot(body.encode(), _pseudonym)[-1].requests == 2


def test_a_blank_in_an_empty_list_is_not_a_detail() -> None:
    body = b'{"usage": {"apis": {"a": {"models": {"m": {"total_requests": 2, "details": [ \n]}}}}}}'
    assert read_snapshot(body, _pseudonym)[0].details is None


@pytest.mark.parametrize("details", [None, []])
def test_stripped_details_are_not_details(details: Any) -> None:
    assert _series(details).details is None
    assert (_series(details, requests=0).details is None) is (details is None)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b'{"usage": null}', b'{"usage": {"apis": [1]}}', b"\xff"])
def test_anything_but_a_snapshot_is_refused_without_quoting_it(body: bytes) -> None:
    with pytest.raises(BadAnswerError, match="has a shape that no known CPA version sends"):
        read_snapshot(body, _pseudonym)


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("claude-sonnet-4-5-20250929", "claude"),
        ("gemini-2.5-pro", "gemini"),
        ("gemini-claude-sonnet-4-5-thinking", "antigravity"),  # Antigravity's name, counted in Gemini's format
        ("gpt-5.4", "openai"),
        ("openai/o3-mini", "openai"),
        ("grok-4.5", "xai"),
        ("kimi-k2.5", "kimi"),
        ("vendor/deepseek-v3.1", "deepseek"),
        ("gpto-like", "unknown"),
        ("my-alias", "unknown"),
    ],
)
def test_a_model_suggests_its_provider(model: str, provider: str) -> None:
    assert model_family(model)[0] == provider
