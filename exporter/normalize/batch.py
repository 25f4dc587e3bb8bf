"""The body of a pop from the usage queue as redacted records. Pure."""

import msgspec

from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.redact import redact
from exporter.normalize.salvage import Unreadable, salvage
from exporter.normalize.wire import UNDECODABLE, Wire, without_nul

_decode_records = msgspec.json.Decoder(list[Wire], strict=False).decode
_encode = msgspec.json.Encoder().encode


class Batch(msgspec.Struct, frozen=True):
    """A redacted body. ``wires[i]`` is ``lines[i]`` decoded, or None where the line does not fit ``Wire``.

    ``salvaged`` holds the lines of a body that did not decode as a whole.
    """

    wires: list[Wire | None]
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
        return {wire.auth_index for wire in self.wires if wire and wire.auth_index and isinstance(wire.auth_index, str)}


def read_batch(body: bytes | bytearray, *, pseudonym: Pseudonym) -> Batch:
    """Read the body of a pop and redact it. Never raises: what cannot be read is in ``unreadable``.

    A body that broke off keeps every element that arrived whole. An element that is not a JSON object counts as one
    unreadable record, and so does whatever follows the last whole element.
    """
    body = without_nul(body)
    try:
        wires = _decode_records(body)
    except UNDECODABLE:
        found = list(salvage(bytes(body), pseudonym))
        kept = [each for each in found if not isinstance(each, Unreadable)]
        return Batch(
            wires=[wire for _, wire in kept],
            salvaged=[line for line, _ in kept],
            unreadable=[each for each in found if isinstance(each, Unreadable)],
        )
    redact(wires, pseudonym)
    return Batch(wires=list(wires))
