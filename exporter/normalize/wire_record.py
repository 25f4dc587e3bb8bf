"""The wire record of CPA's usage queue: the fields that the exporter reads. Stored lines become records again. Pure.

Only the fields declared here survive. Whatever else a server sends (addresses, user agents, error texts, fields of a
future version) is never decoded, so nothing can keep it by mistake.

``redact`` happens exactly once. A stored line is already redacted, so ``decode_line`` alone reads it back: a pseudonym
of a pseudonym would be another identity.
"""

import re
from typing import Annotated, TypeVar

import msgspec

from exporter.records import Rejected

MAX_TEXT = 300
"""The longest text that a client or an upstream may put into a field. A record can be megabytes; a name cannot."""
Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
"""Checked while decoding, which costs nothing. A record with a longer one is a misfit; ``read_batch`` cuts it."""
NO_HEADERS = msgspec.Raw(b"")
"""Absent ``response_headers``. A header map is a third of a record, so it is decoded only where needed."""
UNDECODABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What decoding bytes or a text of any kind may raise."""
_T = TypeVar("_T")
_NUL = re.compile(rb"\\u0000")
_ESCAPED_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
"""After an even number of backslashes: after an odd one it is the literal text ``\\u0000``."""


class WireTokens(msgspec.Struct, gc=False, omit_defaults=True):
    """``tokens`` of a record: raw counts whose meaning depends on the provider's family. ``None`` is "not sent"."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_read_tokens_present: bool | None = None
    cache_creation_tokens: int | None = None
    total_tokens: int | None = None


class WireInput(msgspec.Struct, gc=False, omit_defaults=True):
    """``token_breakdown.input``, exclusive buckets."""

    total_tokens: int | None = None
    uncached_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None


class WireOutput(msgspec.Struct, gc=False, omit_defaults=True):
    """``token_breakdown.output``, exclusive buckets."""

    total_tokens: int | None = None
    non_reasoning_tokens: int | None = None
    reasoning_tokens: int | None = None


class WireBreakdown(msgspec.Struct, gc=False, omit_defaults=True):
    """``token_breakdown``, CPA >= 7.2.97."""

    schema_version: int | None = None
    quality: Text | None = None
    total_tokens: int | None = None
    input: WireInput | None = None
    output: WireOutput | None = None
    unclassified_tokens: int | None = None


class WireFail(msgspec.Struct, gc=False, omit_defaults=True):
    """``fail``, CPA >= 7.0.0. ``body`` serves only to find ``cause``, and is then dropped."""

    status_code: int | None = None
    body: str | None = None
    cause: str | None = None


class Wire(msgspec.Struct, gc=False, omit_defaults=True):
    """One record of the usage queue. ``None`` is "not sent": an older server, never zero.

    ``omit_defaults`` keeps the stored bytes of old records the same when a field is added here.
    """

    timestamp: Text | None = None
    latency_ms: int | None = None
    ttft_ms: int | None = None
    source: str | None = None
    auth_index: Text | int | None = None
    tokens: WireTokens | None = None
    failed: bool | None = None
    fail: WireFail | None = None
    generate: bool | None = None
    token_breakdown: WireBreakdown | None = None
    provider: Text | None = None
    executor_type: Text | None = None
    model: Text | None = None
    alias: Text | None = None
    endpoint: Text | None = None
    auth_type: Text | None = None
    api_key: str | None = None
    request_id: Text | None = None
    service_tier: Text | None = None
    response_service_tier: Text | None = None
    response_headers: msgspec.Raw = NO_HEADERS
    """A map of lists on the wire; after redaction a map of texts, or ``NO_HEADERS``."""
    response: str | None = None
    """The upstream response's pseudonym, if another record may repeat that response by mistake. Not on the wire."""
    of_snapshot: bool | None = None
    """True for a detail of a snapshot, whose identity differs from a queue record's. Not on the wire."""


def decoded(json: bytes | bytearray | str | msgspec.Raw, type_: type[_T], *, strict: bool = True) -> _T | None:
    """A JSON text as a value of this type; None if it is anything else."""
    try:
        return msgspec.json.decode(json, type=type_, strict=strict)
    except UNDECODABLE:
        return None


decode_record = msgspec.json.Decoder(Wire, strict=False).decode


def without_nul(body: bytes | bytearray) -> bytes:
    """A JSON text with U+FFFD in place of each NUL, which PostgreSQL refuses. An unescaped NUL is not JSON anyway."""
    if b"\\" not in body or not _NUL.search(body):  # ``in`` takes twice as long to find six bytes
        return body  # type: ignore[return-value] # a bytearray reads like bytes
    return _ESCAPED_NUL.sub(rb"\1\\ufffd", body)


def decode_line(line: bytes) -> Wire | Rejected:
    """A stored, redacted line as a record. If it does not fit, the text names the field and the type, never a value."""
    try:
        return decode_record(without_nul(line))  # older versions stored NULs
    except UNDECODABLE as exc:
        what = str(exc) if isinstance(exc, msgspec.ValidationError) else type(exc).__name__
        return Rejected(reason="malformed_record", detail=what)
