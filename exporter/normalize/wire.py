"""Wire records of CPA's usage queue: reading a body, and redacting it before anything is stored.

Only the fields declared here survive. Whatever else a server sends (addresses, user agents, error texts, fields of a
future version) is never decoded, so it cannot be kept by mistake. ``source`` and ``api_key`` hold raw keys
or e-mail addresses on the wire (CPA >= 6.9.38) and leave here as pseudonyms; of ``fail.body`` only its kind is kept, of
response headers only those that tell of a provider's quota.

Redaction happens exactly once. A stored line is already redacted, so reading it back is ``decode_line`` and nothing
else: a pseudonym of a pseudonym would be another identity.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec

from exporter.normalize.text import without_nul
from exporter.quotas.header_allowlist import allowed_headers, response_identity, takes_windows, tells_of_quota
from exporter.quotas.providers import PROVIDERS

_MAX_TEXT = 300
"""Longest text kept of a field that a client or an upstream can fill. A record can be megabytes; a name cannot."""
Text = Annotated[str, msgspec.Meta(max_length=_MAX_TEXT)]
"""Checked while decoding, which costs nothing; what is longer is a misfit, and cut where those are read."""


NO_HEADERS = msgspec.Raw(b"")
"""``response_headers`` that are not there. A header map is a third of a record, so it is only decoded where needed."""


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


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """Something in a body that cannot be redacted, so only its length and hash are kept."""

    reason: str
    length: int
    sha256: bytes


class Batch(msgspec.Struct, frozen=True):
    """A redacted body. ``wires[i]`` is ``lines[i]`` decoded, or None where the line does not fit ``Wire``."""

    lines: list[bytes]
    wires: list[Wire | None]
    unreadable: list[Unreadable]

    @property
    def received(self) -> int:
        return len(self.lines) + len(self.unreadable)


class LineError(ValueError):
    """A stored line does not fit ``Wire``. The text names the field and the type, never a value."""


_decode_records = msgspec.json.Decoder(list[Wire], strict=False).decode
_decode_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_record = msgspec.json.Decoder(Wire, strict=False).decode
_decode_headers = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode
_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_batch(body: bytes, *, pseudonym: Callable[[str], str]) -> Batch:
    """Read the body of a pop and redact it. Never raises: what cannot be read is in ``unreadable``.

    A body that broke off keeps every element that arrived whole. An element that is no JSON object, or the part of
    the body behind the last whole element, counts as one unreadable record.
    """
    body = without_nul(body)
    try:
        wires = _decode_records(body)
    except _UNDECODABLE:
        return _read_one_by_one(body, pseudonym)
    for wire in wires:
        _redact(wire, pseudonym)
    _redact_headers(wires, pseudonym)
    return Batch(lines=[_encode(wire) for wire in wires], wires=list(wires), unreadable=[])


def decode_line(line: bytes) -> Wire:
    """A stored, redacted line as a record. Raises LineError if it does not fit."""
    try:
        return _decode_record(without_nul(line))  # an older version has stored it as it was
    except msgspec.ValidationError as exc:
        raise LineError(str(exc)) from None
    except _UNDECODABLE as exc:
        raise LineError(type(exc).__name__) from None


# --- redaction ----------------------------------------------------------------------------------------------------


def _redact(wire: Wire, pseudonym: Callable[[str], str]) -> None:
    wire.of_snapshot = None
    if wire.source:
        wire.source = pseudonym(wire.source)
    if wire.api_key:
        wire.api_key = pseudonym(wire.api_key)
    if wire.fail is not None:
        wire.fail.cause = failure_cause(wire.fail.body or "")
        wire.fail.body = None


_REPORTING = frozenset(name for name, provider in PROVIDERS.items() if provider.in_records)
_MOST_LOOKS = 3
"""Records of one credential and model that are looked at for headers with a quota: most have them, or none has."""


def _redact_headers(wires: Sequence[Wire], pseudonym: Callable[[str], str]) -> None:
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
        except _UNDECODABLE:
            continue
        if failed:
            wire.response = pseudonym(response_identity(headers)) or None
        if looked < _MOST_LOOKS:
            allowed = allowed_headers(headers)
            looks[key] = looked + 1
            if tells_of_quota(allowed):
                wire.response_headers = msgspec.Raw(_encode(allowed))
                looks[key] = _MOST_LOOKS


_TEXT_FIELDS = (
    "timestamp",
    "provider",
    "executor_type",
    "model",
    "alias",
    "endpoint",
    "auth_type",
    "request_id",
    "service_tier",
    "response_service_tier",
)

_TRANSPORT_FAULT = re.compile(
    r"EOF|stream error|stream disconnected|connection (reset|refused)|broken pipe|i/o timeout|^(Get|Post) \"|"
    r"closed network connection|http2: |deadline exceeded|tls: ",
)


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


# --- bodies that do not decode as a whole ----------------------------------------------------------------------


def _read_one_by_one(body: bytes, pseudonym: Callable[[str], str]) -> Batch:
    lines: list[bytes] = []
    wires: list[Wire | None] = []
    unreadable: list[Unreadable] = []
    elements, rest = _split(body)
    for raw in elements:
        line, wire, problem = _read_element(raw, pseudonym)
        if problem:
            unreadable.append(_unreadable(problem, raw))
        else:
            lines.append(line)
            wires.append(wire)
    if rest is not None:
        unreadable.append(_unreadable("malformed_json", rest))
    return Batch(lines=lines, wires=wires, unreadable=unreadable)


def _read_element(raw: bytes, pseudonym: Callable[[str], str]) -> tuple[bytes, Wire | None, str]:
    try:
        wire = _decode_record(raw)
    except _UNDECODABLE:
        return _read_misfit(raw, pseudonym)
    _redact(wire, pseudonym)
    _redact_headers([wire], pseudonym)
    return _encode(wire), wire, ""


def _read_misfit(raw: bytes, pseudonym: Callable[[str], str]) -> tuple[bytes, Wire | None, str]:
    """An element that does not fit ``Wire``: keep, redacted, what has an allowed name and a harmless type."""
    try:
        value = json.loads(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return b"", None, "malformed_json"
    if not isinstance(value, dict):
        return b"", None, "not_an_object"
    line = json.dumps(_redact_misfit(value, pseudonym), ensure_ascii=True).encode()
    try:
        return line, _decode_record(line), ""
    except _UNDECODABLE:
        return line, None, ""


_PSEUDONYMIZED = ("source", "api_key")
_TEXTS = {"auth_index", *_TEXT_FIELDS}
_NUMBERS = {"latency_ms", "ttft_ms"}
_FLAGS = {"failed", "generate"}
_NESTED: dict[str, type[msgspec.Struct]] = {"tokens": WireTokens, "token_breakdown": WireBreakdown}


def _redact_misfit(value: dict[str, Any], pseudonym: Callable[[str], str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name in _TEXTS & value.keys():
        item = value[name]
        # A list is no text either, so what was no text stays a misfit.
        kept[name] = _clean(item)[:_MAX_TEXT] if isinstance(item, str) else item if item is None else [_what(item)]
    for name in _NUMBERS & value.keys():
        kept[name] = _number(value[name])
    for name in _FLAGS & value.keys():
        item = value[name]
        kept[name] = item if isinstance(item, bool) or item is None else [_what(item)]
    for name in _PSEUDONYMIZED:
        # Not a string: nothing sensible to keep, and its text might hold what it should not.
        if isinstance(value.get(name), str):
            kept[name] = pseudonym(_clean(value[name]))
    for name, shape in _NESTED.items():
        if name in value:
            kept[name] = _numbers(value[name], shape)
    fail = value.get("fail")
    if isinstance(fail, dict):
        body = fail.get("body")
        kept["fail"] = {"cause": failure_cause(_clean(body) if isinstance(body, str) else "")}
        if (status := _number(fail.get("status_code"))) is not None:
            kept["fail"]["status_code"] = status
    return kept


def _numbers(value: Any, shape: type[msgspec.Struct]) -> Any:
    if not isinstance(value, dict):
        return _number(value)
    kept: dict[str, Any] = {}
    for field in msgspec.structs.fields(shape):
        if field.name not in value:
            continue
        item = value[field.name]
        if field.name == "quality" and isinstance(item, str):
            kept[field.name] = _clean(item)[:20]
        elif field.name in ("input", "output"):
            kept[field.name] = _numbers(item, WireInput if field.name == "input" else WireOutput)
        elif field.name == "cache_read_tokens_present" and isinstance(item, bool):
            kept[field.name] = item
        else:
            kept[field.name] = _number(item)
    return kept


_NUMERIC = re.compile(r"-?[0-9]{1,25}(\.[0-9]{1,25})?")


def _number(value: Any) -> int | float | str | None:
    """A number, or a text that is one; of anything else only what it was, so that the record stays a misfit."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63):
        return value
    if isinstance(value, str) and _NUMERIC.fullmatch(value):
        return value
    return _what(value)


