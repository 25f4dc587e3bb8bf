"""Redacted batches that are on disk and not booked yet: the proxy has forgotten them.

A row holds its lines as zstd of newline-separated JSON. Level 1 is three times faster than zlib's and writes a quarter
less; higher levels cost more than they save.
"""

import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

import zstandard

from exporter.ledger.columns import insert
from exporter.ledger.credential_store import insert_row
from exporter.ledger.store.rejections import keep_rejected
from exporter.quotas.reading import Reading
from exporter.records import Cost, Rejected, UsageRecord

_INSERT = insert("batch", ("proxy", "received_ms", "replayed", "records", "lines"))


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch that is on disk and not booked yet."""

    id: int
    proxy: str
    received_ms: int
    lines: list[bytes]
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Interpreted:
    """What the lines of a batch turned out to be.

    ``records`` become entries, ``details`` too: they come from snapshots, and those read again since their rejection
    are duplicates. ``readings`` are what providers said about their windows in some of the records. Lines are
    ``rejected`` by their place.
    """

    records: list[tuple[UsageRecord, Cost]] = field(default_factory=list)
    details: list[tuple[UsageRecord, Cost]] = field(default_factory=list)
    readings: list[tuple[UsageRecord, Reading]] = field(default_factory=list)
    rejected: list[tuple[int, Rejected]] = field(default_factory=list)


def insert_batch(
    connection: sqlite3.Connection, proxy: int, received_ms: int, lines: Sequence[bytes], *, replayed: bool = False
) -> int:
    """Store redacted lines, inside the caller's transaction; return the batch's id."""
    packed = zstandard.ZstdCompressor(level=1, write_checksum=True).compress(b"\n".join(lines))
    return insert_row(connection, _INSERT, (proxy, received_ms, replayed, len(lines), packed))


def take_stored(connection: sqlite3.Connection, name: str, proxy: int) -> list[StoredBatch]:
    """The stored batches of a proxy, oldest first. One that can no longer be unpacked is rejected as a whole."""
    rows = connection.execute(
        "select id, received_ms, lines, replayed, records from batch where proxy = ? order by id", (proxy,)
    ).fetchall()
    batches: list[StoredBatch] = []
    for id_, received_ms, packed, replayed, records in rows:
        try:
            lines = zstandard.ZstdDecompressor().decompress(packed).split(b"\n")
        except (zstandard.ZstdError, MemoryError):  # the latter if the stated size is spoilt
            lines = []
        if len(lines) == records:
            batches.append(StoredBatch(id_, name, received_ms, lines, replayed=bool(replayed)))
            continue
        why = Rejected(reason="spoilt_batch", detail=f"{records} stored records cannot be read back: a damaged disk?")
        connection.execute("delete from batch where id = ?", (id_,))
        digest = hashlib.sha256(packed).digest()
        keep_rejected(connection, proxy, received_ms, why, (None, len(packed), digest), records=records)
    return batches
