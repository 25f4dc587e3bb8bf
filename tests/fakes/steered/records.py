"""The records of older versions, made from the newest one's, and what an exact reader can still learn from them.

``"7.2"`` is v7.2.140 (breakdown, headers), ``"7.1"`` is v7.1.0 (neither), ``"6.10"`` is anything before v7 (no error
text, one field for the cache), including the details of the legacy statistics.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import tzinfo
from typing import Any, Literal

from exporter.records import Tokens
from exporter.simulator.wire import TOKEN_FIELDS, Event, usage_detail, wire_record
from tests.fakes.steered.versions import VersionNumber

Shape = Literal["7.2", "7.1", "6.10"]

_SINCE_7_2 = (
    "ttft_ms",
    "access_token_sha256",
    "client_ip",
    "x_forwarded_for",
    "user_agent",
    "generate",
    "response_headers",
    "accounting_version",
    "token_breakdown",
    "executor_type",
    "reasoning_effort",
    "service_tier",
    "response_service_tier",
)


def in_shape(event: Event, shape: Shape) -> Event:
    """The event in a version of that shape: 499 for a client that hung up exists from v7.2.124 on."""
    return replace(event, status=500) if event.status == 499 and shape != "7.2" else event


def record_of(event: Event, *, shape: Shape, zone: tzinfo) -> dict[str, Any]:
    """The event's record with all fields of that shape, in CPA's order."""
    record = wire_record(event, zone)
    if shape == "7.2":
        return record
    credential = event.credential
    dropped = {*_SINCE_7_2, "fail"} if shape == "6.10" else {*_SINCE_7_2}
    record = {name: value for name, value in record.items() if name not in dropped}
    if shape == "6.10":
        record["timestamp"] = usage_detail(event, zone)["timestamp"]
    record["tokens"] = _tokens(event, zone, record["tokens"], shape)
    record["provider"] = credential.provider
    # v7.1.0 says "unknown" for an account without an e-mail.
    if credential.kind == "oauth" and not credential.email:
        record["auth_type"] = "unknown"
    return record


def _tokens(event: Event, zone: tzinfo, newest: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """Before v7.2 the Claude family reports no reasoning, and only it reports its cache in other fields."""
    tokens: dict[str, Any] = dict(usage_detail(event, zone)["tokens"])
    if shape == "6.10":
        return tokens
    claude, total = event.credential.family == "claude", tokens.pop("total_tokens")
    for name in ("cache_read_tokens", "cache_creation_tokens"):
        tokens[name] = newest[name] if claude else 0
    return tokens | {"total_tokens": total}


def detail_of(record: Mapping[str, Any], version: VersionNumber, auth_index: str | int) -> dict[str, Any]:
    """A version's detail of a record, without the fields that it does not know yet."""
    detail: dict[str, Any] = {"timestamp": record["timestamp"]}
    if version >= (6, 9, 1):
        detail["latency_ms"] = record["latency_ms"]
    if version >= (6, 2, 7):
        detail["source"] = record["source"]
    if version >= (6, 3, 56):
        detail["auth_index"] = auth_index
    detail["tokens"] = {name: record["tokens"][name] for name in TOKEN_FIELDS}
    if version >= (6, 2, 26):
        detail["failed"] = record["failed"]
    return detail


def visible(event: Event, shape: Shape) -> Tokens:
    """What the event's record in ``shape`` reveals about its tokens."""
    tokens = event.tokens
    if shape == "7.2":
        if event.inconsistent:
            return Tokens(unclassified=tokens.prompt + tokens.output)
        return tokens
    if event.credential.family == "claude" and shape == "6.10":
        # One field for both: reads, or writes if there were no reads.
        read = tokens.cache_read or tokens.cache_write
        return Tokens(uncached=tokens.uncached, cache_read=read, output=tokens.output)
    if event.credential.family == "claude":
        # CPA reports the Claude family's reasoning from v7.2.117 on; before that, it is inside the output.
        return Tokens(
            uncached=tokens.uncached,
            cache_read=tokens.cache_read,
            cache_write=tokens.cache_write,
            output=tokens.output,
        )
    if event.credential.family == "openai":
        # CPA reports the OpenAI family's cache writes from v7.2.56 on; before that, they look like plain input.
        output = tokens.output - tokens.reasoning if event.inconsistent else tokens.output
        return Tokens(
            uncached=tokens.uncached + tokens.cache_write,
            cache_read=tokens.cache_read,
            output=output,
            reasoning=tokens.reasoning,
        )
    return tokens
