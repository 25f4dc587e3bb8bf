"""The wire record of CPA's usage queue: the fields that are read, and stored lines as records again. Pure.

Only the fields declared here survive. Whatever else a server sends (addresses, user agents, error texts, fields of a
future version) is never decoded, so it cannot be kept by mistake.

``redact`` happens exactly once. A stored line is already redacted, so reading it back is ``decode_line`` and nothing
else: a pseudonym of a pseudonym would be another identity.
"""

from typing import Annotated

import msgspec

from exporter.normalize.text import without_nul

MAX_TEXT = 300
"""Longest text kept of a field that a client or an upstream can fill. A record can be megabytes; a name cannot."""
Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
"""Checked while decoding, which costs nothing; what is longer is a misfit, and cut where those are read."""
NO_HEADERS = msgspec.Raw(b"")
"""``response_headers`` that are not there. A header map is a third of a record, so it is only decoded where needed."""
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding bytes of any kind may raise."""


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
    """``fail``, CPA >= 7.0.0. ``body`` is only read to find out ``cause`` and is empty from then on."""

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
    """On the wire a map of lists; from redaction on a map of texts, or ``NO_HEADERS``."""
    response: str | None = None
    """Pseudonym of the upstream's response, where another record may show the same one by mistake. Not on the wire."""
    of_snapshot: bool | None = None
    """True for a detail of a snapshot, which has another identity than a record of the queue. Not on the wire."""


class LineError(ValueError):
    """A stored line does not fit ``Wire``. The text names the field and the type, never a value."""


decode_record = msgspec.json.Decoder(Wire, strict=False).decode


def decode_line(line: bytes) -> Wire:
    """A stored, redacted line as a record. Raises LineError if it does not fit."""
    try:
        return decode_record(without_nul(line))  # an older version has stored it as it was
    except msgspec.ValidationError as exc:
        raise LineError(str(exc)) from None
    except UNDECODABLE as exc:
        raise LineError(type(exc).__name__) from None
