"""The windows that providers report, by credential: the last reading of each, and how often one was reset early.

They are on disk, so that a restart shows them again until they end. An ended window keeps its row, to compare the next
reading with, but is no longer shown.
"""

import sqlite3
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from exporter.ledger.columns import listed
from exporter.ledger.database import Database
from exporter.ledger.label_store import LabelStore
from exporter.ledger.views.quota_points import QuotaKey, QuotaPoints, forget_points, join_points, note_points
from exporter.quotas.reading import (
    ACCOUNT,
    MAX_WINDOWS,
    Reading,
    is_another_answer,
    is_current,
    merge,
    reset_early,
    stays_low,
)

_KEY = ("credential", "window", "scope")
_MONEY = ("used_nano_usd", "limit_nano_usd")
_DETAIL = ("ratio_inferred", *_MONEY, "fell_from", "fell_reset_ms")
_READ = tuple(name for name in Reading.__struct_fields__ if name not in _DETAIL)
_TABLES = {"quota_window": ("credential", *_READ, "early_resets"), "quota_detail": (*_KEY, *_DETAIL)}
_WINDOW, _DETAILS = (
    f"insert or replace into {table} ({listed(names)}) select {listed(names, ':')}" for table, names in _TABLES.items()
)
# Details are nearly always empty, and were before.
_SAVES = (
    _WINDOW,
    f"{_DETAILS} where :ratio_inferred or coalesce(:used_nano_usd, :limit_nano_usd, :fell_from) is not null or exists"
    " (select 1 from quota_detail where credential = :credential and window = :window and scope = :scope)",
)


@dataclass(frozen=True, slots=True)
class QuotaWindow:
    """The last reading of a window, and how often it was emptied before its announced end.

    ``fell`` is the share and the announced reset before a fall that the next reading has to confirm.
    """

    reading: Reading
    early_resets: int
    fell: tuple[float, int] | None = None


class Quotas:
    """All windows. Any thread may read ``current``; changes belong in the ledger's transactions."""

    def __init__(self, database: Database, dictionary: LabelStore) -> None:
        self.points = QuotaPoints(database)
        self._dictionary = dictionary
        self._lock = threading.Lock()
        self._windows: dict[QuotaKey, QuotaWindow] = {}

    def load(self, connection: sqlite3.Connection) -> None:
        """Reload everything."""
        names = ("credential", *_READ, "early_resets", *_DETAIL)
        rows = connection.execute(
            f"select {listed(names)} from quota_window left join quota_detail using ({listed(_KEY)})"
        ).fetchall()
        told = [dict(zip(names, row, strict=True)) for row in rows]
        with self._lock:
            self._windows = {(row["credential"], row["window"], row["scope"]): _window(row) for row in told}

    def current(self) -> Mapping[QuotaKey, QuotaWindow]:
        """All windows, ended ones too, by the credential that each one was merged into.

        A refusal of the account as a whole is over once one of its windows is read later.
        """
        with self._lock:
            windows = list(self._windows.items())
        found: dict[QuotaKey, QuotaWindow] = {}
        for (credential, window, scope), quota in windows:
            key = (self._dictionary.resolved(credential).id, window, scope)
            other = found.get(key)
            if other is not None:
                newer = max(quota, other, key=lambda each: each.reading.observed_ms)
                quota = replace(newer, early_resets=quota.early_resets + other.early_resets)  # noqa: PLW2901 - joined
            found[key] = quota
        latest: dict[tuple[int, str], int] = {}
        for (credential, _, scope), quota in found.items():
            latest[credential, scope] = max(latest.get((credential, scope), 0), quota.reading.observed_ms)
        return {
            key: quota
            for key, quota in found.items()
            if key[1] != ACCOUNT or quota.reading.observed_ms == latest[key[0], key[2]]
        }

    def join(self, connection: sqlite3.Connection) -> None:
        """Move the windows of merged credentials to the one that each was merged into.

        A new reading is compared with the account's last one, whichever login that came from.
        """
        merged = {id_: self._dictionary.resolved(id_).id for id_, _, _ in self._windows}
        merged = {id_: into for id_, into in merged.items() if id_ != into}
        if not merged:
            return
        join_points(connection, merged)
        joined = dict(self.current())
        rows = [_row(key[0], quota) for key, quota in joined.items()]
        for table, save in zip(_TABLES, _SAVES, strict=True):
            connection.execute(f"delete from {table}")
            connection.executemany(save, rows)
        with self._lock:
            self._windows = joined

    def note(
        self, connection: sqlite3.Connection, readings: Iterable[tuple[int, Reading]], *, now_ms: int
    ) -> dict[QuotaKey, QuotaWindow]:
        """Store readings by credential, inside the caller's transaction; return what changed, for ``take_over``."""
        changed: dict[QuotaKey, QuotaWindow] = {}
        for credential, reading in readings:
            key = (credential, reading.window, reading.scope)
            known = changed.get(key) or self._windows.get(key)
            if known is None and not self._has_room(connection, credential, changed, now_ms):
                continue
            before = known.reading if known else None
            kept = merge(before, reading)
            if kept is not None and kept != before:
                changed[key] = _followed(known, kept)
        rows = [_row(key[0], quota) for key, quota in changed.items()]
        for save in _SAVES:
            connection.executemany(save, rows)
        note_points(connection, [(key, quota.reading) for key, quota in changed.items()])
        return changed

    def take_over(self, changed: Mapping[QuotaKey, QuotaWindow]) -> None:
        """Show what was noted. Call it after the commit."""
        with self._lock:
            self._windows |= changed

    def _has_room(
        self, connection: sqlite3.Connection, credential: int, changed: dict[QuotaKey, QuotaWindow], now_ms: int
    ) -> bool:
        """Whether a credential may have one more window: names come from outside. Ended ones make room."""
        own = {key: quota for key, quota in (self._windows | changed).items() if key[0] == credential}
        if len(own) < MAX_WINDOWS:
            return True
        ended = [key for key, quota in own.items() if key not in changed and not is_current(quota.reading, now_ms)]
        with self._lock:
            for key in ended:
                del self._windows[key]
        for table in _TABLES:
            connection.executemany(f"delete from {table} where credential = ? and window = ? and scope = ?", ended)
        forget_points(connection, ended)
        return bool(ended)


def _followed(known: QuotaWindow | None, reading: Reading) -> QuotaWindow:
    """The window after another reading. An early reset counts once the lower share has lasted for two answers."""
    if known is None:
        return QuotaWindow(reading, 0)
    early_resets, before = known.early_resets, known.fell
    if before is not None and is_another_answer(known.reading, reading):
        early_resets += stays_low(*before, known.reading, reading)
        before = None
    if before is None and known.reading.resets_ms is not None and reset_early(known.reading, reading):
        before = known.reading.used_ratio, known.reading.resets_ms
    return QuotaWindow(reading, early_resets, before)


def _row(credential: int, quota: QuotaWindow) -> dict[str, Any]:
    fell_from, fell_reset_ms = quota.fell or (None, None)
    told = {"credential": credential, "early_resets": quota.early_resets}
    return msgspec.structs.asdict(quota.reading) | told | {"fell_from": fell_from, "fell_reset_ms": fell_reset_ms}


def _window(row: Mapping[str, Any]) -> QuotaWindow:
    flags = {name: bool(row[name]) for name in ("inferred", "ratio_inferred")}
    told = {name: row[name] for name in (*_READ, *_MONEY)} | flags
    fell = None if row["fell_from"] is None else (row["fell_from"], row["fell_reset_ms"])
    return QuotaWindow(Reading(**told), row["early_resets"], fell)
