"""Every recorded batch gives the tokens that the vendors sent."""

from collections import Counter

import pytest

from exporter.normalize.batch import read_batch
from exporter.normalize.usage_record import normalize
from exporter.normalize.wire_record import Wire
from exporter.records import UNKNOWN_CREDENTIAL, Rejected, UsageRecord
from tests.fakes.recordings import batch_bodies, batches, body_of, recorded

_RECEIVED_MS = 1_795_540_000_000
_Sums = Counter[tuple[str, str, str]]


def _records(bodies: list[bytes]) -> list[UsageRecord]:
    found: list[UsageRecord] = []
    for body in bodies:
        batch = read_batch(body, pseudonym=lambda value: f"hash-of-{len(value)}")
        assert not batch.unreadable
        for wire in batch.wires:
            assert isinstance(wire, Wire)
            record = normalize(wire, 1, received_ms=_RECEIVED_MS, facts=lambda _handle, _provider: UNKNOWN_CREDENTIAL)
            assert not isinstance(record, Rejected), record
            found.append(record)
    return found


def _summed(records: list[UsageRecord]) -> _Sums:
    sums: _Sums = Counter()
    for record in records:
        key, tokens = (record.auth_index, record.model), record.tokens
        sums[(*key, "uncached")] += tokens.uncached
        sums[(*key, "cache_read")] += tokens.cache_read
        sums[(*key, "cache_write")] += tokens.cache_write
        sums[(*key, "output")] += tokens.output - tokens.reasoning
        sums[(*key, "reasoning")] += tokens.reasoning
        sums[(*key, "unclassified")] += tokens.unclassified
    return +sums


def _sent(version: str, batch: str) -> _Sums:
    sums: _Sums = Counter()
    for served in recorded(f"{version}/usage-queue/{batch}.truth.json")["served"]:
        if served.get("usage_sent") and not served.get("hidden"):
            for bucket, number in served["tokens"].items():
                sums[(served["auth_index"], served["model"], bucket)] += number
    return +sums


_NOT_EQUAL = {
    "broken-streams": "CPA records no tokens where a stream breaks after its usage",
    "oddities": "contradictory usage, and the image tool's record that no vendor call stands for",
}


@pytest.mark.parametrize("batch", [name for name in batches("v7.2.140") if name not in _NOT_EQUAL])
def test_records_with_a_breakdown_agree_to_the_bucket(batch: str) -> None:
    assert _summed(_records(batch_bodies("v7.2.140", batch))) == _sent("v7.2.140", batch)


def _input_and_output(sums: _Sums) -> _Sums:
    """The tokens that a record without a breakdown can show.

    CPA 7.1.0 has no cache writes of OpenAI-style providers, which are part of the uncached input there, and no
    reasoning of Claude, which is part of the output.
    """
    merged: _Sums = Counter()
    for (auth_index, model, bucket), number in sums.items():
        merged[(auth_index, model, "output" if bucket in ("output", "reasoning") else "input")] += number
    return merged


@pytest.mark.parametrize("batch", [name for name in batches("v7.1.0") if name not in _NOT_EQUAL])
def test_records_without_a_breakdown_agree_in_input_and_output(batch: str) -> None:
    found, sent = _summed(_records(batch_bodies("v7.1.0", batch))), _sent("v7.1.0", batch)
    assert _input_and_output(found) == _input_and_output(sent)
    reads = {key: number for key, number in sent.items() if key[2] == "cache_read"}
    assert {key: number for key, number in found.items() if key[2] == "cache_read"} == reads


def test_broken_streams_lack_only_what_cpa_did_not_record() -> None:
    found, sent = _summed(_records(batch_bodies("v7.2.140", "broken-streams"))), _sent("v7.2.140", "broken-streams")
    assert not found - sent, "nothing is invented"
    missing = {model for _, model, _ in (sent - found)}
    assert missing == {"vendor/deepseek-v3.1", "kimi-k2.5"}, "the two families that fail after their usage"


def test_contradictory_usage_is_unclassified_and_everything_else_agrees() -> None:
    found, sent = _summed(_records(batch_bodies("v7.2.140", "oddities"))), _sent("v7.2.140", "oddities")
    image = {"uncached": 70, "output": 900}
    assert {b: n for (_, model, b), n in found.items() if model == "gpt-image-2"} == image
    unclassified = [n for (_, _, bucket), n in found.items() if bucket == "unclassified"]
    assert unclassified == [4730, 4730], "two contradictory records, each with its total in unclassified"
    both = {model for _, model, _ in found} & {model for _, model, _ in sent}
    for model in both - {"vendor/deepseek-v3.1"}:
        assert {k: n for k, n in found.items() if k[1] == model} == {k: n for k, n in sent.items() if k[1] == model}


def test_the_image_tools_record_and_a_prewarm_are_not_requests() -> None:
    records = _records(batch_bodies("v7.2.140", "oddities"))
    uncounted = [(record.model, record.tokens.output) for record in records if not record.counted]
    assert uncounted == [("gpt-5.4", 0), ("gpt-image-2", 900)]


def test_v8_records_are_v7_records() -> None:
    (body,) = [body_of("v8-constructed/usage-queue.json")]
    assert len(_records([body])) == 5
    assert all(record.tokens.prompt for record in _records([body]) if not record.code)


def _codes(version: str, batch: str) -> Counter[str]:
    return Counter(record.code for record in _records(batch_bodies(version, batch)) if record.code)


def test_each_upstream_status_is_its_own_code() -> None:
    expected: Counter[str] = Counter()
    for served in recorded("v7.2.140/usage-queue/failures-by-status.truth.json")["served"]:
        if served["status"] >= 400 and not served["hidden"]:
            expected[str(served["status"])] += 1
    assert _codes("v7.2.140", "failures-by-status") == expected
    older = {"400": 5, "401": 6, "403": 6, "429": 6, "500": 6, "529": 6}
    assert _codes("v7.1.0", "failures-by-status") == older


def test_a_broken_stream_has_one_code_whatever_status_cpa_made_up() -> None:
    # CPA says 200 or 500 at random; it always says 408 and 502 for Codex and for error events.
    assert _codes("v7.2.140", "broken-streams") == {"broken_stream": 7, "499": 4, "502": 2, "408": 1}
    assert _codes("v7.1.0", "broken-streams") == {"broken_stream": 6, "499": 5}


def test_an_upstream_that_never_answered_is_a_broken_stream_and_not_a_500() -> None:
    assert _codes("v7.2.140", "stale-headers") == {"429": 2, "broken_stream": 2}


def test_the_tier_that_the_upstream_reports_is_the_tier() -> None:
    tiers = Counter(record.service_tier for record in _records(batch_bodies("v7.2.140", "oddities")))
    assert tiers == {"": 9, "priority": 1, "flex": 2}
