"""Redacted batches that are on disk and not booked yet: the proxy has forgotten them.

Rejected records that are tried again come back here, for example after an upgrade that can read them. So a running
exporter books each exactly once at its next poll, or the command line does if none is running.

A row holds its lines as zstd of newline-separated JSON. Level 1 is three times faster than zlib's and writes a quarter
less; higher levels cost more than they save.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import zstandard

from exporter.ledger.changes import Change
from exporter.ledger.credential_store import insert_row
from exporter.ledger.database import Database
from exporter.ledger.entry_columns import insert
from exporter.ledger.store.rejections import reject
from exporter.normalize.batch import Unreadable
from exporter.quotas.reading import Reading
from exporter.records import Cost, Rejected, UsageRecord

_RECORDS_PER_BATCH = 500
_INSERT = insert("batch", ("proxy", "received_ms", "replayed", "records", "lines"))


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch that is on disk and not booked yet."""

    id: int
    proxy: str
    received_ms: int
    lines: list[bytes]
    replayed: bool = False


def queue_rejected(database: Database, *, reason: str | None, now_ms: int) -> dict[str, int]:
    """Queue rejected records (of one ``reason``, or all) for booking; return their number by proxy.

    Records kept only as length and hash cannot be tried again and stay. Raises LedgerError.
    """
    queued: dict[str, int] = {}
    with database.transaction() as connection:
        rows = connection.execute(
            "select p.name, r.proxy, r.id, r.line from rejected r join proxy p on p.id = r.proxy"
            " where r.line is not null and (?1 is null or r.reason = ?1) order by r.proxy, r.id",
            (reason,),
        ).fetchall()
        for (name, proxy), group in groupby(rows, key=lambda row: row[:2]):
            lines = [row[3] for row in group]
            for start in range(0, len(lines), _RECORDS_PER_BATCH):
                insert_batch(connection, proxy, now_ms, lines[start : start + _RECORDS_PER_BATCH], replayed=True)
            connection.execute("update proxy set replayed = replayed + ? where id = ?", (len(lines), proxy))
            queued[name] = len(lines)
        connection.executemany("delete from rejected where id = ?", [(row[2],) for row in rows])
    return queued


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


def take_stored(change: Change, name: str) -> list[StoredBatch]:
    """The stored batches of the proxy ``name``, oldest first. One that cannot be unpacked is rejected as a whole."""
    rows = change.connection.execute(
        "select id, received_ms, lines, replayed, records from batch where proxy = ? order by id", (change.proxy,)
    ).fetchall()
    batches: list[StoredBatch] = []
    for id_, received_ms, packed, replayed, records in rows:
        try:
            lines = zstandard.ZstdDecompressor().decompress(packed).split(b"\n")
        except (zstandard.ZstdError, MemoryError):  # the latter if the stated size is spoilt
            lines = []
        if len(lines) == records:
            batches.append(StoredBatch(id_, name, received_ms, lines, replayed=bool(replayed)))
        else:
            said = f"{records} stored records cannot be read back: a damaged disk?"
            spoilt = Unreadable.of(packed, "spoilt_batch", said)
            change.connection.execute("delete from batch where id = ?", (id_,))
            reject(change, received_ms, spoilt, spoilt.why, records=records)
    return batches
