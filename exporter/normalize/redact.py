"""Redacts wire records before anything is stored. Pure.

``source`` and ``api_key`` hold raw keys or e-mail addresses on the wire (CPA >= 6.9.38) and leave here as pseudonyms.
Of ``fail.body`` only its cause stays, and of the response headers only those that report a provider's quota.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.wire_record import NO_HEADERS, UNDECODABLE, Wire
from exporter.quotas.all_providers import PROVIDERS
from exporter.quotas.headers import MAX_NAME, allowed_headers, tells_of_quota
from exporter.quotas.values import first

_REPORTING = frozenset(name for name, provider in PROVIDERS.items() if provider.in_records)
_MOST_LOOKS = 3
"""How many records of one credential and model are searched for quota headers. Either most have them, or none do."""
_MAX_IDENTITY = 512
_MONTHS = b"JanFebMarAprMayJunJulAugSepOctNovDec"
_TRANSPORT_FAULT = re.compile(
    r"EOF|stream error|stream disconnected|connection (reset|refused)|broken pipe|i/o timeout|^(Get|Post) \"|"
    r"closed network connection|http2: |deadline exceeded|tls: ",
)

_decode_headers = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


def redact(wires: Sequence[Wire], pseudonym: Pseudonym) -> None:
    """Redact records that arrived together, in place."""
    reporting: list[tuple[bytes, Wire]] = []
    for wire in wires:
        wire.of_snapshot = None
        if wire.source:
            wire.source = pseudonym(wire.source)
        if wire.api_key:
            wire.api_key = pseudonym(wire.api_key)
        if wire.fail is not None:
            wire.fail.cause = failure_cause(wire.fail.body or "")
            wire.fail.body = None
        headers, wire.response_headers, wire.response = wire.response_headers, NO_HEADERS, None
        if headers is not NO_HEADERS and wire.provider in _REPORTING:
            reporting.append((bytes(headers), wire))
    _keep_quota_headers(reporting, pseudonym)


def _keep_quota_headers(reporting: list[tuple[bytes, Wire]], pseudonym: Pseudonym) -> None:
    """Keep the newest quota headers of each credential and model, from records and the headers that came with them.

    Older ones say nothing more. A failure may show another attempt's headers, so it also gets the identity of their
    response.
    """
    looks: dict[tuple[object, ...], int] = {}
    for raw, wire in sorted(reporting, key=_sent)[::-1]:
        failed = bool(wire.failed)
        key = (wire.auth_index, wire.provider, wire.model, failed)
        looked = looks.get(key, 0)
        status = (wire.fail and wire.fail.status_code) or 0
        if (looked >= _MOST_LOOKS and not failed) or not takes_windows(failed, status):
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


def _sent(reporting: tuple[bytes, Wire]) -> tuple[bytes, int, bytes]:
    """A sort key: when the upstream sent the headers. A long stream ends after answers that began later.

    It is the year, month and rest of the HTTP date, unparsed, because this runs for each record. Headers without a date
    come first.
    """
    date = reporting[0].partition(b'"Date":')[2][:40].lstrip(b' ["')
    return date[12:16], _MONTHS.find(date[8:11]), date[5:7] + date[17:25]


def response_identity(headers: Mapping[str, Any]) -> str:
    """A text that tells one upstream response from another; empty if nothing does. Must never be stored as it is.

    A retrying proxy may repeat the first account's answer in the second one's record: the same identity under two
    accounts gives it away.
    """
    ids: dict[str, str] = {}
    for given, values in headers.items():
        if len(given) <= MAX_NAME:
            ids.setdefault(given.lower(), first(values))
    for name in ("request-id", "x-request-id", "cf-ray"):
        value = ids.get(name, "")
        if value and len(value) <= _MAX_IDENTITY:
            return f"{name}: {value}"
    allowed = allowed_headers(headers)
    date = allowed.pop("date", "")
    if not date or not allowed:
        return ""  # many responses share a second, so the numbers beside it have to be there
    return "\n".join([f"date: {date}", *(f"{name}: {allowed[name]}" for name in sorted(allowed))])


def takes_windows(failed: bool, status_code: int) -> bool:
    """Whether a record's headers belong to its own attempt.

    CPA records an attempt that dies before an answer with the headers of the previous attempt, perhaps another
    account's, and with an invented status. Only upstreams send these three.
    """
    return not failed or status_code in (402, 403, 429)


def failure_cause(body: str) -> str:
    """Who failed, from the error text: ``canceled`` (the client left), ``transport`` (the connection to the upstream
    broke; the words and the status are CPA's own), else ``upstream``; empty without a text.

    Observed in v7.1.0 and v7.2.140: a broken stream has 200 or 500 at random and "unexpected EOF"; before v7.2.124 a
    client that hung up has 200 or 500 and "context canceled".
    """
    if not body:
        return ""
    head = body[:400].lstrip()
    if head.startswith(("{", "[", "<")):
        return "upstream"
    if "context canceled" in head:
        return "canceled"
    return "transport" if _TRANSPORT_FAULT.search(head) else "upstream"
