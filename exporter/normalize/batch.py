"""The body of a pop from the usage queue as redacted records, ready to be stored. Pure."""

import msgspec

from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.redact import redact
from exporter.normalize.salvage import Unreadable, salvage
from exporter.normalize.text import without_nul
from exporter.normalize.wire import UNDECODABLE, Wire

_decode_records = msgspec.json.Decoder(list[Wire], strict=False).decode
_encode = msgspec.json.Encoder().encode


class Batch(msgspec.Struct, frozen=True):
    """A redacted body. ``wires[i]`` is ``lines[i]`` decoded, or None where the line does not fit ``Wire``."""

    lines: list[bytes]
    wires: list[Wire | None]
    unreadable: list[Unreadable]

    @property
    def received(self) -> int:
        return len(self.lines) + len(self.unreadable)


def read_batch(body: bytes, *, pseudonym: Pseudonym) -> Batch:
    """Read the body of a pop and redact it. Never raises: what cannot be read is in ``unreadable``.

    A body that broke off keeps every element that arrived whole. An element that is no JSON object, or the part of
    the body behind the last whole element, counts as one unreadable record.
    """
    body = without_nul(body)
    try:
        wires = _decode_records(body)
    except UNDECODABLE:
        found = list(salvage(body, pseudonym))
        kept = [each for each in found if not isinstance(each, Unreadable)]
        return Batch(
            lines=[line for line, _ in kept],
            wires=[wire for _, wire in kept],
            unreadable=[each for each in found if isinstance(each, Unreadable)],
        )
    redact(wires, pseudonym)
    return Batch(lines=[_encode(wire) for wire in wires], wires=list(wires), unreadable=[])
