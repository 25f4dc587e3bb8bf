"""Wire records that could not be booked: kept with their reason, and counted."""

import hashlib
import sqlite3

from exporter.normalize.batch import Unreadable
from exporter.records import Rejected


def reject(
    connection: sqlite3.Connection,
    proxy: int,
    received_ms: int,
    what: bytes | Unreadable,
    why: Rejected,
    *,
    records: int = 1,
) -> None:
    """Keep ``what`` in place of this many ``records``: a redacted line, or length and hash of what cannot be read."""
    kept = (None, what.length, what.sha256) if isinstance(what, Unreadable) else (what, len(what), _digest(what))
    connection.execute(
        "insert into rejected (proxy, received_ms, reason, detail, line, length, sha256) values (?, ?, ?, ?, ?, ?, ?)",
        (proxy, received_ms, why.reason, why.detail, *kept),
    )
    connection.execute(
        "insert into rejected_total (proxy, reason, records) values (?, ?, ?)"
        " on conflict (proxy, reason) do update set records = records + excluded.records",
        (proxy, why.reason, records),
    )


def is_rejected(connection: sqlite3.Connection, proxy: int, line: bytes) -> bool:
    """Whether this line of a proxy is already kept as rejected."""
    statement = "select 1 from rejected where proxy = ? and sha256 = ?"
    return connection.execute(statement, (proxy, _digest(line))).fetchone() is not None


def _digest(line: bytes) -> bytes:
    return hashlib.sha256(line).digest()
