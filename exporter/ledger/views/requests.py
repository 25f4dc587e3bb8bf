"""Single requests: the last that failed, and the dearest."""

import sqlite3
from collections.abc import Collection
from typing import NamedTuple

from exporter.ledger.schema import BUCKET_MS


class SingleRequest(NamedTuple):
    """An entry: when it was sent (ms since the epoch), tokens, nano-USD, how long it took in ms (0: unknown)."""

    ts_ms: int
    series: int
    billing: int
    code: str
    tokens: int
    nano_usd: int
    latency_ms: int


_READ = (
    "select e.ts_ms, e.series, e.billing, e.code,"
    " e.uncached + e.cache_read + e.cache_write + e.output + e.unclassified, e.nano_usd, e.latency_ms from"
)
_CHOSEN = "in (select series from temp.chosen)"
_FAILED = (
    f"{_READ} entry e where e.ts_ms >= ? and e.ts_ms < ? and e.counted and e.series {_CHOSEN} and e.code <> ''"
    " order by e.ts_ms desc, e.id desc limit ?"
)
# The dearest requests lie in as many rows of the roll-up at most, those with the highest ``dearest``. Where entries
# have been deleted, that may be a deleted one's, so the few that are left are read instead. A plus keeps SQLite from
# making an index first.
_DEAREST = f"""
with best as (
    select bucket, series, basis, billing from rollup
    where bucket >= max(:whole, :since / {BUCKET_MS}) and bucket < :until / {BUCKET_MS} and dearest > 0
    and series {_CHOSEN} order by dearest desc, bucket desc limit :most)
select * from (
    {_READ} best b cross join entry e on e.ts_ms >= b.bucket * {BUCKET_MS} and e.ts_ms < (b.bucket + 1) * {BUCKET_MS}
    where +e.series = b.series and +e.basis = b.basis and +e.billing = b.billing and e.counted and e.nano_usd > 0
    union all
    {_READ} entry e where e.ts_ms >= :since and e.ts_ms < min(:until, :whole * {BUCKET_MS})
    and e.series {_CHOSEN} and e.counted and e.nano_usd > 0
) order by nano_usd desc, ts_ms desc limit :most"""


def read_requests(
    connection: sqlite3.Connection, since_ms: int, until_ms: int, series: Collection[int], *, most: int
) -> tuple[list[SingleRequest], list[SingleRequest]]:
    """The last failed and the dearest requests in whole quarters of an hour, at most ``most`` of each.

    ``connection`` comes from ``Ledger.reading``.
    """
    connection.execute("create temp table chosen (series integer primary key)")
    connection.executemany("insert into temp.chosen values (?)", [(id_,) for id_ in series])
    failed = connection.execute(_FAILED, (since_ms, until_ms, most)).fetchall()
    (pruned_ms,) = connection.execute("select coalesce(max(pruned_before_ms), 0) from proxy").fetchone()
    span = {"since": since_ms, "until": until_ms, "whole": -(-pruned_ms // BUCKET_MS), "most": most}
    dearest = connection.execute(_DEAREST, span).fetchall()
    return [SingleRequest(*row) for row in failed], [SingleRequest(*row) for row in dearest]
