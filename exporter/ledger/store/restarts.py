"""Restarts of a proxy: each is counted once, whatever reveals it.

Three detectors watch a proxy, each at its own pace: the inventory (the attempts of accounts start again), the snapshot
(its counts start again) and the source (a queue replaces a snapshot or the other way round, so another version runs).
One restart can show in all of them, a moment or a minute apart. So the ledger keeps how many restarts were known at
each detector's last look: if the others have reported one since, that is the one it sees now.
"""

import sqlite3
from typing import Literal

from exporter.ledger.statements import insert

RestartDetector = Literal["inventory", "snapshot", "source"]

_SAVE_OBSERVATION = insert("restart_witness", ("proxy", "witness", "restarts"), replace=True)


def record_observation(
    connection: sqlite3.Connection, proxy: int, detector: RestartDetector, *, restarted: bool
) -> None:
    """Note a look of ``detector``, inside the caller's transaction; ``restarted``: the proxy did since its last one."""
    (known,) = connection.execute("select restarts from proxy where id = ?", (proxy,)).fetchone()
    last = connection.execute(
        "select restarts from restart_witness where proxy = ? and witness = ?", (proxy, detector)
    ).fetchone()
    if restarted and (last is None or last[0] == known):
        known += 1
        connection.execute("update proxy set restarts = ? where id = ?", (known, proxy))
    if last != (known,):
        connection.execute(_SAVE_OBSERVATION, (proxy, detector, known))
