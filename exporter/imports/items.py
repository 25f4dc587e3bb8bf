"""The content of a file, before the ledger says what in it is new. Pure."""

import hashlib
from typing import Any, NamedTuple

import msgspec

from exporter.normalize.wire_record import Wire
from exporter.records import Cost, Rejected, UsageRecord


class Misfit(NamedTuple):
    """A record that cannot be read: the line that is kept, and why."""

    line: bytes
    why: Rejected


class LeftOut(NamedTuple):
    """Requests that cannot be imported: why, as the end of a sentence, and their number."""

    why: str
    requests: int


NEXT_FILE = LeftOut("", 0)
"""Separates the parts of a file that was joined from several."""

Item = Wire | Misfit | LeftOut | tuple[UsageRecord, Cost]
"""A redacted wire record, or a record with the cost booked for it before; or what cannot be imported."""


def misfit(source: str, content: Any) -> Misfit:
    """The misfit for a row whose types are not a record's. Only its hash is kept, because it cannot be redacted."""
    digest = hashlib.sha256(repr(content).encode("utf-8", "surrogatepass")).hexdigest()
    return Misfit(
        msgspec.json.encode({"import": source, "sha256": digest}),
        Rejected(reason="malformed_record", detail="a row of another shape"),
    )
