"""Rescues bodies that do not decode as a whole: redacts each element on its own, so that none costs another. Pure.

An element that does not fit ``Wire`` keeps only fields with an allowed name and a harmless type; one that is not a JSON
object keeps only its length and hash.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import msgspec

from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.redact import failure_cause, redact
from exporter.normalize.wire import MAX_TEXT, UNDECODABLE, Text, Wire, WireFail, decode_record

_decode_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """Something in a body that cannot be redacted, so only its length and hash stay."""

    reason: str
    length: int
    sha256: bytes


def salvage(body: bytes, pseudonym: Pseudonym) -> Iterator[tuple[bytes, Wire | None] | Unreadable]:
    """Each element of a body as a redacted line and its record (None where it does not fit), or as unreadable.

    Whatever follows the last whole element of a body that broke off is one more unreadable element.
    """
    elements, rest = _split(body)
    for raw in elements:
        yield _read_element(raw, pseudonym)
    if rest is not None:
        yield _unreadable("malformed_json", rest)


def _read_element(raw: bytes, pseudonym: Pseudonym) -> tuple[bytes, Wire | None] | Unreadable:
    try:
        wire = decode_record(raw)
    except UNDECODABLE:
        return _read_misfit(raw, pseudonym)
    redact([wire], pseudonym)
    return _encode(wire), wire


def _read_misfit(raw: bytes, pseudonym: Pseudonym) -> tuple[bytes, Wire | None] | Unreadable:
    """Redact an element that does not fit ``Wire``: keep what has an allowed name and a harmless type."""
    try:
        value = json.loads(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return _unreadable("malformed_json", raw)
    if not isinstance(value, dict):
        return _unreadable("not_an_object", raw)
    line = json.dumps(_redact_misfit(value, pseudonym), ensure_ascii=True).encode()
    try:
        return line, decode_record(line)
    except UNDECODABLE:
        return line, None


_PSEUDONYMIZED = ("source", "api_key")
_NOT_SENT = ("response", "of_snapshot")
"""Fields of ``Wire`` that only the exporter itself fills."""


def _types(shape: type[msgspec.Struct]) -> dict[str, tuple[Any, ...]]:
    """By field, the types that a value may have."""
    return {field.name: get_args(field.type) for field in msgspec.structs.fields(shape)}


def _nested(types: tuple[Any, ...]) -> type[msgspec.Struct] | None:
    return next((each for each in types if isinstance(each, type) and issubclass(each, msgspec.Struct)), None)


_FIELDS = {name: types for name, types in _types(Wire).items() if name not in _NOT_SENT}


def _redact_misfit(value: dict[str, Any], pseudonym: Pseudonym) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name in _FIELDS.keys() & value.keys():
        item, types = value[name], _FIELDS[name]
        if name in _PSEUDONYMIZED:
            # Anything else is worthless and might hold a secret.
            if isinstance(item, str):
                kept[name] = pseudonym(_clean(item))
        elif Text in types:
            # A list is not text either, so the record stays a misfit.
            kept[name] = _clean(item)[:MAX_TEXT] if isinstance(item, str) else item if item is None else [_what(item)]
        elif bool in types:
            kept[name] = item if isinstance(item, bool) or item is None else [_what(item)]
        elif int in types:
            kept[name] = _number(item)
        elif (shape := _nested(types)) not in (None, WireFail):
            kept[name] = _numbers(item, shape)
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
    for name, types in _types(shape).items():
        if name not in value:
            continue
        item = value[name]
        if Text in types and isinstance(item, str):
            kept[name] = _clean(item)[:20]
        elif (inner := _nested(types)) is not None:
            kept[name] = _numbers(item, inner)
        else:
            kept[name] = item if bool in types and isinstance(item, bool) else _number(item)
    return kept


_NUMERIC = re.compile(r"-?[0-9]{1,25}(\.[0-9]{1,25})?")


def _number(value: Any) -> int | float | str | None:
    """A number or numeric text; the type's name in place of anything else, so that the record stays a misfit."""
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
    """The whole elements of a JSON array, and what follows the last one if the array is not closed there.

    The standard library accepts what a strict reader refuses (lone surrogates, NaN), so one odd element never costs its
    neighbours.
    """
    try:
        return [bytes(raw) for raw in _decode_elements(body)], None
    except UNDECODABLE:
        pass
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
