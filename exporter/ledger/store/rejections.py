"""Wire records that could not be booked: kept with their reason, and counted."""

import hashlib
import sqlite3

from exporter.normalize.batch import Unreadable
from exporter.records import Rejected


def reject_unreadable(connection: sqlite3.Connection, proxy: int, received_ms: int, what: Unreadable) -> None:
    """Count what cannot be read; only its length and hash are kept."""
    why = Rejected(what.reason, "cannot be read, so it cannot be redacted: only length and hash are kept")
    keep_rejected(connection, proxy, received_ms, why, (None, what.length, what.sha256))


def reject_line(connection: sqlite3.Connection, proxy: int, received_ms: int, line: bytes, why: Rejected) -> None:
    """Keep a redacted line with the reason for its rejection."""
    keep_rejected(connection, proxy, received_ms, why, (line, len(line), hashlib.sha256(line).digest()))


def keep_rejected(
    connection: sqlite3.Connection,
    proxy: int,
    received_ms: int,
    why: Rejected,
    what: tuple[bytes | None, int, bytes],
    *,
    records: int = 1,
) -> None:
    """Keep ``what`` (line, length, hash) in place of this many ``records``."""
    connection.execute(
        "insert into rejected (proxy, received_ms, reason, detail, line, length, sha256) values (?, ?, ?, ?, ?, ?, ?)",
        (proxy, received_ms, why.reason, why.detail, *what),
    )
    connection.execute(
        "insert into rejected_total (proxy, reason, records) values (?, ?, ?)"
        " on conflict (proxy, reason) do update set records = records + excluded.records",
        (proxy, why.reason, records),
    )


def is_rejected(connection: sqlite3.Connection, proxy: int, line: bytes) -> bool:
    """Whether this line of a proxy is already kept as rejected."""
    digest = hashlib.sha256(line).digest()
    found = connection.execute("select 1 from rejected where proxy = ? and sha256 = ?", (proxy, digest)).fetchone()
    return found is not None
