"""Usage since a moment, by label set, and the starts of sessions. These sums are behind the limits.

A sum is the roll-up plus the entries at its edges, so it is exact to the record, yet its cost grows with the quarters
of an hour in it, not with its records. A look takes over from the last one only what cannot have changed, so late
records, resets, pruning and restarts need no care here.
"""

import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from exporter.ledger.columns import TOKENS
from exporter.ledger.database import Database
from exporter.ledger.schema import BUCKET_MS
from exporter.ledger.statements import insert

_ENTRIES = f"select series, counted, {TOKENS} as tokens, nano_usd from entry where ts_ms >= :start and ts_ms < :end"
_SUM = "select series, sum({}), sum(tokens), sum(nano_usd) from ({}) group by series"
_SUM_SHORT = _SUM.format("counted", _ENTRIES)
_SUM_UNDER_WAY = _SUM.format("counted", f"{_ENTRIES} and ts_ms + latency_ms > :ended")
_SUM_LONG = _SUM.format(
    "requests",
    f"select series, requests, {TOKENS} as tokens, nano_usd from rollup where bucket >= :first and bucket < :last"
    f" union all select series, :sign * counted, :sign * ({TOKENS}), :sign * nano_usd from entry"
    " where ts_ms >= :edge_start and ts_ms < :edge_end"
    f" union all select series, counted, {TOKENS}, nano_usd from entry"
    f" where ts_ms >= :last * {BUCKET_MS} and ts_ms < :end",
)
_USED_ENTRIES = "select ts_ms, series from entry where ts_ms >= ? and ts_ms < ? and counted order by ts_ms"
_USED_BUCKETS = "select bucket, series from rollup where bucket >= ? and bucket < ? and requests > 0 order by bucket"
_SAVE_SESSION = insert("limit_session", ("limit_id", "scope", "ended_ms", "started_ms"), replace=True)
_EVERYTHING_MS = 2**62
_LONGEST_MS, _LATE_MS = 15 * 60_000, 60_000
"""How long a request may take, and how long after it a provider may count it."""

WindowSums = Mapping[int, tuple[int, int, int]]
"""series → requests, tokens, nano-USD"""


class Session(NamedTuple):
    """State of one session. Nothing before ``ended_ms`` opens one; ``started_ms`` is None while none is open."""

    ended_ms: int
    started_ms: int | None


class _Quiet(NamedTuple):
    """A session's label sets, known to be unused from ``since_ms`` until before ``until_ms``."""

    since_ms: int
    series: frozenset[int]
    until_ms: int


class Windows:
    """Reads sums and sessions. ``look`` is for one thread at a time; the rest for any.

    ``held`` keeps others from looking while sessions change elsewhere. Enter it before a transaction.
    """

    def __init__(self, database: Database) -> None:
        self.held = threading.Lock()
        self._database = database
        self.touched: deque[int] = deque()
        """The oldest bucket of each change since the last look."""
        self._sums: dict[tuple[int, int], WindowSums] = {}
        self._quiet: dict[tuple[str, str], _Quiet] = {}

    @contextmanager
    def look(self) -> Iterator["WindowLook"]:
        """One moment of the ledger; sessions that changed are stored at the end. Raises LedgerError."""
        touched = [self.touched.popleft() for _ in range(len(self.touched))]
        known = {} if touched else self._sums
        edge_ms = min(touched, default=_EVERYTHING_MS) * BUCKET_MS
        self._quiet = {key: quiet for key, quiet in self._quiet.items() if quiet.until_ms <= edge_ms}
        try:
            with self.held:
                with self._database.reading() as connection:
                    look = WindowLook(connection, known, self._quiet)
                    yield look
                if look.moved:
                    with self._database.transaction() as connection:
                        connection.executemany(_SAVE_SESSION, [key + moved for key, moved in look.moved.items()])
        except BaseException:
            self.touched += touched  # not processed yet
            raise
        self._sums = look.kept_sums


