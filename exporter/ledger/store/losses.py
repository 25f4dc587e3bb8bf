"""Losses in the ledger: gaps between polls, and the watch over the proxy's counts with what it found missing.

One statement writes the watch and the estimate, so no crash can make a missing record count twice.
"""

import sqlite3

import msgspec

from exporter.ledger.sync.export_state import roots_of
from exporter.sources.loss_detection import Counts, LossDetector, compare


def compare_counts(
    connection: sqlite3.Connection, proxy: int, *, may_have_lost: bool, publishing: bool, now_ms: int
) -> LossDetector | None:
    """Compare, inside the caller's transaction: see ``exporter.sources.loss_detection.compare``.

    Call it after a whole inventory and a drain that emptied the queue. None if the proxy has never sent any counts.
    """
    counts = _counts(connection, proxy)
    if counts is None:
        return None
    (stored,) = connection.execute("select watch from proxy where id = ?", (proxy,)).fetchone()
    watch, missed = compare(_decoded(stored), counts, may_have_lost=may_have_lost, publishing=publishing)
    text = msgspec.json.encode(watch).decode()
    if text != stored:
        connection.execute(
            "update proxy set watch = ?, missed = missed + ?, missed_ms = iif(?, ?, missed_ms) where id = ?",
            (text, missed, missed > 0, now_ms, proxy),
        )
    return watch


def note_gap(connection: sqlite3.Connection, proxy: int, *, ended_ms: int, seconds: int | None) -> None:
    """Note that the proxy went unread for ``seconds``, longer than it keeps a record; None: a pop was cut."""
    connection.execute(
        "update proxy set retention_gaps = retention_gaps + 1, gap_ms = ?, gap_seconds = ? where id = ?",
        (ended_ms, seconds, proxy),
    )


def settle_pop_mark(connection: sqlite3.Connection, proxy: int) -> bool:
    """Count the marked pop as cut, if there is one; return whether there was."""
    return (
        connection.execute(
            "update proxy set retention_gaps = retention_gaps + 1, gap_ms = pop_marked_ms, gap_seconds = null,"
            " pop_marked_ms = null where id = ? and pop_marked_ms is not null",
            (proxy,),
        ).rowcount
        > 0
    )


def _counts(connection: sqlite3.Connection, proxy: int) -> Counts | None:
    rows = connection.execute(
        "select id, success + failed, records, success_seen is not null from credential where proxy = ?", (proxy,)
    ).fetchall()
    if not any(row[3] for row in rows):
        return None
    received, restarts = connection.execute(
        "select received - extra, restarts from proxy where id = ?", (proxy,)
    ).fetchone()
    roots = roots_of(connection)
    credentials: dict[int, tuple[int, int]] = {}
    for id_, attempts, records, _ in rows:
        known = credentials.get(roots[id_], (0, 0))
        credentials[roots[id_]] = (known[0] + attempts, known[1] + records)
    return Counts(received=received, restarts=restarts, credentials=credentials)


def _decoded(stored: str | None) -> LossDetector | None:
    try:
        return None if stored is None else msgspec.json.decode(stored, type=LossDetector)
    except msgspec.DecodeError:
        return None  # another version of the exporter wrote it: start again
