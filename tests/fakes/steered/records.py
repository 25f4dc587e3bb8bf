"""The records of older versions, derived from the newest one's, and what an exact reader can still learn from them.

``"7.2"`` is v7.2.140 (breakdown, headers), ``"7.1"`` is v7.1.0 (neither), ``"6.10"`` is anything before v7 (no error
text, one field for the cache), including the details of the legacy statistics.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import tzinfo
from typing import Any, Literal

from exporter.records import Tokens
from exporter.simulator.wire import TOKEN_FIELDS, Event, usage_detail, wire_record
from tests.fakes.steered.private import error_body, private_fields
from tests.fakes.steered.versions import VersionNumber

Shape = Literal["7.2", "7.1", "6.10"]

_FIELDS: dict[str, Shape] = {
    "timestamp": "6.10",
    "latency_ms": "6.10",
    "ttft_ms": "7.2",
    "source": "6.10",
    "auth_index": "6.10",
    "access_token_sha256": "7.2",
    "client_ip": "7.2",
    "x_forwarded_for": "7.2",
    "user_agent": "7.2",
    "tokens": "6.10",
    "failed": "6.10",
    "generate": "7.2",
    "fail": "7.1",
    "response_headers": "7.2",
    "accounting_version": "7.2",
    "token_breakdown": "7.2",
    "provider": "6.10",
    "executor_type": "7.2",
    "model": "6.10",
    "alias": "6.10",
    "endpoint": "6.10",
    "auth_type": "6.10",
    "api_key": "6.10",
    "request_id": "6.10",
    "reasoning_effort": "7.2",
    "service_tier": "7.2",
    "response_service_tier": "7.2",
}
"""The fields in CPA's order, each with the oldest shape that has it."""
_SHAPES: tuple[Shape, ...] = ("6.10", "7.1", "7.2")


def in_shape(event: Event, shape: Shape) -> Event:
    """The event as a version of that shape records it, with its provider's own error text.

    From v7.2.124 on, 499 means that the client hung up.
    """
    if event.error_body.startswith("{"):
        event = replace(event, error_body=error_body(event.credential, event.status))
    return replace(event, status=500) if event.status == 499 and shape != "7.2" else event


def record_of(event: Event, *, shape: Shape, zone: tzinfo) -> dict[str, Any]:
    """The event's record with all fields of that shape, in CPA's order."""
    newest = wire_record(event, zone)
    newest |= private_fields(event, newest["response_headers"])
    known = _SHAPES[: _SHAPES.index(shape) + 1]
    record = {name: newest[name] for name, since in _FIELDS.items() if name in newest and since in known}
    if shape == "7.2":
        return record
    credential = event.credential
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
    """A version's detail of a record, without the fields that the version lacks."""
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