def sums_between(connection: sqlite3.Connection, start: int, end: int) -> WindowSums:
    """Usage from ``start`` until before ``end``, in ms since the epoch."""
    bucket, last = start // BUCKET_MS, end // BUCKET_MS
    if bucket >= last:
        return _read(connection, _SUM_SHORT, start=start, end=end)
    begun, ends = bucket * BUCKET_MS, (bucket + 1) * BUCKET_MS
    # The smaller part of the first quarter of an hour is read record by record.
    if start - begun <= ends - start:
        edge = {"first": bucket, "sign": -1, "edge_start": begun, "edge_end": start}
    else:
        edge = {"first": bucket + 1, "sign": 1, "edge_start": start, "edge_end": ends}
    return _read(connection, _SUM_LONG, last=last, end=end, **edge)


def sums_under_way(connection: sqlite3.Connection, at_ms: int) -> WindowSums:
    """Requests that began before ``at_ms`` and had not ended, or only just: a provider may not count them yet."""
    return _read(connection, _SUM_UNDER_WAY, start=at_ms - _LONGEST_MS, end=at_ms, ended=at_ms - _LATE_MS)


def _read(connection: sqlite3.Connection, query: str, **values: int) -> WindowSums:
    rows = connection.execute(query, values)
    return {series: (requests, tokens, nano_usd) for series, requests, tokens, nano_usd in rows}


class WindowLook:
    """One moment of the ledger. ``moved`` are the sessions that have changed, ``kept_sums`` the sums to remember."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        known: Mapping[tuple[int, int], WindowSums],
        quiet: dict[tuple[str, str], _Quiet],
    ) -> None:
        self._connection = connection
        self._known = known
        self._quiet = quiet
        self._sessions = {row[:2]: Session(*row[2:]) for row in connection.execute("select * from limit_session")}
        self.moved: dict[tuple[str, str], Session] = {}
        self.kept_sums: dict[tuple[int, int], WindowSums] = {}

    def sums(self, start_ms: int, end_ms: int | None) -> WindowSums:
        """Usage from ``start_ms`` until before ``end_ms`` (None: without an end)."""
        key = (start_ms, _EVERYTHING_MS if end_ms is None else end_ms)
        if key not in self.kept_sums:
            known = self._known.get(key)
            self.kept_sums[key] = sums_between(self._connection, *key) if known is None else known
        return self.kept_sums[key]

    def session(self, key: tuple[str, str]) -> Session:
        """The session of ``key`` (limit, scope), as it was when last looked at."""
        return self._sessions.get(key, Session(0, None))

    def keep(self, key: tuple[str, str], session: Session) -> None:
        """Store the session of ``key`` at the end of the look."""
        if session != self.session(key):
            self.moved[key] = session

    def first_use(
        self, key: tuple[str, str], series: frozenset[int], since_ms: int, before_ms: int | None
    ) -> int | None:
        """When ``series``, which count for ``key``, were first used from ``since_ms`` until before ``before_ms``."""
        if before_ms is None:
            before_ms = _EVERYTHING_MS
        quiet = self._quiet.get(key, _Quiet(since_ms, series, since_ms))
        is_same = (quiet.since_ms, quiet.series) == (since_ms, series)
        from_ms = until_ms = min(quiet.until_ms, before_ms) if is_same else since_ms
        span = (from_ms // BUCKET_MS, -(-before_ms // BUCKET_MS))
        for bucket, rows in groupby(self._connection.execute(_USED_BUCKETS, span), itemgetter(0)):
            start_ms, end_ms = bucket * BUCKET_MS, (bucket + 1) * BUCKET_MS
            until_ms = max(start_ms, from_ms)
            if any(by in series for _, by in rows):
                entries = self._connection.execute(_USED_ENTRIES, (until_ms, min(end_ms, before_ms)))
                found: int | None = next((ts_ms for ts_ms, by in entries if by in series), None)
                if found is None and from_ms < start_ms and end_ms <= before_ms:
                    found = start_ms  # its entries have been pruned: only the quarter of an hour is known
                if found is not None:
                    return found
        self._quiet[key] = _Quiet(since_ms, series, until_ms if before_ms == _EVERYTHING_MS else before_ms)
        return None
