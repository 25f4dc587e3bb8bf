"""Wire records in the exact shape of CPA, built from what really happened.

``Tokens`` are exclusive buckets. Each provider family reports them differently, and so does each shape: ``"7.2"`` is
v7.2.140 (breakdown, headers), ``"7.1"`` is v7.1.0 (neither), ``"6.10"`` is anything before v7 (no error text, one field
for the cache), including the details of the legacy statistics. ``visible`` returns what an exact reader can still learn
about the tokens from such a record: tests compare with that truth.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from email.utils import formatdate
from typing import Any, Literal

from exporter.records import Tokens
from exporter.simulator import quotas
from exporter.simulator.world import ORGANIZATION_ID, SESSION_COOKIE, Client, Credential, Family

Shape = Literal["7.2", "7.1", "6.10"]

EXECUTORS = {
    "claude": "ClaudeExecutor",
    "codex": "CodexExecutor",
    "xai": "XAIExecutor",
    "kimi": "KimiExecutor",
    "openrouter": "OpenAICompatExecutor",
    "gemini": "GeminiExecutor",
    "vertex": "GeminiVertexExecutor",
    "antigravity": "AntigravityExecutor",
}
_ENDPOINTS = {
    "claude": "POST /v1/messages",
    "codex": "POST /v1/responses",
    "xai": "POST /v1/responses",
    "gemini": "POST /v1beta/models/*action",
    "vertex": "POST /v1beta/models/*action",
}
# Providers whose answers name the tier that served the request.
_TIER_REPORTERS = {"codex", "xai"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One upstream attempt as it happened. ``status`` is 200 unless the attempt failed; times are Unix seconds.

    ``failed`` with status 200 is a broken stream. ``inconsistent``: the upstream's own numbers contradict each other.
    """

    client: Client
    credential: Credential
    model: str
    alias: str
    started: float
    latency_ms: int
    request_id: str
    tokens: Tokens = field(default_factory=Tokens)
    ttft_ms: int = 0
    failed: bool = False
    status: int = 200
    error_body: str = ""
    stream: bool = True
    generate: bool = True
    inconsistent: bool = False
    effort: str = ""
    service_tier: str = "auto"
    response_tier: str = "default"
    reports_tier: bool = True
    serial: int = 0

    @property
    def ended(self) -> float:
        return self.started + self.latency_ms / 1000


def in_shape(event: Event, shape: Shape) -> Event:
    """The event in a version of that shape: 499 for a client that hung up exists from v7.2.124 on."""
    return replace(event, status=500) if event.status == 499 and shape != "7.2" else event


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


def wire_record(event: Event, *, shape: Shape, zone: tzinfo) -> dict[str, Any]:
    """The event's record with all fields of that version, in CPA's order."""
    credential, client = event.credential, event.client
    new = shape == "7.2"
    record: dict[str, Any] = {"timestamp": timestamp(event, shape, zone), "latency_ms": event.latency_ms}
    if new:
        record["ttft_ms"] = event.ttft_ms
    record |= {"source": credential.source_for(client), "auth_index": credential.auth_index}
    if new:
        if credential.token:
            record["access_token_sha256"] = credential.token_sha256
        record |= {
            "client_ip": client.address,
            "x_forwarded_for": client.forwarded,
            "user_agent": client.user_agent,
        }
    record |= {"tokens": _raw_tokens(event, shape), "failed": event.failed}
    if new:
        record["generate"] = event.generate
    if shape != "6.10":
        record["fail"] = {"status_code": event.status, "body": event.error_body}
    if new:
        headers = response_headers(event)
        if headers:
            record["response_headers"] = {name: [value] for name, value in sorted(headers.items())}
        record |= {"accounting_version": 2, "token_breakdown": _breakdown(event)}
    record["provider"] = _provider_name(credential, shape)
    if new:
        record["executor_type"] = EXECUTORS[credential.provider]
    record |= {
        "model": event.model,
        "alias": event.alias,
        "endpoint": _ENDPOINTS.get(credential.provider, "POST /v1/chat/completions"),
        "auth_type": _auth_type(credential, shape),
        "api_key": client.key,
        "request_id": event.request_id,
    }
    if new:
        record |= {"reasoning_effort": event.effort, "service_tier": event.service_tier}
        if credential.provider in _TIER_REPORTERS and event.reports_tier and not event.failed:
            record["response_service_tier"] = event.response_tier
    return record


def timestamp(event: Event, shape: Shape, zone: tzinfo) -> str:
    """The record's ``timestamp``."""
    # Nanoseconds tell details apart.
    nanoseconds = (event.serial * 37 + 11) % 1000 if shape == "6.10" else 0
    return go_timestamp(event.started, zone, nanoseconds=nanoseconds)


