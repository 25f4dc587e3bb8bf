"""What CPA's records reveal about callers and upstreams, and no exporter should read.

Addresses come from the ranges reserved for documentation.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from exporter.simulator.wire import Event
from exporter.simulator.world import ORGANIZATION_ID, Credential

SESSION_COOKIE = "__cf_bm=sk-demo-cookie-8841; path=/; HttpOnly"


_ANTHROPIC = {
    "Anthropic-Organization-Id": ORGANIZATION_ID,
    "Anthropic-Ratelimit-Unified-Fallback-Percentage": "0.5",
    "Anthropic-Ratelimit-Unified-Overage-Disabled-Reason": "org_level_disabled",
    "Anthropic-Ratelimit-Unified-Overage-Status": "rejected",
}
_CODEX = {
    "Set-Cookie": SESSION_COOKIE,
    "X-Codex-Credits-Balance": "",
    "X-Codex-Credits-Has-Credits": "False",
    "X-Codex-Credits-Unlimited": "False",
    "X-Codex-Primary-Over-Secondary-Limit-Percent": "0",
}


class Caller(NamedTuple):
    """Where a client's requests come from."""

    address: str
    user_agent: str
    forwarded: str = ""


CALLERS = {
    "maria": Caller("192.0.2.11", "claude-cli/2.1.0 (demo-maria)"),
    "jonas": Caller("192.0.2.12", "codex_cli_rs/0.76.0 (demo-jonas)"),
    "ci-bot": Caller("192.0.2.40", "demo-ci/1.4"),
    "support-desk": Caller("192.0.2.50", "demo-support/3.0", "203.0.113.77, 198.51.100.23"),
    "notebook": Caller("192.0.2.60", "python-demo/3.13"),
    "batch": Caller("192.0.2.70", "demo-batch/0.9"),
}


def token_of(credential: Credential) -> str:
    """The token of an account, empty for an API key."""
    return f"sk-demo-token-{credential.name}" if credential.kind == "oauth" else ""


def token_sha256(credential: Credential) -> str:
    token = token_of(credential)
    return hashlib.sha256(token.encode()).hexdigest() if token else ""


def private_fields(event: Event, headers: dict[str, list[str]]) -> dict[str, Any]:
    """The fields that the demo proxy leaves out of a record of v7.2.140 and its ``headers``."""
    caller, token = CALLERS[event.client.name], token_sha256(event.credential)
    return ({"access_token_sha256": token} if token else {}) | {
        "client_ip": caller.address,
        "x_forwarded_for": caller.forwarded,
        "user_agent": caller.user_agent,
        "response_headers": dict(
            sorted((headers | {name: [value] for name, value in _other_headers(event).items()}).items())
        ),
        "accounting_version": 2,
        "reasoning_effort": "medium" if event.tokens.reasoning else "",
    }


def _other_headers(event: Event) -> dict[str, str]:
    """Upstream headers that say nothing about limits: organisation, cookies."""
    headers: dict[str, str] = {}
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
            return headers | _ANTHROPIC
        return headers | _anthropic_key_headers(event.started + event.ttft_ms / 1000)
    headers["X-Request-Id"] = request_id
    if credential.provider == "codex":
        return headers | _CODEX
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


def error_body(credential: Credential, status: int) -> str:
    """What a provider says about a failure."""
    kind = {
        400: "invalid_request_error",
        401: "authentication_error",
        429: "rate_limit_error",
        529: "overloaded_error",
    }.get(status, "api_error")
    text = f"the demo vendor says {status}"
    if credential.provider == "claude":
        return json.dumps({"type": "error", "error": {"type": kind, "message": text}})
    if credential.family == "gemini":
        error: dict[str, Any] = {"code": status, "message": text, "status": kind.upper()}
        if status == 429:
            retry = "type.googleapis.com/google.rpc.RetryInfo"
            error["details"] = [{"@type": retry, "retryDelay": "3.9s"}]
        return json.dumps({"error": error})
    return json.dumps({"error": {"message": text, "type": kind, "code": str(status)}})
