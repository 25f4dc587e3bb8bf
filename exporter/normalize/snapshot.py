"""Reads the cumulative ``GET /usage`` of CPA up to 6.9 and of forks. Its details become wire records. Pure.

A body holds totals per client key and model, and one detail per attempt since the proxy started; it can be tens of
megabytes. So details stay bytes until somebody needs them: they are append-only, and unchanged ones are not decoded
again. Raw client keys leave here as pseudonyms, and so do the accounts in ``source``.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter

import msgspec

from exporter.errors import BadAnswerError
from exporter.normalize.fingerprint import fingerprint_of
from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.usage_record import milliseconds
from exporter.normalize.wire_record import MAX_TEXT, UNDECODABLE, Text, Wire, WireTokens, without_nul
from exporter.records import CredentialFacts, Rejected

OTHER_SHAPE = Rejected(reason="malformed_record", detail="a detail of another shape")
_OPEN_PROXY = re.compile(
    r"|unknown|claude|codex|gemini|gemini-cli|vertex|aistudio|antigravity|qwen|iflow|kimi|openai-compatibility"
    r"|(GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS) /.*",
    re.DOTALL,
)
_FRACTION = re.compile(r"\.(\d{1,9})")
_NO_DETAILS = msgspec.Raw(b"")
_EMPTY_LIST = re.compile(rb"\[\s*\]")
_requests, _tokens = attrgetter("requests"), attrgetter("tokens")
MOST_COUNTED = 10**13
"""Bound of a count, so that everything computed from it fits into 64 bits: 10^9 USD are 10^18 nano-USD."""


class _Detail(msgspec.Struct, gc=False):
    timestamp: Text | None = None
    latency_ms: int | None = None
    source: str | None = None
    auth_index: Text | int | None = None
    tokens: WireTokens | None = None
    failed: bool | None = None


class _Moment(msgspec.Struct, gc=False):
    timestamp: Text | None = None


class _Model(msgspec.Struct):
    total_requests: int | None = None
    total_tokens: int | None = None
    details: msgspec.Raw = _NO_DETAILS


class _Api(msgspec.Struct):
    models: dict[str, _Model | None] | None = None


class _Usage(msgspec.Struct):
    apis: dict[str, _Api | None] | None = None


class _Body(msgspec.Struct):
    usage: _Usage


_decode_body = msgspec.json.Decoder(_Body, strict=False).decode
_decode_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_detail = msgspec.json.Decoder(_Detail, strict=False).decode
_decode_moments = msgspec.json.Decoder(list[_Moment], strict=False).decode
_encode = msgspec.json.Encoder().encode


class SnapshotSeries(msgspec.Struct, frozen=True):
    """One client key and model of a snapshot: counts since the proxy started, and the details as sent.

    ``key`` is the pseudonym of the proxy's own key for it, ``client`` that of the client's key, empty for a proxy that
    asks for none. ``details`` is a JSON list, None where the server sends none.
    """

    key: str
    client: str
    model: str
    requests: int
    tokens: int
    details: memoryview | None


class Mark(msgspec.Struct, frozen=True):
    """What is remembered of a series: its counts, and length and hash of its details without the closing bracket."""

    requests: int
    tokens: int
    length: int | None = None
    sha256: bytes | None = None


def read_snapshot(body: bytes | bytearray, pseudonym: Pseudonym) -> list[SnapshotSeries]:
    """The series of a snapshot. Raises BadAnswerError for any other shape; the text quotes nothing."""
    try:
        usage = _decode_body(without_nul(body)).usage
    except UNDECODABLE:
        raise BadAnswerError(
            "The proxy's usage snapshot has a shape that no known CPA version sends, or broke off."
        ) from None
    return [
        SnapshotSeries(
            key=pseudonym(key),
            client=client_of(key, pseudonym),
            model=name,
            requests=_count(model.total_requests),
            tokens=_count(model.total_tokens),
            details=_details_of(model),
        )
        for key, api in (usage.apis or {}).items()
        for name, model in ((api and api.models) or {}).items()
        if model is not None
    ]


def client_of(key: str, pseudonym: Pseudonym) -> str:
    """The pseudonym of the client listed as ``key``; empty for a proxy that asks for no key.

    Such a proxy lists "METHOD /route", the provider's name or "unknown" instead.
    """
    return "" if _OPEN_PROXY.fullmatch(key) else pseudonym(key)


def _details_of(model: _Model) -> memoryview | None:
    """The list of details. A fork that strips them may leave an empty list or null."""
    view = memoryview(model.details)  # a view: a copy would double the memory of the body
    is_list = bytes(view[:1]) == b"["
    return view if is_list and not (_count(model.total_requests) and _EMPTY_LIST.fullmatch(view)) else None


def _count(sent: int | None) -> int:
    return min(max(sent or 0, 0), MOST_COUNTED)


def compare(series: SnapshotSeries, known: Mark | None) -> tuple[Mark, bytes | None]:
    """The new mark of a series, and the details added since the mark ``known``, as a JSON list.

    They follow the known ones, or precede them where a fork lists the newest first. None in place of the list if
    anything else has changed. This never decides what is new: it only proves that the other details are unchanged.
    """
    details = series.details
    if details is None:
        return Mark(series.requests, series.tokens), None
    length, sha256 = (known.length, known.sha256) if known is not None else (None, None)
    added: bytes | None = None
    digest = hashlib.sha256()
    if length is None or length >= details.nbytes:
        digest.update(details[:-1])
    else:
        digest.update(details[:length])
        if digest.digest() == sha256:
            added = b"[" + bytes(details[length:]).lstrip().removeprefix(b",")
        else:
            end = hashlib.sha256(b"[")
            end.update(details[-length:-1])
            if end.digest() == sha256:
                added = bytes(details[:-length]).rstrip().removesuffix(b",") + b"]"
        digest.update(details[length:-1])
    return Mark(series.requests, series.tokens, details.nbytes - 1, digest.digest()), added


def renamed(
    marks: Mapping[tuple[str, str], Mark], snapshot: Sequence[SnapshotSeries]
) -> Mapping[tuple[str, str], Mark]:
    """``marks`` of another hash key, under the names in ``snapshot``; unchanged unless all counts continue there.

    Which series had which counts is a guess by their order, so two clients of one model may change places; the sums
    over a model are right.
    """
    found: dict[tuple[str, str], Mark] = {}
    for model in {model for _, model in marks}:
        before = [mark for key, mark in marks.items() if key[1] == model]
        now = [series for series in snapshot if series.model == model]
        if len(now) < len(before):
            return marks
        before += [Mark(0, 0)] * (len(now) - len(before))
        for series, mark in zip(sorted(now, key=_requests), sorted(before, key=_requests), strict=True):
            found[series.key, model] = mark
        for series, mark in zip(sorted(now, key=_tokens), sorted(before, key=_tokens), strict=True):
            found[series.key, model] = msgspec.structs.replace(found[series.key, model], tokens=mark.tokens)
    return marks if has_restarted(snapshot, found) else found


def has_restarted(snapshot: Iterable[SnapshotSeries], marks: Mapping[tuple[str, str], Mark]) -> bool:
    """Whether a count fell or a series vanished since ``marks``: the proxy has restarted."""
    now = {(each.key, each.model): each for each in snapshot}
    return any(
        mark.requests > 0 and (key not in now or now[key].requests < mark.requests or now[key].tokens < mark.tokens)
        for key, mark in marks.items()
    )


def read_details(details: bytes | memoryview, series: SnapshotSeries, pseudonym: Pseudonym) -> Iterator[Wire | bytes]:
    """Each detail as a redacted wire record; for one of another shape, the line to keep of it."""
    try:
        elements = _decode_elements(details)
    except UNDECODABLE:  # a bare number that has grown by some digits: those mean nothing by themselves
        elements = [msgspec.Raw(details)]
    for raw in elements:  # one by one: a detail takes ten times the memory of its bytes
        try:
            detail = _decode_detail(raw)
        except UNDECODABLE:
            yield _misfit(series, bytes(raw))
        else:
            yield _wire(detail, series, pseudonym)


def may_have_moments(details: memoryview, moments: set[int]) -> bool:
    """Whether one of the details began at one of these moments, in ms. Much cheaper than reading the details."""
    try:
        found = _decode_moments(details)
    except UNDECODABLE:
        return True
    return any(milliseconds(detail.timestamp) in moments for detail in found)


def _misfit(series: SnapshotSeries, raw: bytes) -> bytes:
    """What stays of an unreadable detail: its place and its hash, which identify it next time."""
    return json.dumps(
        {"model": identity_model(series), "api_key": series.client, "detail": [hashlib.sha256(raw).hexdigest()]}
    ).encode()


def _wire(detail: _Detail, series: SnapshotSeries, pseudonym: Pseudonym) -> Wire:
    index = detail.auth_index
    return Wire(
        timestamp=detail.timestamp,
        latency_ms=detail.latency_ms,
        source=pseudonym(detail.source) if detail.source else None,
        # A number (CPA < 6.6.56) means another credential after each restart.
        auth_index=index if isinstance(index, str) else None,
        tokens=detail.tokens,
        failed=detail.failed,
        model=identity_model(series),
        api_key=series.client or None,
    )


def identity_model(series: SnapshotSeries) -> str:
    """The model in the identity of a detail."""
    return series.model[:MAX_TEXT]


def rejected_line(wire: Wire) -> bytes:
    """The line to keep of a rejected detail: the same whatever is known about its credential by then."""
    return _encode(msgspec.structs.replace(wire, provider=None, executor_type=None, of_snapshot=True))


def snapshot_fingerprint(proxy: str, wire: Wire) -> int:
    """The signed 64-bit fingerprint of a detail of the proxy named ``proxy``: identity v1 for snapshots.

    The list of fields is fixed forever. CPA itself recognises an imported detail by these and by the redacted fields.
    The time is in UTC, because an import may write it in another zone.
    """
    tokens = wire.tokens
    fields = (
        "snapshot/1",
        proxy,
        _utc(wire.timestamp),
        wire.model,
        wire.auth_index,
        wire.failed,
        tokens and tokens.input_tokens,
        tokens and tokens.output_tokens,
        tokens and tokens.reasoning_tokens,
        tokens and tokens.cached_tokens,
        tokens and tokens.total_tokens,
    )
    return fingerprint_of(fields)


def _utc(timestamp: str | None) -> str | None:
    """A moment to the nanosecond, equal in every zone; any other text unchanged."""
    if timestamp is None:
        return None
    try:
        moment = datetime.fromisoformat(timestamp).astimezone(UTC)
    except (ValueError, OverflowError):
        return timestamp
    fraction = _FRACTION.search(timestamp)
    digits = fraction[1].ljust(9, "0") if fraction else "0" * 9
    return f"{moment.isoformat()[:19]}.{digits}"


def attributed(wire: Wire, facts: Callable[[str, str], CredentialFacts]) -> Wire:
    """The record with a provider, which snapshots leave out: its credential's, else the one that its model suggests.

    Changes ``wire`` and returns it.
    """
    index = wire.auth_index if isinstance(wire.auth_index, str) else ""
    known = facts(index, "")
    if known.provider:
        wire.provider = known.provider
        if known.provider == "kimi" and _reads_beside_input(wire):
            wire.executor_type = "ClaudeExecutor"  # a Kimi account called through Claude's /v1/messages
    else:
        wire.provider, wire.executor_type = model_family(wire.model or "")
    return wire


def _reads_beside_input(wire: Wire) -> bool:
    """Whether cache reads exceed the input, so that they cannot be a part of it."""
    tokens = wire.tokens
    return tokens is not None and (tokens.cached_tokens or 0) > (tokens.input_tokens or 0)


_FAMILIES = (
    (re.compile(r"gemini-claude"), "antigravity", "AntigravityExecutor"),
    (re.compile(r"claude"), "claude", "ClaudeExecutor"),
    (re.compile(r"gemini|gemma|imagen"), "gemini", "GeminiExecutor"),
    (re.compile(r"(^|/)(gpt|o[1345]|chatgpt|codex)([-.]|$)"), "openai", "OpenAICompatExecutor"),
    (re.compile(r"grok"), "xai", "XAIExecutor"),
    (re.compile(r"kimi|moonshot"), "kimi", "KimiExecutor"),
    (re.compile(r"qwen"), "qwen", "QwenExecutor"),
    (re.compile(r"glm"), "zai", "OpenAICompatExecutor"),
    (re.compile(r"deepseek"), "deepseek", "OpenAICompatExecutor"),
)


def model_family(model: str) -> tuple[str, str]:
    """The provider and executor that a model's name suggests. They decide how to count its tokens."""
    name = model.lower()
    for pattern, provider, executor in _FAMILIES:
        if pattern.search(name):
            return provider, executor
    return "unknown", "OpenAICompatExecutor"
