"""Wire records in the shape of CPA, built from what really happened. They have the fields that the exporter reads.

``Tokens`` are exclusive buckets; each provider family reports them differently.
"""

from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from email.utils import formatdate
from typing import Any

from exporter.records import Tokens
from exporter.simulator import quotas
from exporter.simulator.world import PROVIDERS, Client, Credential

TOKEN_FIELDS = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens", "total_tokens")
"""The fields of tokens in a detail of ``/usage``."""

IMAGE_MODEL = "gpt-image-2"
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
    service_tier: str = "auto"
    serial: int = 0

    @property
    def ended(self) -> float:
        return self.started + self.latency_ms / 1000


def wire_record(event: Event, zone: tzinfo) -> dict[str, Any]:
    """The record that CPA 7.2.140 queues, without fields that no exporter should read: addresses, programs, tokens."""
    credential, client = event.credential, event.client
    record = {
        "timestamp": go_timestamp(event.started, zone),
        "latency_ms": event.latency_ms,
        "ttft_ms": event.ttft_ms,
        "source": credential.source_for(client),
        "auth_index": credential.auth_index,
        "tokens": _raw_tokens(event),
        "failed": event.failed,
        "generate": event.generate,
        "fail": {"status_code": event.status, "body": event.error_body},
        "response_headers": {name: [value] for name, value in _response_headers(event).items()},
        "token_breakdown": _breakdown(event),
        "provider": "openai-compatible-openrouter" if credential.provider == "openrouter" else credential.provider,
        "executor_type": PROVIDERS[credential.provider].executor,
        "model": event.model,
        "alias": event.alias,
        "endpoint": PROVIDERS[credential.provider].endpoint,
        "auth_type": credential.kind,
        "api_key": client.key,
        "request_id": event.request_id,
        "service_tier": event.service_tier,
    }
    if credential.provider in _TIER_REPORTERS and event.model != IMAGE_MODEL and not event.failed:
        record["response_service_tier"] = "default" if event.service_tier == "auto" else event.service_tier
    return record


def usage_detail(event: Event, zone: tzinfo) -> dict[str, Any]:
    """The detail that CPA 6.9.49 shows in ``/usage``."""
    tokens = _raw_tokens(event)
    if event.credential.family == "claude":
        tokens |= {"reasoning_tokens": 0, "total_tokens": event.tokens.uncached + event.tokens.output}
    return {
        # Nanoseconds tell details apart.
        "timestamp": go_timestamp(event.started, zone, nanoseconds=(event.serial * 37 + 11) % 1000),
        "latency_ms": event.latency_ms,
        "source": event.credential.source_for(event.client),
        "auth_index": event.credential.auth_index,
        "tokens": {name: tokens[name] for name in TOKEN_FIELDS},
        "failed": event.failed,
    }


def go_timestamp(at: float, zone: tzinfo, *, nanoseconds: int = 0) -> str:
    """A time as Go writes it: offset or ``Z``, fraction without trailing zeros."""
    moment = datetime.fromtimestamp(at, zone)
    whole = moment.isoformat(timespec="seconds")
    text, offset = whole[:19], whole[19:25]
    fraction = f"{moment.microsecond:06d}{nanoseconds:03d}".rstrip("0")
    suffix = "Z" if offset == "+00:00" else offset
    return f"{text}.{fraction}{suffix}" if fraction else text + suffix


def _response_headers(event: Event) -> dict[str, str]:
    """The upstream's headers about an account's limits, and ``Date``, which says when they held."""
    at, credential = event.started + event.ttft_ms / 1000, event.credential
    headers = {"Date": formatdate(at, usegmt=True)}
    if credential.kind == "oauth" and credential.provider == "claude":
        return headers | quotas.claude_headers(credential, at, event.model)
    if credential.provider == "codex":
        return headers | quotas.codex_headers(credential, at)
    return headers


def _raw_tokens(event: Event) -> dict[str, int | bool]:
    tokens, family = event.tokens, event.credential.family
    return {
        "input_tokens": tokens.uncached if family == "claude" else tokens.prompt,
        # The inconsistent upstream leaves reasoning out of its output, but counts it in its total.
        "output_tokens": tokens.output - (tokens.reasoning if family == "gemini" or event.inconsistent else 0),
        "reasoning_tokens": tokens.reasoning,
        "cached_tokens": tokens.cache_read or (tokens.cache_write if family == "claude" else 0),
        "cache_read_tokens": tokens.cache_read,
        "cache_read_tokens_present": True,
        "cache_creation_tokens": tokens.cache_write,
        "total_tokens": tokens.prompt + tokens.output,
    }


def _breakdown(event: Event) -> dict[str, Any]:
    known = Tokens() if event.inconsistent else event.tokens
    total = event.tokens.prompt + event.tokens.output
    return {
        "schema_version": 2,
        "quality": "inconsistent" if event.inconsistent else "complete",
        "total_tokens": total,
        "input": {
            "total_tokens": known.prompt,
            "uncached_tokens": known.uncached,
            "cache_read_tokens": known.cache_read,
            "cache_write_tokens": known.cache_write,
        },
        "output": {
            "total_tokens": known.output,
            "non_reasoning_tokens": known.output - known.reasoning,
            "reasoning_tokens": known.reasoning,
        },
        "unclassified_tokens": total if event.inconsistent else 0,
    }
