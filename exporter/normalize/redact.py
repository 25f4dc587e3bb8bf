"""Redaction of wire records, before anything is stored. Pure.

``source`` and ``api_key`` hold raw keys or e-mail addresses on the wire (CPA >= 6.9.38) and leave here as pseudonyms.
Of ``fail.body`` only its kind is kept, and of response headers only those that tell of a provider's quota.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.wire import NO_HEADERS, UNDECODABLE, Wire
from exporter.quotas.header_allowlist import MAX_NAME, allowed_headers, tells_of_quota
from exporter.quotas.providers import PROVIDERS
from exporter.quotas.values import first

_REPORTING = frozenset(name for name, provider in PROVIDERS.items() if provider.in_records)
_MOST_LOOKS = 3
"""Records of one credential and model that are looked at for headers with a quota: most have them, or none has."""
_MAX_IDENTITY = 512
_TRANSPORT_FAULT = re.compile(
    r"EOF|stream error|stream disconnected|connection (reset|refused)|broken pipe|i/o timeout|^(Get|Post) \"|"
    r"closed network connection|http2: |deadline exceeded|tls: ",
)

_decode_headers = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


def redact(wires: Sequence[Wire], pseudonym: Pseudonym) -> None:
    """Redact records that were received together, in place."""
    for wire in wires:
        wire.of_snapshot = None
        if wire.source:
            wire.source = pseudonym(wire.source)
        if wire.api_key:
            wire.api_key = pseudonym(wire.api_key)
        if wire.fail is not None:
            wire.fail.cause = failure_cause(wire.fail.body or "")
            wire.fail.body = None
    _redact_headers(wires, pseudonym)


def _redact_headers(wires: Sequence[Wire], pseudonym: Pseudonym) -> None:
    """Of the headers that tell of a quota keep the last ones of each credential and model: the others say the same,
    earlier. Of failures, which may show another attempt's headers, it is told which response they are of."""
    looks: dict[tuple[object, ...], int] = {}
    for wire in reversed(wires):
        raw, wire.response_headers = wire.response_headers, NO_HEADERS
        wire.response = None
        if raw is NO_HEADERS or wire.provider not in _REPORTING:
            continue
        failed = bool(wire.failed)
        key = (wire.auth_index, wire.provider, wire.model, failed)
        looked = looks.get(key, 0)
        if (looked >= _MOST_LOOKS and not failed) or not takes_windows(
            failed, (wire.fail and wire.fail.status_code) or 0
        ):
            continue
        try:
            headers = _decode_headers(raw)
        except UNDECODABLE:
            continue
        if failed:
            wire.response = pseudonym(response_identity(headers)) or None
        if looked < _MOST_LOOKS:
            allowed = allowed_headers(headers)
            looks[key] = looked + 1
            if tells_of_quota(allowed):
                wire.response_headers = msgspec.Raw(_encode(allowed))
                looks[key] = _MOST_LOOKS


def response_identity(headers: Mapping[str, Any]) -> str:
    """A text that tells one upstream response from another; empty if nothing does. Never to be stored as it is.

    A proxy that retries may show an answer of the first account again in the record of the second: the same identity
    under two accounts is the sign of it.
    """
    ids: dict[str, str] = {}
    for given, values in headers.items():
        if isinstance(given, str) and len(given) <= MAX_NAME:
            name = given.lower()
            if name in ("request-id", "x-request-id", "cf-ray"):
                ids.setdefault(name, first(values))
    for name in ("request-id", "x-request-id", "cf-ray"):
        value = ids.get(name, "")
        if value and len(value) <= _MAX_IDENTITY:
            return f"{name}: {value}"
    allowed = allowed_headers(headers)
    date = allowed.pop("date", "")
    if not date or not allowed:
        return ""  # a second is shared by many responses; it takes the numbers beside it
    return "\n".join([f"date: {date}", *(f"{name}: {allowed[name]}" for name in sorted(allowed))])


def takes_windows(failed: bool, status_code: int) -> bool:
    """Whether the headers of a record are those of its own attempt.

    An attempt that dies before an answer is recorded with the headers of the attempt before it, which may have been
    another account's, and with a status that the proxy made up. These three come from upstreams only.
    """
    return not failed or status_code in (402, 403, 429)


def failure_cause(body: str) -> str:
    """What the error text says about who failed: ``canceled`` (the client left), ``transport`` (the connection to the
    upstream broke; CPA's own words, so the status is CPA's invention), else ``upstream``, or empty for no text.

    [run] v7.1.0 and v7.2.140: one broken stream reads 200 or 500 at random with "unexpected EOF"; before v7.2.124 a
    client that hung up reads 200 or 500 with "context canceled".
    """
    if not body:
        return ""
    head = body[:400].lstrip()
    if head.startswith(("{", "[", "<")):
        return "upstream"
    if "context canceled" in head:
        return "canceled"
    if _TRANSPORT_FAULT.search(head):
        return "transport"
    return "upstream"
