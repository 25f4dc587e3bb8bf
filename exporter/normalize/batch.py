"""The body of a pop from the usage queue as redacted records. Pure.

A body that does not decode as a whole is read element by element, so that no element costs the others. An element that
does not fit ``Wire`` keeps only fields with an allowed name and a harmless value; one that is not a JSON object keeps
only its length and hash.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any, get_args

import msgspec

from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.redact import failure_cause, redact
from exporter.normalize.wire_record import MAX_TEXT, UNDECODABLE, Text, Wire, decode_line, decode_record, without_nul
from exporter.records import Rejected, RejectionReason

_decode_records = msgspec.json.Decoder(list[Wire], strict=False).decode
_encode = msgspec.json.Encoder().encode
_NOT_REDACTED = "cannot be read, so it cannot be redacted: only length and hash are kept"


class Unreadable(msgspec.Struct, frozen=True):
    """Something that cannot be redacted, so only its length and hash stay."""

    why: Rejected
    length: int
    sha256: bytes

    @classmethod
    def of(cls, raw: bytes, reason: RejectionReason, detail: str = _NOT_REDACTED) -> "Unreadable":
        return cls(Rejected(reason, detail), len(raw), hashlib.sha256(raw).digest())


class Batch(msgspec.Struct, frozen=True):
    """A redacted body. ``wires[i]`` is ``lines[i]`` decoded, or why it does not fit ``Wire``.

    ``salvaged`` holds the lines of a body that did not decode as a whole.
    """

    wires: Sequence[Wire | Rejected]
    salvaged: list[bytes] | None = None
    unreadable: list[Unreadable] = []

    @property
    def received(self) -> int:
        return len(self.wires) + len(self.unreadable)

    @property
    def lines(self) -> list[bytes]:
        """The lines to store, encoded only on demand: most bodies leave nothing but their entries."""
        return [_encode(wire) for wire in self.wires] if self.salvaged is None else self.salvaged

    @property
    def handles(self) -> set[str]:
        """The ``auth_index`` of its records."""
        found = {wire.auth_index for wire in self.wires if isinstance(wire, Wire) and wire.auth_index}
        return {handle for handle in found if isinstance(handle, str)}


def read_batch(body: bytes | bytearray, *, pseudonym: Pseudonym) -> Batch:
    """Read the body of a pop and redact it. Never raises: what cannot be read is in ``unreadable``.

    A body that broke off keeps every element that arrived whole. An element that is not a JSON object counts as one
    unreadable record, and so does whatever follows the last whole element.
    """
    body = without_nul(body)
    try:
        wires = _decode_records(body)
    except UNDECODABLE:
        return _salvage(bytes(body), pseudonym)
    redact(wires, pseudonym)
    return Batch(wires)


def _salvage(body: bytes, pseudonym: Pseudonym) -> Batch:
    elements, rest = _split(body)
    found = [_redacted(raw, pseudonym) for raw in elements]
    if rest is not None:
        found.append(Unreadable.of(rest, "malformed_json"))
    lines = [each for each in found if isinstance(each, bytes)]
    unreadable = [each for each in found if isinstance(each, Unreadable)]
    return Batch([decode_line(line) for line in lines], lines, unreadable)


def _redacted(raw: bytes, pseudonym: Pseudonym) -> bytes | Unreadable:
    """An element as a redacted line."""
    try:
        wire = decode_record(raw)
    except UNDECODABLE:
        pass
    else:
        redact([wire], pseudonym)
        return _encode(wire)
    try:
        value = json.loads(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return Unreadable.of(raw, "malformed_json")
    if not isinstance(value, dict):
        return Unreadable.of(raw, "not_an_object")
    return json.dumps(_redacted_misfit(value, pseudonym), ensure_ascii=True).encode()


_OWN_RULES = ("source", "api_key", "fail", "response_headers", "response", "of_snapshot")
"""Fields of ``Wire`` that hold secrets on the wire, or that only the exporter itself fills."""


def _redacted_misfit(value: dict[str, Any], pseudonym: Pseudonym) -> dict[str, Any]:
    kept = _harmless({name: item for name, item in value.items() if name not in _OWN_RULES}, (Wire,))
    for name in ("source", "api_key"):
        if isinstance(value.get(name), str):  # anything else is worthless and might hold a secret
            kept[name] = pseudonym(_clean(value[name]))
    fail = value.get("fail")
    if isinstance(fail, dict):
        body = fail.get("body")
        cause = failure_cause(body if isinstance(body, str) else "")
        kept["fail"] = {"cause": cause, "status_code": _harmless(fail.get("status_code"), (int,))}
    return kept  # type: ignore[no-any-return] # a dictionary stays one


_NUMERIC = re.compile(r"-?[0-9]{1,25}(\.[0-9]{1,25})?")


def _harmless(value: Any, types: tuple[Any, ...]) -> Any:
    """What may stay of a field's value, given the types that it may have: numbers, text where text belongs.

    A list with the type's name replaces anything else. No field takes such a list, so the record stays a misfit.
    """
    if value is None or (isinstance(value, bool | int | float) and abs(value) < 2**63):
        return value
    if isinstance(value, str) and (Text in types or _NUMERIC.fullmatch(value)):
        return _clean(value)[:MAX_TEXT]
    if isinstance(value, dict):
        for shape in types:
            if isinstance(shape, type) and issubclass(shape, msgspec.Struct):
                fields = [each for each in msgspec.structs.fields(shape) if each.name in value]
                return {each.name: _harmless(value[each.name], get_args(each.type)) for each in fields}
    return [f"<{type(value).__name__}>"]


def _clean(text: str) -> str:
    """The text with a question mark for each lone surrogate, which UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text


def _split(body: bytes) -> tuple[list[bytes], bytes | None]:
    """The whole elements of a JSON array, and what follows the last one if the array is not closed there.

    The standard library accepts what a strict reader refuses (lone surrogates, NaN), so one odd element never costs its
    neighbours.
    """
    text = body.decode("utf-8", "surrogateescape")
    decoder = json.JSONDecoder(parse_int=str)  # the values are dropped, and int() refuses more than 4,300 digits
    elements: list[bytes] = []
    position = _skip_space(text, 0)
    if text.strip() in ("", "null"):
        return [], None  # Go sometimes writes an empty list this way
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
    # Closed, or broken off between two elements: only what follows the end is unread.
    return elements, text[position + 1 :].strip().encode("utf-8", "surrogateescape") or None


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position
