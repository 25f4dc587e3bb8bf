"""Records by their identity, to compare what a proxy handed out with what a ledger holds."""

import time
from collections import Counter
from pathlib import Path

from exporter.normalize.fingerprint import queue_fingerprint
from exporter.normalize.usage_record import normalize
from exporter.normalize.wire_record import Wire, decode_line
from exporter.records import UNKNOWN_CREDENTIAL, UsageRecord
from tests.stack.running import ledger_file

Identity = tuple[int, int]


def identity_of(raw: bytes) -> Identity:
    """The identity of a wire record of the proxy ``default``, if no equal one was booked before it."""
    wire = decode_line(raw)
    assert isinstance(wire, Wire)
    record = normalize(
        wire,
        queue_fingerprint("default", wire),
        received_ms=int(time.time() * 1000),
        facts=lambda _handle, _provider: UNKNOWN_CREDENTIAL,
    )
    assert isinstance(record, UsageRecord)
    return record.ts_ms, record.fingerprint


def booked_in(data_dir: Path) -> Counter[Identity]:
    """The identities of all entries. A record that was booked twice appears under one that no proxy has sent."""
    with ledger_file(data_dir) as connection:
        return Counter(connection.execute("select ts_ms, fingerprint from entry").fetchall())
