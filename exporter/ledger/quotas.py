"""The windows that providers report, by credential: the last reading of each, and how often one was reset early.

Kept on disk so that a restart shows them again until they end. A window that has ended stays as a row, so that the next
reading of it is compared with the last; it is shown no more.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from exporter.quotas.headers import MAX_WINDOWS, Reading
from exporter.quotas.merge import is_current, merge

QuotaKey = tuple[int, str, str]
"""credential, window, scope"""

_COLUMNS = f"credential, {', '.join(Reading.__struct_fields__)}, early_resets"
_SAVE = f"insert or replace into quota_window ({_COLUMNS}) values ({', '.join('?' * 11)})"


@dataclass(frozen=True, slots=True)
class QuotaWindow:
    """The last reading of a window, and how often it was emptied before its announced end."""

    reading: Reading
    early_resets: int


class Quotas:
    """All windows. Reading ``current`` is safe from any thread; changes are made inside the ledger's transactions."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: dict[QuotaKey, QuotaWindow] = {}

    def load(self, connection: sqlite3.Connection) -> None:
        """Read everything anew."""
        rows = connection.execute(f"select {_COLUMNS} from quota_window").fetchall()
        with self._lock:
            self._windows = {(row[0], row[1], row[2]): _window(row) for row in rows}

    def current(self, resolve: Callable[[int], int]) -> Mapping[QuotaKey, QuotaWindow]:
        """All windows, ended ones too. ``resolve`` tells which credential one turned out to be."""
        with self._lock:
            windows = list(self._windows.items())
        found: dict[QuotaKey, QuotaWindow] = {}
        for (credential, window, scope), quota in windows:
            key = (resolve(credential), window, scope)
            other = found.get(key)
            if other is not None:
                newer = max(quota, other, key=lambda each: each.reading.observed_ms)
                quota = QuotaWindow(newer.reading, quota.early_resets + other.early_resets)  # noqa: PLW2901 - joined
            found[key] = quota
        return found

    def join(self, connection: sqlite3.Connection, resolve: Callable[[int], int]) -> None:
        """Let the windows of a credential that turned out to be another one go on as that one's.

        A new reading is compared with the last one of the account, whichever login it came by.
        """
        if all(resolve(credential) == credential for credential, _, _ in self._windows):
            return
        joined = dict(self.current(resolve))
        connection.execute("delete from quota_window")
        connection.executemany(_SAVE, [_row(key[0], quota) for key, quota in joined.items()])
        with self._lock:
            self._windows = joined

    def note(
        self, connection: sqlite3.Connection, readings: Iterable[tuple[int, Reading]], *, now_ms: int
    ) -> dict[QuotaKey, QuotaWindow]:
        """Store readings by credential inside the caller's transaction; what changed, for ``take_over``."""
        changed: dict[QuotaKey, QuotaWindow] = {}
        for credential, reading in readings:
            key = (credential, reading.window, reading.scope)
            known = changed.get(key) or self._windows.get(key)
            if known is None and not self._has_room(connection, credential, changed, now_ms):
                continue
            merged = merge(known.reading if known else None, reading)
            if merged.changed and merged.reading is not None:
                early_resets = (known.early_resets if known else 0) + merged.early_reset
                changed[key] = QuotaWindow(merged.reading, early_resets)
        connection.executemany(_SAVE, [_row(key[0], quota) for key, quota in changed.items()])
        return changed

    def take_over(self, changed: Mapping[QuotaKey, QuotaWindow]) -> None:
        """Show what was noted. Call it after the commit."""
        with self._lock:
            self._windows |= changed

    def _has_room(
        self, connection: sqlite3.Connection, credential: int, changed: dict[QuotaKey, QuotaWindow], now_ms: int
    ) -> bool:
        """Whether one more window of a credential may be kept: names come from outside. Ended ones make room."""
        own = {key: quota for key, quota in (self._windows | changed).items() if key[0] == credential}
        if len(own) < MAX_WINDOWS:
            return True
        ended = [key for key, quota in own.items() if key not in changed and not is_current(quota.reading, now_ms)]
        with self._lock:
            for key in ended:
                del self._windows[key]
        connection.executemany("delete from quota_window where credential = ? and window = ? and scope = ?", ended)
        return bool(ended)


def _row(credential: int, quota: QuotaWindow) -> tuple[Any, ...]:
    return (credential, *msgspec.structs.astuple(quota.reading), quota.early_resets)


def _window(row: tuple[Any, ...]) -> QuotaWindow:
    told = dict(zip(Reading.__struct_fields__, row[1:-1], strict=True))
    return QuotaWindow(Reading(**(told | {"inferred": bool(told["inferred"])})), row[-1])
