"""Restarts of a proxy in the ledger: each is counted once, whatever gives it away.

Three detectors look at a proxy, each at a pace of its own: the inventory (the attempts of the accounts begin anew), the
snapshot (its counts begin anew) and the source (a queue stands where a snapshot was, or the other way round, so another
version runs there). One restart can show in all of them, a moment or a minute apart. So it is remembered how many
restarts were known when each looked last: what others have told since then is the restart that it sees now.
"""

import sqlite3
from typing import Literal

RestartDetector = Literal["inventory", "snapshot", "source"]


def record_observation(
    connection: sqlite3.Connection, proxy: int, detector: RestartDetector, *, restarted: bool
) -> None:
    """``detector`` has looked, inside the caller's transaction; ``restarted``: the proxy did, since its last look."""
    (known,) = connection.execute("select restarts from proxy where id = ?", (proxy,)).fetchone()
    last = connection.execute(
        "select restarts from restart_witness where proxy = ? and witness = ?", (proxy, detector)
    ).fetchone()
    if restarted and (last is None or last[0] == known):
        known += 1
        connection.execute("update proxy set restarts = ? where id = ?", (known, proxy))
    if last != (known,):
        connection.execute(
            "insert or replace into restart_witness (proxy, witness, restarts) values (?, ?, ?)",
            (proxy, detector, known),
        )


def note_source(connection: sqlite3.Connection, proxy: int, kind: str) -> str | None:
    """Usage was read from a source of this kind. Returns the kind that was read before, None if none was.

    The watch over the queue's losses ends with the queue: what a snapshot counts is in the snapshot.
    """
    before: str | None = connection.execute("select source from proxy where id = ?", (proxy,)).fetchone()[0]
    if before != kind:
        connection.execute("update proxy set source = ?, watch = null where id = ?", (kind, proxy))
    record_observation(connection, proxy, "source", restarted=before is not None and before != kind)
    return before
