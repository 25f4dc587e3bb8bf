"""Redacted batches that are on disk and not booked yet, and rejected records. The proxy has forgotten both.

What cannot be booked is kept with its reason, and counted. When it is tried again, for example after an upgrade that
can read it, it becomes a batch once more. So a running exporter books it exactly once at its next poll, or the command
line does if none is running.

A row holds its lines as zstd of newline-separated JSON. Level 1 is three times faster than zlib's and writes a quarter
less; higher levels cost more than they save.
"""

import hashlib
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import zstandard

from exporter.ledger.changes import Change
from exporter.ledger.credential_store import insert_row
from exporter.ledger.database import Database
from exporter.ledger.statements import insert
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

    ``records`` become entries, and so do ``details``, which come from snapshots: those that were read again since their
    rejection are duplicates. ``readings`` are what providers said about their windows in some of the records.
    ``rejected`` are places of lines, each with the reason.
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
        except (zstandard.ZstdError, MemoryError):  # the latter if the stated size is damaged
            lines = []
        if len(lines) == records:
            batches.append(StoredBatch(id_, name, received_ms, lines, replayed=bool(replayed)))
        else:
            said = f"{records} stored records cannot be read back: a damaged disk?"
            spoilt = Unreadable.of(packed, "spoilt_batch", said)
            change.connection.execute("delete from batch where id = ?", (id_,))
            reject(change, received_ms, spoilt, spoilt.why, records=records)
    return batches


def reject(change: Change, received_ms: int, what: bytes | Unreadable, why: Rejected, *, records: int = 1) -> None:
    """Keep ``what`` in place of this many ``records``: a redacted line, or length and hash of what cannot be read."""
    kept = (None, what.length, what.sha256) if isinstance(what, Unreadable) else (what, len(what), _digest(what))
    change.connection.execute(
        "insert into rejected (proxy, received_ms, reason, detail, line, length, sha256) values (?, ?, ?, ?, ?, ?, ?)",
        (change.proxy, received_ms, why.reason, why.detail, *kept),
    )
    change.connection.execute(
        "insert into rejected_total (proxy, reason, records) values (?, ?, ?)"
        " on conflict (proxy, reason) do update set records = records + excluded.records",
        (change.proxy, why.reason, records),
    )


def not_kept(change: Change, rejected: Collection[tuple[bytes, Rejected]]) -> list[tuple[bytes, Rejected]]:
    """Those of the ``rejected`` lines that the proxy's rejected records do not include. One scan serves them all."""
    digests = {_digest(line) for line, _ in rejected}
    kept = change.connection.execute("select sha256 from rejected where proxy = ?", (change.proxy,)) if digests else ()
    digests.difference_update(digest for (digest,) in kept)
    return [(line, why) for line, why in rejected if _digest(line) in digests]


def _digest(line: bytes) -> bytes:
    return hashlib.sha256(line).digest()
