"""Turns a wire record of the usage queue into a usage record, or says why it cannot. Pure."""

from collections.abc import Callable
from datetime import UTC, datetime

from exporter.days import DAY_MS, epoch_ms
from exporter.normalize.tokens import tokens_of
from exporter.normalize.wire_record import Wire
from exporter.records import BASE_TIERS, Billing, CredentialFacts, Rejected, UsageRecord

EARLIEST_MS = int(datetime(2015, 1, 1, tzinfo=UTC).timestamp() * 1000)
_FUTURE_MS = 2 * DAY_MS
"""How far a proxy's clock may be ahead of ours. A wrong zone or date can make that a whole day."""
IMPOSSIBLE_TIME = Rejected(reason="impossible_time", detail="the timestamp is before 2015 or more than two days ahead")
MAX_TOKENS = 10_000_000_000
"""More tokens in one bucket of one request are no measurement; sums of such numbers would not fit 64 bits."""
_IMPOSSIBLE_TOKENS = Rejected(reason="impossible_tokens", detail=f"more than {MAX_TOKENS} tokens in one request")
_LONGEST_MS = 10**9
_MAX_NAME = 200


def normalize(
    wire: Wire, fingerprint: int, *, received_ms: int, facts: Callable[[str, str], CredentialFacts]
) -> UsageRecord | Rejected:
    """The record that was received at ``received_ms``, or why there is none.

    ``facts`` looks up an ``auth_index`` and a provider in the inventory.
    """
    if wire.executor_type == "home-result":
        return Rejected("home_result", "a synthetic result of a Home node: its request is recorded elsewhere")
    ts_ms = milliseconds(wire.timestamp)
    if isinstance(ts_ms, Rejected):
        return ts_ms
    if not is_possible(ts_ms, now_ms=received_ms):
        return IMPOSSIBLE_TIME
    # A number is no handle: CPA < 6.6.56 assigned new ones at every start.
    auth_index = wire.auth_index if isinstance(wire.auth_index, str) else ""
    extra = _is_image_tool_extra(wire)
    provider = wire.provider or "unknown"
    known = facts(auth_index, provider)
    tokens, known_family = tokens_of(wire, provider=provider, openai_compatible=known.openai_compatible)
    if max(tokens.prompt, tokens.output, tokens.unclassified) > MAX_TOKENS:
        return _IMPOSSIBLE_TOKENS
    billing = known.billing or billing_of(wire.auth_type, provider)
    service_tier, tier_only_asked = _service_tier(wire, billing)
    return UsageRecord(
        # By place, because CPython builds a dictionary for a call with more than fifteen names.
        ts_ms,
        fingerprint,
        _name(known.provider or provider),
        _name(wire.model or "unknown"),
        wire.alias or "",
        auth_index,
        source=wire.source or "",
        client=wire.api_key or "",
        billing=billing,
        tokens=tokens,
        latency_ms=duration(wire.latency_ms),
        ttft_ms=duration(wire.ttft_ms),
        counted=int(wire.generate is not False and not extra),
        extra=extra,
        code=_code(wire),
        service_tier=service_tier,
        tier_only_asked=tier_only_asked,
        known_family=known_family,
    )


def milliseconds(timestamp: str | None) -> int | Rejected:
    """A timestamp in ms since the epoch."""
    if not timestamp:
        return Rejected(reason="missing_timestamp", detail="the record has no timestamp")
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return Rejected(reason="bad_timestamp", detail="the timestamp is not an RFC 3339 time")
    if moment.tzinfo is None:
        return Rejected(reason="bad_timestamp", detail="the timestamp has no zone")
    return epoch_ms(moment)


def is_possible(ts_ms: int, *, now_ms: int) -> bool:
    """Whether a request can have begun at ``ts_ms``, allowing for wrong clocks."""
    return EARLIEST_MS <= ts_ms <= now_ms + _FUTURE_MS


def duration(value: int | None) -> int:
    """A believable duration in ms; 0, "not measured", in place of one that no request can take."""
    return value if value is not None and 0 < value < _LONGEST_MS else 0


def _name(text: str) -> str:
    """A model or provider name that may be stored and shown: bounded, without control characters."""
    text = text[:_MAX_NAME]
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def billing_of(auth_type: str | None, provider: str) -> Billing:
    """How the use of an account or key is billed. A Vertex account is a login, but Google charges for its use."""
    if auth_type in ("apikey", "api_key") or provider == "vertex":
        return Billing.METERED
    return Billing.SUBSCRIPTION if auth_type == "oauth" else Billing.UNKNOWN


def _is_image_tool_extra(wire: Wire) -> bool:
    """Whether the Codex image tool wrote this record beside the one of its request (CPA >= 6.9.39).

    Its neighbour may be in another batch, so the record alone decides: it has an image model that nobody asked for.
    """
    model, alias = wire.model or "", wire.alias or ""
    return wire.provider == "codex" and model.startswith("gpt-image") and bool(alias) and "gpt-image" not in alias


_KNOWN_CODES = frozenset({400, 401, 402, 403, 404, 408, 429, 499})


def _code(wire: Wire) -> str:
    if not wire.failed:
        return ""
    if wire.fail is None:
        return "other"  # CPA < 7.0.0 does not say why
    status, cause = wire.fail.status_code, wire.fail.cause
    if cause == "canceled":
        return "499"  # before v7.2.124 CPA states 200 or 500 for a client that hung up
    if status is None or status < 400 or (status == 500 and cause == "transport"):
        # CPA states 200 or 500 at random for a broken stream.
        return "broken_stream"
    if status in _KNOWN_CODES or 500 <= status <= 599:
        return str(status)
    return "other"


def _service_tier(wire: Wire, billing: Billing) -> tuple[str, bool]:
    """The tier that the provider charges, empty for the base tier, and whether only the client named it.

    CPA copies the requested tier into every record but leaves it out of translated requests, so the answer decides.
    Codex by login is the exception: its answers say ``default`` or ``auto`` whatever tier served the request.
    """
    asked, answered = _tier(wire.service_tier), _tier(wire.response_service_tier)
    by_login = wire.provider == "codex" and billing is Billing.SUBSCRIPTION
    if wire.response_service_tier and not (by_login and not answered):
        return answered, False
    return asked, bool(asked)


def _tier(name: str | None) -> str:
    tier = name.strip().lower() if name else ""
    return "" if tier in BASE_TIERS else tier[:40]
