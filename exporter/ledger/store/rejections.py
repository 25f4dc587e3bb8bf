"""Wire records that could not be booked: kept with their reason, and counted."""

import hashlib
from collections.abc import Collection

from exporter.ledger.changes import Change
from exporter.normalize.batch import Unreadable
from exporter.records import Rejected


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