def go_timestamp(at: float, zone: tzinfo, *, nanoseconds: int = 0) -> str:
    """A time as Go writes it: offset or ``Z``, fraction without trailing zeros."""
    moment = datetime.fromtimestamp(at, zone)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{moment.microsecond:06d}{nanoseconds:03d}".rstrip("0")
    offset = moment.strftime("%z")
    suffix = "Z" if offset == "+0000" else f"{offset[:3]}:{offset[3:5]}"
    return f"{text}.{fraction}{suffix}" if fraction else text + suffix


def response_headers(event: Event) -> Mapping[str, str]:
    """The upstream's headers: quota windows, organisation, cookies."""
    at = event.started + event.ttft_ms / 1000
    headers = {"Date": formatdate(at, usegmt=True)}
    if event.stream and not event.failed:
        headers |= {"Cache-Control": "no-cache", "Content-Type": "text/event-stream"}
    else:
        headers |= {"Content-Length": str(400 + event.serial % 300), "Content-Type": "application/json"}
    if event.status == 429:
        headers["Retry-After"] = "30"
    request_id = f"req_{event.serial:08x}"
    credential = event.credential
    if credential.family == "gemini":
        return headers
    if credential.provider == "claude":
        headers["Request-Id"] = request_id
        if credential.kind == "oauth":
            headers["Anthropic-Organization-Id"] = ORGANIZATION_ID
            return headers | quotas.claude_headers(credential, at, event.model)
        return headers | _anthropic_key_headers(at)
    headers["X-Request-Id"] = request_id
    if credential.provider == "codex":
        headers["Set-Cookie"] = SESSION_COOKIE
        return headers | quotas.codex_headers(credential, at)
    return headers | {
        "X-Ratelimit-Limit-Requests": "500",
        "X-Ratelimit-Limit-Tokens": "200000",
        "X-Ratelimit-Remaining-Requests": "499",
        "X-Ratelimit-Remaining-Tokens": "199000",
        "X-Ratelimit-Reset-Requests": "120ms",
        "X-Ratelimit-Reset-Tokens": "6m0s",
    }


def _anthropic_key_headers(at: float) -> dict[str, str]:
    reset = datetime.fromtimestamp(int(at) + 60, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "Anthropic-Ratelimit-Requests-Limit": "1000",
        "Anthropic-Ratelimit-Requests-Remaining": "990",
        "Anthropic-Ratelimit-Requests-Reset": reset,
        "Anthropic-Ratelimit-Tokens-Limit": "80000",
        "Anthropic-Ratelimit-Tokens-Remaining": "79000",
        "Anthropic-Ratelimit-Tokens-Reset": reset,
    }


def _provider_name(credential: Credential, shape: Shape) -> str:
    if credential.provider == "openrouter" and shape == "7.2":
        return "openai-compatible-openrouter"
    return credential.provider


def _auth_type(credential: Credential, shape: Shape) -> str:
    # v7.1.0 says "unknown" for an account without an e-mail.
    if shape != "7.2" and credential.kind == "oauth" and not credential.email:
        return "unknown"
    return credential.kind


def _raw_tokens(event: Event, shape: Shape) -> dict[str, int | bool]:
    tokens = event.tokens
    new = shape == "7.2"
    family: Family = event.credential.family
    total = tokens.prompt + tokens.output
    output, reasoning, read, write = tokens.output, tokens.reasoning, tokens.cache_read, tokens.cache_write
    cached, uncached = read, tokens.prompt
    if family == "claude":
        uncached, cached = tokens.uncached, read or write
        if not new:
            reasoning, total = 0, tokens.uncached + output
    elif family == "gemini":
        output -= reasoning
    elif event.inconsistent:
        output -= reasoning  # this upstream counts reasoning outside, but inside its total
    if family != "claude" and not new:
        read = write = 0
    raw: dict[str, int | bool] = {
        "input_tokens": uncached,
        "output_tokens": output,
        "reasoning_tokens": reasoning,
        "cached_tokens": cached,
    }
    if shape != "6.10":
        raw["cache_read_tokens"] = read
    if new:
        raw["cache_read_tokens_present"] = True
    if shape != "6.10":
        raw["cache_creation_tokens"] = write
    raw["total_tokens"] = total
    return raw


def _breakdown(event: Event) -> dict[str, Any]:
    tokens = visible(event, "7.2")
    return {
        "schema_version": 2,
        "quality": "inconsistent" if event.inconsistent else "complete",
        "total_tokens": tokens.prompt + tokens.output + tokens.unclassified,
        "input": {
            "total_tokens": tokens.prompt,
            "uncached_tokens": tokens.uncached,
            "cache_read_tokens": tokens.cache_read,
            "cache_write_tokens": tokens.cache_write,
        },
        "output": {
            "total_tokens": tokens.output,
            "non_reasoning_tokens": tokens.output - tokens.reasoning,
            "reasoning_tokens": tokens.reasoning,
        },
        "unclassified_tokens": tokens.unclassified,
    }
