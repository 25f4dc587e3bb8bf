"""Losses: gaps between polls, and what the watch over the proxy's counts found missing.

One transaction writes the watch and the estimate, so no crash can make a missing record count twice.
"""

import sqlite3

import msgspec

from exporter.ledger.changes import Changes
from exporter.ledger.credential_store import ROOTS
from exporter.normalize.wire_record import decoded
from exporter.sources.loss_detection import Counts, LossDetector, compare

_BY_CREDENTIAL = f"""{ROOTS}
select root, sum(success + failed), sum(records), max(success_seen is not null)
from root join credential using (id) where proxy = ? group by root
"""


class Losses:
    """Notes what was lost, or may have been. All methods raise LedgerError."""

    def __init__(self, changes: Changes) -> None:
        self._changing, self._database = changes.changing, changes.database

    def compare(self, proxy: str, *, may_have_lost: bool, publishing: bool) -> LossDetector | None:
        """Compare what ``proxy`` counted with what arrived: see ``exporter.sources.loss_detection.compare``.

        Call it after a whole inventory and a drain that emptied the queue. None if the proxy has never sent any counts.
        """
        with self._changing(proxy) as change:
            counts = _counts(change.connection, change.proxy)
            if counts is None:
                return None
            (stored,) = change.connection.execute("select watch from proxy where id = ?", (change.proxy,)).fetchone()
            # None from another version of the exporter, too: start again.
            known = decoded(stored or "", LossDetector)
            watch, change.missed = compare(known, counts, may_have_lost=may_have_lost, publishing=publishing)
            text = msgspec.json.encode(watch).decode()
            if text != stored:
                change.set("watch = ?", text)
        return watch

    def note_gap(self, proxy: str, *, seconds: int | None) -> None:
        """Note that ``proxy`` went unread for longer than it keeps a record, or (None) that a pop was cut."""
        with self._changing(proxy) as change:
            change.set("retention_gaps = retention_gaps + 1, gap_ms = ?, gap_seconds = ?", change.now_ms, seconds)

    def mark_pop(self, proxy: str, *, at_ms: int | None) -> None:
        """Mark the pop under way as one that may be cut, or (None) remove the mark."""
        with self._database.transaction() as connection:
            connection.execute("update proxy set pop_marked_ms = ? where name = ?", (at_ms, proxy))

    def settle_pop_mark(self, proxy: str) -> bool:
        """Count as a gap the pop that an earlier process left marked; return whether there was one."""
        with self._changing(proxy) as change:
            counted = change.connection.execute(
                "update proxy set retention_gaps = retention_gaps + 1, gap_ms = pop_marked_ms, gap_seconds = null,"
                " pop_marked_ms = null where id = ? and pop_marked_ms is not null",
                (change.proxy,),
            )
            return counted.rowcount > 0


def _counts(connection: sqlite3.Connection, proxy: int) -> Counts | None:
    rows = connection.execute(_BY_CREDENTIAL, (proxy,)).fetchall()
    if not any(row[3] for row in rows):
        return None
    received, restarts = connection.execute(
        "select received - extra, restarts from proxy where id = ?", (proxy,)
    ).fetchone()
    return Counts(received=received, restarts=restarts, credentials={row[0]: row[1:3] for row in rows})