def _what(value: Any) -> str:
    return f"<{type(value).__name__}>"


def _clean(text: str) -> str:
    """Without lone surrogates, which no UTF-8 text can hold."""
    return text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text


def _unreadable(reason: str, raw: bytes) -> Unreadable:
    return Unreadable(reason=reason, length=len(raw), sha256=hashlib.sha256(raw).digest())


def _split(body: bytes) -> tuple[list[bytes], bytes | None]:
    """The whole elements of a JSON array, and what stands behind the last of them if the array is not closed there.

    Decodes with the standard library, which takes what a strict reader refuses (lone surrogates, NaN), so that one odd
    element never costs its neighbours.
    """
    try:
        return [bytes(raw) for raw in _decode_elements(body)], None
    except _UNDECODABLE:
        pass
    text = body.decode("utf-8", "surrogateescape")
    decoder = json.JSONDecoder(parse_int=str)  # the values are dropped, and int() refuses more than 4,300 digits
    elements: list[bytes] = []
    position = _skip_space(text, 0)
    if text.strip() in ("", "null"):
        return [], None  # a list without elements, as Go writes it at times
    if not text.startswith("[", position):
        return [], body
    position = _skip_space(text, position + 1)
    while position < len(text) and not text.startswith("]", position):
        try:
            _, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            return elements, text[position:].encode("utf-8", "surrogateescape")
        elements.append(text[position:end].encode("utf-8", "surrogateescape"))
        position = _skip_space(text, end)
        if text.startswith(",", position):
            position = _skip_space(text, position + 1)
    # Closed, or broken off between two elements: unread is only what follows the end.
    return elements, text[position + 1 :].strip().encode("utf-8", "surrogateescape") or None


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position
