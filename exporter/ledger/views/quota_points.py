"""Past readings of the providers' windows, and how often a window's capacity changed.

A window's worth is computed from its readings and the use booked between them. Few are kept: the first and the last one
of each window, and one for each step of the share between them.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

from exporter.ledger.database import Database
from exporter.quotas.reading import SAME_RESET_MS, Reading

QuotaKey = tuple[int, str, str]
"""credential, window, scope"""

STEP = 0.03
MOST_POINTS = 160
LONGEST_MS = 62 * 86_400_000
"""Older points are not kept."""

_OF_KEY = "from quota_point where credential = ? and window = ? and scope = ?"
_LAST_TWO = f"select observed_ms, used_ratio, resets_ms {_OF_KEY} order by observed_ms desc limit 2"
_OLDEST_KEPT = f"select observed_ms {_OF_KEY} order by observed_ms desc limit 1 offset {MOST_POINTS - 1}"


class QuotaPoint(NamedTuple):
    """A reading: when, the used share, and the reset it announced; ms since the epoch."""

    observed_ms: int
    used_ratio: float
    resets_ms: int


class CapacityChanges(NamedTuple):
    """How often the capacity of a window shrank, and grew."""

    shrank: int = 0
    grew: int = 0


class QuotaPoints:
    """Reads points and changes. ``Quotas`` writes and joins them inside its transactions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def points(self, *, from_ms: int, until_ms: int) -> Mapping[QuotaKey, list[QuotaPoint]]:
        """The points of each window in a span of time, oldest first. Raises LedgerError."""
        found: defaultdict[QuotaKey, list[QuotaPoint]] = defaultdict(list)
        with self._database.reading() as connection:
            for *key, observed_ms, used_ratio, resets_ms in connection.execute(
                "select * from quota_point where observed_ms between ? and ? order by 1, 2, 3, 4", (from_ms, until_ms)
            ):
                found[key[0], key[1], key[2]].append(QuotaPoint(observed_ms, used_ratio, resets_ms))
        return found

    def changes(self) -> Mapping[QuotaKey, CapacityChanges]:
        """How often each window's capacity changed, where it did. Raises LedgerError."""
        with self._database.reading() as connection:
            rows = connection.execute("select * from quota_change")
            return {(credential, window, scope): CapacityChanges(*rest) for credential, window, scope, *rest in rows}

    def note_change(self, key: QuotaKey, *, since_ms: int, shrank: bool) -> None:
        """Count a change of a window's capacity once, and forget the points before it. Raises LedgerError."""
        with self._database.transaction() as connection:
            if connection.execute(f"delete {_OF_KEY} and observed_ms < ?", (*key, since_ms)).rowcount:
                _count_change(connection, (*key, shrank, not shrank))


def note_points(connection: sqlite3.Connection, readings: Iterable[tuple[QuotaKey, Reading]]) -> None:
    """Keep readings as points, inside the caller's transaction.

    An inferred share, a window without an end and a full one, whose share may stop at 1, say nothing about capacity.
    """
    for key, reading in readings:
        if reading.ends_ms is None or reading.ratio_inferred or reading.used_ratio >= 1:
            continue
        point = QuotaPoint(reading.observed_ms, reading.used_ratio, reading.ends_ms)
        before = [QuotaPoint._make(row) for row in connection.execute(_LAST_TWO, key)]
        if _is_beside([*reversed(before), point]):
            connection.execute(f"delete {_OF_KEY} and observed_ms = ?", (*key, before[0].observed_ms))
        connection.execute("insert or replace into quota_point values (?, ?, ?, ?, ?, ?)", (*key, *point))
        (oldest_ms,) = connection.execute(_OLDEST_KEPT, key).fetchone() or (0,)
        oldest_ms = max(oldest_ms, point.observed_ms - LONGEST_MS)
        connection.execute(f"delete {_OF_KEY} and observed_ms < ?", (*key, oldest_ms))


def forget_points(connection: sqlite3.Connection, keys: Iterable[QuotaKey]) -> None:
    """Forget windows that make room for others, inside the caller's transaction."""
    connection.executemany(f"delete {_OF_KEY}", keys)


def join_points(connection: sqlite3.Connection, merged: Mapping[int, int]) -> None:
    """Move points and changes of merged credentials to the one that each was merged into."""
    for moved in merged.items():
        connection.execute("update or replace quota_point set credential = ?2 where credential = ?1", moved)
        for row in connection.execute(
            "delete from quota_change where credential = ?1 returning ?2, window, scope, shrank, grew", moved
        ).fetchall():
            _count_change(connection, row)


def _count_change(connection: sqlite3.Connection, row: tuple[object, ...]) -> None:
    connection.execute(
        "insert into quota_change values (?, ?, ?, ?, ?)"
        " on conflict do update set shrank = shrank + excluded.shrank, grew = grew + excluded.grew",
        row,
    )


def _is_beside(points: list[QuotaPoint]) -> bool:
    """Whether there are three points of one window, and the first and the last are less than a step apart."""
    rises = all(one.used_ratio <= other.used_ratio for one, other in pairwise(points))
    same_window = all(abs(one.resets_ms - other.resets_ms) <= SAME_RESET_MS for one, other in pairwise(points))
    return len(points) == 3 and rises and same_window and points[2].used_ratio < points[0].used_ratio + STEP - 1e-9
