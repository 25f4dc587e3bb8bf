"""The demo's wire records: the shape of recorded ones, the semantics of each provider family, and a correct truth."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from exporter.records import Tokens
from exporter.simulator.quotas import FIVE_HOURS
from exporter.simulator.traffic import load
from exporter.simulator.wire import Event, go_timestamp
from exporter.simulator.world import CLIENTS, CREDENTIALS
from tests.fakes.planted import secrets
from tests.fakes.steered.records import Shape, record_of, visible
from tests.fakes.steered.traffic import Attempt, Traffic
from tests.fakes.steered.truth import Truth

RECORDINGS = Path(__file__).parents[2] / "fixtures" / "cpa"
SHANGHAI = ZoneInfo("Asia/Shanghai")
# Tuesday, 2026-11-24, 15:00 in Shanghai.
AFTERNOON = 1795503600.0
VERSIONS: dict[str, Shape] = {"v7.2.140": "7.2", "v7.1.0": "7.1"}

# Our credential and the recording of its provider; all of them have the tokens below.
RECORDED = {
    "claude-alice": "claude-oauth",
    "claude-key": "claude-apikey",
    "codex-carol": "codex-oauth",
    "openrouter-key": "openai-compat",
    "gemini-key": "gemini-apikey",
    "vertex-key": "vertex-apikey",
    "antigravity-erin": "antigravity-oauth",
    "kimi-frank": "kimi-oauth",
    "xai-grace": "xai",
}
FULL = Tokens(uncached=120, cache_read=4000, cache_write=300, output=310, reasoning=60)
NO_WRITES = Tokens(uncached=420, cache_read=4000, output=310, reasoning=60)


def _event(credential_name: str, **details: Any) -> Event:
    credential = next(each for each in CREDENTIALS if each.name == credential_name)
    details.setdefault("tokens", NO_WRITES if credential.family == "gemini" else FULL)
    return Event(
        client=CLIENTS[0],
        credential=credential,
        model=credential.models[0].name,
        alias=credential.models[0].alias or credential.models[0].name,
        started=AFTERNOON + 0.5,
        latency_ms=4000,
        request_id="0a1b2c3d",
        **details,
    )


def _recorded(version: str, name: str) -> dict[str, Any]:
    """The recorded streaming record of a provider with cache and reasoning."""
    answer = json.loads((RECORDINGS / version / "usage-queue" / f"{name}.json").read_text())
    record: dict[str, Any] = answer["body"][1]
    return record


def _types(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _types(inner) for name, inner in value.items()}
    return [_types(inner) for inner in value] if isinstance(value, list) else type(value)


@cache
def _batch(shape: Shape, count: int = 8000) -> list[Attempt]:
    return Traffic(seed=3, zone=SHANGHAI, shape=shape).batch(count, ending=AFTERNOON, span_seconds=86400)


@pytest.mark.parametrize(
    ("version", "credential", "recording"),
    [
        (version, credential, recording)
        for version in VERSIONS
        for credential, recording in RECORDED.items()
        if (RECORDINGS / version / "usage-queue" / f"{recording}.json").exists()
    ],
)
def test_a_record_looks_like_the_recorded_one(version: str, credential: str, recording: str) -> None:
    recorded = _recorded(version, recording)
    made = record_of(_event(credential), shape=VERSIONS[version], zone=SHANGHAI)

    assert list(made) == list(recorded), "fields and their order"
    assert _types(made) == _types(recorded)
    assert made["tokens"] == recorded["tokens"], "the same real tokens must read the same on the wire"
    for field in ("token_breakdown", "executor_type", "auth_type", "endpoint", "fail", "accounting_version"):
        assert made.get(field) == recorded.get(field), field


@pytest.mark.parametrize("version", VERSIONS)
def test_the_failures_look_like_the_recorded_ones(version: str) -> None:
    answer = json.loads((RECORDINGS / version / "usage-queue" / "failures-by-status.json").read_text())
    recorded = {
        (record["provider"], record["fail"]["status_code"]): record
        for record in answer["body"]
        if record["auth_type"] == "oauth"
    }
    compared = 0
    for attempt in _batch(VERSIONS[version]):
        twin = recorded.get((attempt.record["provider"], attempt.status))
        if twin is None or attempt.record["auth_type"] != "oauth" or not attempt.error_body.startswith("{"):
            continue
        if "opus" in attempt.model:
            continue  # has one more window; no failure of it was recorded
        compared += 1
        assert _types(attempt.record) == _types(twin)
        if attempt.status != 401:  # CPA rewrites Codex' 401
            assert _types(json.loads(attempt.error_body)) == _types(json.loads(twin["fail"]["body"]))
    assert compared > 20


def test_contradicting_numbers_of_an_upstream_look_like_the_recorded_ones() -> None:
    answer = json.loads((RECORDINGS / "v7.2.140" / "usage-queue" / "oddities.json").read_text())
    recorded = next(each for each in answer["body"] if each["token_breakdown"]["quality"] == "inconsistent")
    event = _event("openrouter-key", inconsistent=True)
    made = record_of(event, shape="7.2", zone=SHANGHAI)

    assert made["tokens"] == recorded["tokens"]
    assert made["token_breakdown"] == recorded["token_breakdown"]
    assert visible(event, "7.2") == Tokens(unclassified=4730)


def test_cache_writes_alone_fill_the_cached_field_of_claude() -> None:
    event = _event("claude-key", tokens=Tokens(uncached=5, cache_write=9000, output=10))
    made = record_of(event, shape="7.2", zone=SHANGHAI)

    assert made["tokens"]["cached_tokens"] == made["tokens"]["cache_creation_tokens"] == 9000
    assert made["tokens"]["cache_read_tokens"] == 0
    assert made["tokens"]["total_tokens"] == 9015


@pytest.mark.parametrize(
    ("at", "zone", "expected"),
    [
        (1795503600.0, "Asia/Shanghai", "2026-11-24T15:00:00+08:00"),
        (1795503600.5, "Asia/Shanghai", "2026-11-24T15:00:00.5+08:00"),
        (1795503600.120345, "UTC", "2026-11-24T07:00:00.120345Z"),
        (1795503600.25, "America/St_Johns", "2026-11-24T03:30:00.25-03:30"),
    ],
)
def test_times_are_written_as_go_writes_them(at: float, zone: str, expected: str) -> None:
    assert go_timestamp(at, ZoneInfo(zone)) == expected


def test_the_truth_is_the_sum_of_the_breakdowns() -> None:
    batch = _batch("7.2")
    whole = Truth(batch).total()
    breakdowns = [attempt.record["token_breakdown"] for attempt in batch]

    assert whole.uncached == sum(each["input"]["uncached_tokens"] for each in breakdowns)
    assert whole.cache_read == sum(each["input"]["cache_read_tokens"] for each in breakdowns)
    assert whole.cache_write == sum(each["input"]["cache_write_tokens"] for each in breakdowns)
    assert whole.output == sum(each["output"]["total_tokens"] for each in breakdowns)
    assert whole.reasoning == sum(each["output"]["reasoning_tokens"] for each in breakdowns)
    assert whole.unclassified == sum(each["unclassified_tokens"] for each in breakdowns)
    assert whole.prompt + whole.output + whole.unclassified == sum(each["total_tokens"] for each in breakdowns)


def test_each_breakdown_adds_up() -> None:
    for attempt in _batch("7.2"):
        breakdown = attempt.record["token_breakdown"]
        inside, outside = breakdown["input"], breakdown["output"]
        buckets = inside["uncached_tokens"] + inside["cache_read_tokens"] + inside["cache_write_tokens"]
        assert buckets == inside["total_tokens"]
        assert outside["non_reasoning_tokens"] + outside["reasoning_tokens"] == outside["total_tokens"]
        total = inside["total_tokens"] + outside["total_tokens"] + breakdown["unclassified_tokens"]
        assert total == breakdown["total_tokens"]


def test_the_truth_of_older_records_follows_from_the_raw_tokens() -> None:
    for attempt in _batch("7.1"):
        raw, provider = attempt.record["tokens"], attempt.record["provider"]
        if provider == "claude":
            expected = (
                raw["input_tokens"],
                raw["cache_read_tokens"],
                raw["cache_creation_tokens"],
                raw["output_tokens"],
            )
        else:
            output = raw["output_tokens"]
            if provider in {"gemini", "vertex", "antigravity"}:
                output += raw["reasoning_tokens"]
            expected = (raw["input_tokens"] - raw["cached_tokens"], raw["cached_tokens"], 0, output)
        tokens = attempt.tokens
        assert (tokens.uncached, tokens.cache_read, tokens.cache_write, tokens.output) == expected
        assert tokens.unclassified == 0


def test_the_rows_of_the_truth_count_attempts_and_failures() -> None:
    batch = _batch("7.2")
    rows = Truth(batch).as_rows()

    assert sum(row["attempts"] for row in rows) == len(batch)
    assert sum(row["failed"] for row in rows) == sum(attempt.failed for attempt in batch)
    assert {row["client"] for row in rows} == {client.name for client in CLIENTS}
    assert {row["credential"] for row in rows} == {credential.name for credential in CREDENTIALS}


OCCURRENCES: dict[str, Callable[[Attempt], bool]] = {
    "429 with Retry-After": lambda a: a.status == 429 and "Retry-After" in a.record["response_headers"],
    "401": lambda a: a.status == 401,
    "400": lambda a: a.status == 400,
    "500": lambda a: a.status == 500 and a.error_body.startswith("{"),
    "529": lambda a: a.status == 529,
    "stream broken with status 200": lambda a: a.failed and a.status == 200,
    "stream broken with status 500": lambda a: a.status == 500 and a.error_body == "unexpected EOF",
    "stream of Codex broken": lambda a: a.status == 408,
    "client gone": lambda a: a.status == 499,
    "prewarm": lambda a: not a.record["generate"],
    "image tool": lambda a: a.model == "gpt-image-2",
    "inconsistent": lambda a: a.record["token_breakdown"]["quality"] == "inconsistent",
    "long context": lambda a: a.tokens.prompt > 200_000,
    "priority tier": lambda a: a.record.get("response_service_tier") == "priority",
    "window of the provider full": lambda a: (
        a.record["response_headers"].get("Anthropic-Ratelimit-Unified-Status") == ["rejected"]
    ),
    "cookie": lambda a: "Set-Cookie" in a.record["response_headers"],
    "no account name": lambda a: a.record["source"] == a.record["api_key"],
}


@pytest.mark.parametrize("name", OCCURRENCES)
def test_a_day_has_every_kind_of_attempt(name: str) -> None:
    assert any(OCCURRENCES[name](attempt) for attempt in _batch("7.2"))


def test_attempts_of_one_request_share_its_id() -> None:
    groups: dict[str, list[Attempt]] = {}
    for attempt in _batch("7.2"):
        groups.setdefault(attempt.record["request_id"], []).append(attempt)
    several = [group for group in groups.values() if len(group) > 1]

    assert any(len({attempt.credential for attempt in group}) > 1 for group in several), "failover"
    assert any(len({attempt.credential for attempt in group}) == 1 for group in several), "retry"
    assert all(len({attempt.client for attempt in group}) == 1 for group in several)


def test_the_image_tool_adds_a_record_with_the_same_start_and_headers() -> None:
    batch = _batch("7.2")
    extra = next(attempt.record for attempt in batch if attempt.model == "gpt-image-2")
    main = next(
        attempt.record
        for attempt in batch
        if attempt.record["request_id"] == extra["request_id"] and attempt.model != "gpt-image-2" and not attempt.failed
    )

    for field in ("timestamp", "response_headers", "auth_index", "api_key", "alias"):
        assert extra[field] == main[field], field


def test_records_come_in_the_order_in_which_they_ended() -> None:
    batch = _batch("7.2", count=500)
    starts = [attempt.record["timestamp"] for attempt in batch]

    assert [attempt.ended for attempt in batch] == sorted(attempt.ended for attempt in batch)
    assert starts != sorted(starts), "neighbours are out of order by their start"


def test_there_is_more_traffic_by_day_than_by_night() -> None:
    hours = [int(attempt.record["timestamp"][11:13]) for attempt in _batch("7.2")]

    assert sum(13 <= hour < 17 for hour in hours) > 3 * sum(1 <= hour < 5 for hour in hours)
    day = [load(AFTERNOON + 600 * step, SHANGHAI) for step in range(144)]
    assert sum(day) / len(day) == pytest.approx(1, abs=0.01)


def test_a_seed_gives_the_same_traffic_again() -> None:
    first, again, other = (
        [attempt.record for attempt in Traffic(seed=seed, zone=SHANGHAI).batch(50, ending=AFTERNOON)]
        for seed in (5, 5, 6)
    )

    assert first == again
    assert first != other


def test_a_full_account_is_refused_until_its_window_ends() -> None:
    bob = next(each for each in CREDENTIALS if each.name == "claude-bob")
    window_end = (AFTERNOON // FIVE_HOURS + 1) * FIVE_HOURS
    just_before = Traffic(seed=1, zone=SHANGHAI).batch(600, ending=window_end - 60, span_seconds=60)
    just_after = Traffic(seed=1, zone=SHANGHAI).batch(600, ending=window_end + 90, span_seconds=60)

    refused = [attempt.status for attempt in just_before if attempt.credential == bob.name]
    assert set(refused) == {429}
    assert any(not attempt.failed for attempt in just_after if attempt.credential == bob.name)


def test_every_personal_value_is_planted() -> None:
    planted = set(secrets())
    for attempt in _batch("7.2", count=1000):
        record = attempt.record
        personal = {record["source"], record["api_key"], record["client_ip"], record["user_agent"]}
        personal |= set(record["x_forwarded_for"].split(", ")) | {record.get("access_token_sha256", "")}
        personal |= set(record["response_headers"].get("Anthropic-Organization-Id", []))
        assert personal - {""} <= planted


def test_secrets_are_recognizable() -> None:
    planted = secrets()

    assert len(planted) == len(set(planted))
    assert all(len(value) >= 9 for value in planted), "a short value would be found by chance"
    assert len({credential.auth_index for credential in CREDENTIALS}) == len(CREDENTIALS)
    assert all(len(credential.auth_index) == 16 for credential in CREDENTIALS)
