"""Single requests: the last that failed, and the dearest. Only what an entry has been kept for anyway."""

import sqlite3
from collections.abc import Collection
from typing import NamedTuple


class SingleRequest(NamedTuple):
    """An entry: when it was sent (ms since the epoch), tokens, nano-USD, how long it took in ms (0: not told)."""

    ts_ms: int
    series: int
    billing: int
    code: str
    tokens: int
    nano_usd: int
    latency_ms: int


_READ = (
    "select ts_ms, series, billing, code, uncached + cache_read + cache_write + output + unclassified, nano_usd,"
    " latency_ms from entry where ts_ms >= ? and ts_ms < ? and counted and series in (select series from temp.chosen)"
    " and {} limit ?"
)
_FAILED = _READ.format("code <> '' order by ts_ms desc, id desc")
_DEAREST = _READ.format("nano_usd > 0 order by nano_usd desc, id desc")


def read_requests(
    connection: sqlite3.Connection, since_ms: int, until_ms: int, series: Collection[int], *, most: int
) -> tuple[list[SingleRequest], list[SingleRequest]]:
    """The last failed and the dearest of a span, no more than ``most`` of each.

    ``connection`` is one that ``Ledger.reading`` gave.
    """
    connection.execute("create temp table chosen (series integer primary key)")
    connection.executemany("insert into temp.chosen values (?)", [(id_,) for id_ in series])
    values = (since_ms, until_ms, most)
    failed, dearest = (connection.execute(statement, values).fetchall() for statement in (_FAILED, _DEAREST))
    return [SingleRequest(*row) for row in failed], [SingleRequest(*row) for row in dearest]
