"""Past readings of providers' windows, from which their worth is computed.

Few are kept, as points: the first and the last one of each window, and one for each step of the share between them.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

from exporter.ledger.database import Database
from exporter.ledger.statements import insert, listed
from exporter.quotas.reading import SAME_RESET_MS, Reading

QuotaKey = tuple[int, str, str]
KEY = ("credential", "window", "scope")
OF_KEY = "where credential = ?1 and window = ?2 and scope = ?3"

STEP = 0.03
MOST_POINTS = 160
LONGEST_MS = 62 * 86_400_000
"""Older points are not kept."""


class QuotaPoint(NamedTuple):
    """A reading: when, the used share, and the reset it announced; ms since the epoch."""

    observed_ms: int
    used_ratio: float
    resets_ms: int


class CapacityChanges(NamedTuple):
    """How often the capacity of a window shrank, and grew."""

    shrank: int = 0
    grew: int = 0


_POINT, _CHANGES = (*KEY, *QuotaPoint._fields), (*KEY, *CapacityChanges._fields)
_SAVE_POINT = insert("quota_point", _POINT, replace=True)
_COUNT_CHANGE = (
    f"{insert('quota_change', _CHANGES)}"
    " on conflict do update set shrank = shrank + excluded.shrank, grew = grew + excluded.grew"
)
_LAST_TWO = f"select {listed(QuotaPoint._fields)} from quota_point {OF_KEY} order by observed_ms desc limit 2"
_FORGET = f"delete from quota_point {OF_KEY}"
_FORGET_OLD = (
    f"{_FORGET} and (observed_ms < ?4 or observed_ms <"
    f" (select observed_ms from quota_point {OF_KEY} order by observed_ms desc limit 1 offset {MOST_POINTS - 1}))"
)


class QuotaPoints:
    """The points of all windows, and how often their capacity changed. Each method raises LedgerError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def points(self, *, from_ms: int, until_ms: int) -> Mapping[QuotaKey, list[QuotaPoint]]:
        """The points of each window in a span of time, oldest first."""
        found: defaultdict[QuotaKey, list[QuotaPoint]] = defaultdict(list)
        with self._database.reading() as connection:
            for row in connection.execute(
                f"select {listed(_POINT)} from quota_point where observed_ms between ? and ? order by 1, 2, 3, 4",
                (from_ms, until_ms),
            ):
                found[row[:3]].append(QuotaPoint._make(row[3:]))
        return found

    def changes(self) -> Mapping[QuotaKey, CapacityChanges]:
        """How often each window's capacity changed, where it did."""
        with self._database.reading() as connection:
            rows = connection.execute(f"select {listed(_CHANGES)} from quota_change")
            return {row[:3]: CapacityChanges._make(row[3:]) for row in rows}

    def note_change(self, key: QuotaKey, *, since_ms: int, shrank: bool) -> None:
        """Count a change of a window's capacity once, and forget the points before it."""
        with self._database.transaction() as connection:
            if connection.execute(f"{_FORGET} and observed_ms < ?", (*key, since_ms)).rowcount:
                connection.execute(_COUNT_CHANGE, (*key, shrank, not shrank))


def note_point(connection: sqlite3.Connection, key: QuotaKey, reading: Reading) -> None:
    """Keep a reading as a point, inside the caller's transaction.

    An inferred share, a window without an end and a full one, whose share may stop at 1, say nothing about capacity.
    """
    if reading.ends_ms is None or reading.ratio_inferred or reading.used_ratio >= 1:
        return
    point = QuotaPoint(reading.observed_ms, reading.used_ratio, reading.ends_ms)
    before = [QuotaPoint._make(row) for row in connection.execute(_LAST_TWO, key)]
    if _is_beside([*reversed(before), point]):
        connection.execute(f"{_FORGET} and observed_ms = ?", (*key, before[0].observed_ms))
    connection.execute(_SAVE_POINT, (*key, *point))
    connection.execute(_FORGET_OLD, (*key, point.observed_ms - LONGEST_MS))


def join_points(connection: sqlite3.Connection, merged: Mapping[int, int]) -> None:
    """Move points and changes of merged credentials to the one that each was merged into, inside the transaction."""
    for moved in merged.items():
        connection.execute("update or replace quota_point set credential = ?2 where credential = ?1", moved)
        changes = connection.execute(
            "delete from quota_change where credential = ?1 returning ?2, window, scope, shrank, grew", moved
        ).fetchall()
        connection.executemany(_COUNT_CHANGE, changes)


def _is_beside(points: list[QuotaPoint]) -> bool:
    """Whether there are three points of one window, and the first and the last are less than a step apart."""
    rises = all(one.used_ratio <= other.used_ratio for one, other in pairwise(points))
    same_window = all(abs(one.resets_ms - other.resets_ms) <= SAME_RESET_MS for one, other in pairwise(points))
    return len(points) == 3 and rises and same_window and points[2].used_ratio < points[0].used_ratio + STEP - 1e-9
