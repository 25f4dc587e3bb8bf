"""Usage in any spans of time, grouped in any way: the sums behind the page, report and API.

A sum is exact to the quarter of an hour. Whole days come from the sums of days if there are any, the rest from the
roll-up, whichever way reads fewer rows: the smaller part of a cut day is added or subtracted.
"""

import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from exporter.ledger.columns import DAY_SUMS, Amounts
from exporter.records import Billing

_Key = TypeVar("_Key")


class Span(NamedTuple):
    """Buckets of the roll-up from ``first`` up to but not including ``last``."""

    first: int
    last: int


class _Piece(NamedTuple):
    place: int
    sign: int
    first: int
    last: int


Sums = dict[tuple[int, int], Amounts]
"""Sums by (group, billing), without those that are 0 throughout."""

_DAYS = (
    ", ".join(f"sum(r.{column})" for column in DAY_SUMS),
    "temp.whole p cross join day_rollup r on r.day = p.first",
)
_BUCKETS = (
    ", ".join(f"sum(p.sign * ({column}))" for column in DAY_SUMS.values()),
    "temp.part p cross join rollup r on r.bucket >= p.first and r.bucket < p.last",
)
# One place at a time, because sorting all of them for their groups would take more memory than a connection has.
_GROUPED = (
    "select g.number, r.billing, {} from {} join temp.grouped g on g.series = r.series where p.place = ? group by 1, 2"
)
# Without groups nothing is sorted, which would take most of the time.
_TOTAL = "select {} from {} join temp.grouped g on g.series = r.series where p.place = ? and r.billing = ?"


def read_usage(
    connection: sqlite3.Connection, spans: Sequence[Span], groups: Mapping[int, int], *, totals: Sequence[Span] = ()
) -> list[Sums]:
    """The sums of each of ``spans`` and ``totals``, which may overlap.

    ``groups`` maps each series that counts to its group. Of ``totals``, only the sum over all groups has a meaning.
    ``connection`` comes from ``Ledger.reading``.
    """
    connection.execute("create temp table if not exists grouped (series integer primary key, number integer not null)")
    connection.execute("delete from temp.grouped")
    connection.executemany("insert into temp.grouped values (?, ?)", groups.items())
    edges = sorted({edge for span in (*spans, *totals) for edge in span})
    at = {edge: place for place, edge in enumerate(edges)}

    def within(some: Sequence[Span]) -> set[int]:
        return {place for span in some for place in range(at[span.first], at[span.last])}

    grouped = sorted(within(spans))
    plain = sorted(within(totals) - set(grouped))
    cuts = [Span(edges[place], edges[place + 1]) for place in (*grouped, *plain)]
    sums = dict(zip((*grouped, *plain), _read(connection, cuts, len(grouped)), strict=True))
    return [_joined([sums[place] for place in range(at[span.first], at[span.last])]) for span in (*spans, *totals)]


def added(pairs: Iterable[tuple[_Key, Sequence[int]]]) -> dict[_Key, Amounts]:
    """The sum of the amounts of each key."""
    parts: dict[_Key, list[Sequence[int]]] = {}
    for key, amounts in pairs:
        parts.setdefault(key, []).append(amounts)
    return {key: Amounts.total(amounts) for key, amounts in parts.items()}


def oldest_bucket(connection: sqlite3.Connection) -> int | None:
    """The first quarter of an hour with any use, None if there is none."""
    bucket: int | None = connection.execute("select min(bucket) from rollup").fetchone()[0]
    return bucket


def _read(connection: sqlite3.Connection, spans: Sequence[Span], grouped: int) -> list[Sums]:
    """The sums of spans that do not overlap, the first ``grouped`` of them by group."""
    whole: list[_Piece] = []
    part: list[_Piece] = []
    days = [Span(*row) for row in connection.execute("select day, until_bucket from summed_day order by day")]
    starts = [day.first for day in days]
    for place, span in enumerate(spans):
        near = days[max(0, bisect_right(starts, span.first) - 1) : bisect_left(starts, span.last)]
        for piece, is_whole in _pieces(place, span, near):
            if piece.first < piece.last:
                (whole if is_whole else part).append(piece)
    found: list[list[tuple[tuple[int, int], Sequence[int]]]] = [[] for _ in spans]
    for table, pieces, parts in (("whole", whole, _DAYS), ("part", part, _BUCKETS)):
        connection.execute(
            f"create temp table if not exists {table} (place integer, sign integer, first integer, last integer)"
        )
        connection.execute(f"delete from temp.{table}")
        connection.executemany(f"insert into temp.{table} values (?, ?, ?, ?)", pieces)
        for place in {piece.place for piece in pieces}:
            if place < grouped:
                rows = connection.execute(_GROUPED.format(*parts), (place,)).fetchall()
            else:
                totals = [(b, connection.execute(_TOTAL.format(*parts), (place, b)).fetchone()) for b in Billing]
                rows = [(0, billing, *total) for billing, total in totals if total[0] is not None]
            found[place] += [((group, billing), amounts) for group, billing, *amounts in rows]
    return [{key: amounts for key, amounts in added(pairs).items() if any(amounts)} for pairs in found]


def _pieces(place: int, span: Span, days: Iterable[Span]) -> Iterator[tuple[_Piece, bool]]:
    """What to read for a span: pieces, and whether each is the sum of a day. ``days`` do not overlap."""
    at = span.first
    for day in days:
        first, last = max(at, day.first), min(span.last, day.last)
        if 2 * (last - first) <= day.last - day.first:
            continue  # outside, or the smaller part of a day
        yield _Piece(place, 1, at, first), False
        yield _Piece(place, 1, *day), True
        yield _Piece(place, -1, day.first, first), False
        yield _Piece(place, -1, last, day.last), False
        at = last
    yield _Piece(place, 1, at, span.last), False


def _joined(sums: Sequence[Sums]) -> Sums:
    return sums[0] if len(sums) == 1 else added(pair for some in sums for pair in some.items())
