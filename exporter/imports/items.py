"""What a file of the past holds, before the ledger is asked what of it is new. Pure."""

import hashlib
from typing import Any, NamedTuple

import msgspec

from exporter.normalize.wire import Wire
from exporter.records import Cost, Rejected, UsageRecord


class Misfit(NamedTuple):
    """What cannot be read, and the line that is kept of it."""

    line: bytes
    why: Rejected


Item = Wire | Misfit | tuple[UsageRecord, Cost]
"""A redacted wire record, a record whose cost was booked before, or something that is neither."""


def misfit(source: str, content: Any) -> Misfit:
    """``content`` of ``source`` does not have the types of a record. Its hash is kept: it cannot be redacted."""
    digest = hashlib.sha256(repr(content).encode("utf-8", "surrogatepass")).hexdigest()
    return Misfit(
        msgspec.json.encode({"import": source, "sha256": digest}),
        Rejected(reason="malformed_record", detail="a row of another shape"),
    )
