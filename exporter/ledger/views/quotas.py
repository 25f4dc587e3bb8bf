"""Providers' windows by credential: the last readings, and early resets.

They are on disk, so that a restart shows them again until they end. An ended window keeps its row, to compare the next
reading with, but is no longer shown.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Mapping

from msgspec import Struct, ValidationError, convert
from msgspec.structs import asdict, replace

from exporter.errors import LedgerCorruptError
from exporter.ledger.database import Database, damaged
from exporter.ledger.name_store import NameStore
from exporter.ledger.statements import listed
from exporter.ledger.store.quota_points import KEY, LONGEST_MS, OF_KEY, QuotaKey, join_points, note_point
from exporter.quotas.all_providers import provider_of
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
from exporter.quotas.values import HOUR, MOST_AHEAD_MS

_DETAIL = ("ratio_inferred", "used_nano_usd", "limit_nano_usd", "fell_from", "fell_reset_ms")
_READ = tuple(name for name in Reading.__struct_fields__ if name not in _DETAIL)
_TABLES = {"quota_window": ("credential", *_READ, "early_resets"), "quota_detail": (*KEY, *_DETAIL)}
_SAVE, _SAVE_DETAIL = (
    f"insert or replace into {table} ({listed(names)}) select {listed(names, ':')}" for table, names in _TABLES.items()
)
# Details are nearly always empty, and were before.
_SAVES = (
    _SAVE,
    f"{_SAVE_DETAIL} where :ratio_inferred or coalesce(:used_nano_usd, :limit_nano_usd, :fell_from) is not null"
    " or exists (select 1 from quota_detail where credential = :credential and window = :window and scope = :scope)",
)
_LOAD = (
    "select *, coalesce(ratio_inferred, 0) as ratio_inferred"
    f" from quota_window left join quota_detail using ({listed(KEY)})"
)


class QuotaWindow(Struct, frozen=True):
    """The last reading of a window, and how often it was emptied before its announced end.

    ``fell_from`` and ``fell_reset_ms`` are the share and the announced reset before a fall that the next reading has to
    confirm.
    """

    reading: Reading
    early_resets: int = 0
    fell_from: float | None = None
    fell_reset_ms: int | None = None


class Quotas:
    """All windows. Any thread may read ``current``; changes belong in the ledger's transactions.

    What is in memory is replaced, never changed. ``unasked`` are the proxies whose accounts nobody asks about.
    """

    def __init__(self, database: Database, name_store: NameStore) -> None:
        self.unasked: Collection[str] = ()
        self._database = database
        self._name_store = name_store
        self._windows: Mapping[QuotaKey, QuotaWindow] = {}

    def load(self, connection: sqlite3.Connection) -> None:
        """Reload everything. Raises LedgerCorruptError if a stored window cannot have been written by this program."""
        rows = connection.execute(_LOAD)
        names = [column[0] for column in rows.description]
        told = [dict(zip(names, row, strict=True)) for row in rows]
        try:
            windows = {
                (row["credential"], row["window"], row["scope"]): convert(
                    row | {"reading": row}, QuotaWindow, strict=False
                )
                for row in told
            }
        except ValidationError:
            raise LedgerCorruptError(damaged(self._database.path)) from None
        self._windows = windows

    def current(self) -> Mapping[QuotaKey, QuotaWindow]:
        """The windows, including ended ones, but not those that an account no longer has.

        Those of merged credentials are under the one that each was merged into.
        """
        found = self._joined()
        latest: defaultdict[tuple[int, str], int] = defaultdict(int)
        for (credential, window, scope), quota in found.items():
            if window != ACCOUNT:
                latest[credential, scope] = max(latest[credential, scope], quota.reading.observed_ms)
        return {key: quota for key, quota in found.items() if not self._is_no_more(key, quota, latest[key[0], key[2]])}

    def _joined(self) -> dict[QuotaKey, QuotaWindow]:
        found: dict[QuotaKey, QuotaWindow] = {}
        for (credential, window, scope), quota in self._windows.items():
            key = (self._name_store.resolved(credential).id, window, scope)
            if (other := found.get(key)) is not None:
                newer = max(quota, other, key=lambda each: each.reading.observed_ms)
                quota = replace(newer, early_resets=quota.early_resets + other.early_resets)  # noqa: PLW2901 - joined
            found[key] = quota
        return found

    def _is_no_more(self, key: QuotaKey, quota: QuotaWindow, latest_ms: int) -> bool:
        """Whether the account no longer has a window, judging by when a window of its scope was read last.

        A refusal of the account as a whole is over once one of its windows is read later. A new plan may have other
        windows; but a few answers may leave one out by mistake. Once nobody asks, a window that only answers renew must
        have an end.
        """
        credential, window, _ = key
        later_ms = latest_ms - quota.reading.observed_ms
        if quota.reading.source == "active" and quota.reading.ends_ms is None and self.is_unasked(credential):
            return True
        if window == ACCOUNT:
            return later_ms > 0
        provider = provider_of(self._name_store.credentials[credential].provider)
        return provider.states_all and later_ms > HOUR * 1000

    def is_unasked(self, credential: int) -> bool:
        """Whether nobody asks about a credential, so that nothing renews what only its provider's answers state."""
        found = self._name_store.credentials.get(credential)
        return found is not None and self._name_store.proxy_names[found.proxy] in self.unasked

    def join(self, connection: sqlite3.Connection) -> None:
        """Move the windows of merged credentials to the one that each was merged into.

        A new reading is compared with the account's last one, whichever login that came from.
        """
        merged = {id_: into for id_, _, _ in self._windows if (into := self._name_store.resolved(id_).id) != id_}
        if not merged:
            return
        join_points(connection, merged)
        joined = self._joined()
        for table in _TABLES:
            connection.execute(f"delete from {table}")
        _save(connection, joined)
        self._windows = joined

    def follow_clock(self, now_ms: int) -> None:
        """Date readings from the future back, if somebody has set the clock back. Raises LedgerError."""
        if self._ahead_ms(now_ms):
            with self._database.lock:
                with self._database.transaction() as connection:
                    changed = self._dated_back(connection, now_ms)
                    _save(connection, changed)
                self.take_over(changed)

    def note(
        self, connection: sqlite3.Connection, readings: Collection[tuple[int, Reading]], *, now_ms: int
    ) -> dict[QuotaKey, QuotaWindow]:
        """Store readings by credential, inside the caller's transaction; return what changed, for ``take_over``."""
        if not readings:  # as in most bookings
            return {}
        dated_back = self._dated_back(connection, now_ms)
        changed: dict[QuotaKey, QuotaWindow] = {}
        for credential, reading in readings:
            key = (credential, reading.window, reading.scope)
            known = changed.get(key) or dated_back.get(key) or self._windows.get(key)
            if known is None and not self._has_room(connection, credential, changed, now_ms):
                continue
            before = known.reading if known else None
            kept = merge(before, reading)
            if kept is not None and kept != before:
                changed[key] = _followed(known, kept)
        _save(connection, dated_back | changed)
        for key, quota in changed.items():
            note_point(connection, key, quota.reading)
        return dated_back | changed

    def forget_caps(self, connection: sqlite3.Connection, credential: int, answered: Collection[Reading]) -> None:
        """Forget the caps on money that would never end, and that no answer to a question has stated for an hour.

        ``answered`` are the windows in the latest answer. It runs inside the caller's transaction.
        """
        stated = {(credential, reading.window, reading.scope) for reading in answered}
        edge_ms = max((reading.observed_ms for reading in answered), default=0) - HOUR * 1000
        old = [
            key
            for key, quota in self._windows.items()
            if key[0] == credential
            and key not in stated
            and quota.reading.limit_nano_usd is not None
            and quota.reading.ends_ms is None
            and quota.reading.observed_ms < edge_ms
        ]
        self._forget(connection, old)

    def _ahead_ms(self, now_ms: int) -> int:
        """How far the newest reading is in the future, if our clock was ahead when it was made; else 0.

        A provider's clock may be some minutes ahead. Months mean that our clock is behind now: a machine may have to
        ask the network for the time first.
        """
        ahead_ms = max((quota.reading.observed_ms for quota in self._windows.values()), default=0) - now_ms
        return ahead_ms if MOST_AHEAD_MS < ahead_ms <= LONGEST_MS else 0

    def _dated_back(self, connection: sqlite3.Connection, now_ms: int) -> dict[QuotaKey, QuotaWindow]:
        """The windows read in the future, dated back together, the newest to an hour ago: else no new one would win."""
        ahead_ms = self._ahead_ms(now_ms)
        if not ahead_ms:
            return {}
        connection.execute("delete from quota_point where observed_ms > ?", (now_ms,))
        back_ms = ahead_ms + HOUR * 1000
        return {
            key: replace(quota, reading=replace(quota.reading, observed_ms=quota.reading.observed_ms - back_ms))
            for key, quota in self._windows.items()
            if quota.reading.observed_ms > now_ms
        }

    def take_over(self, changed: Mapping[QuotaKey, QuotaWindow]) -> None:
        """Show what was noted. Call it after the commit."""
        if changed:
            self._windows = {**self._windows, **changed}

    def _has_room(
        self, connection: sqlite3.Connection, credential: int, changed: dict[QuotaKey, QuotaWindow], now_ms: int
    ) -> bool:
        """Whether a credential may have one more window: names come from outside. Ended ones make room."""
        own = {key: quota for key, quota in {**self._windows, **changed}.items() if key[0] == credential}
        if len(own) < MAX_WINDOWS:
            return True
        ended = [key for key, quota in own.items() if key not in changed and not is_current(quota.reading, now_ms)]
        self._forget(connection, ended)
        return bool(ended)

    def _forget(self, connection: sqlite3.Connection, keys: Collection[QuotaKey]) -> None:
        self._windows = {key: quota for key, quota in self._windows.items() if key not in keys}
        for table in (*_TABLES, "quota_point"):
            connection.executemany(f"delete from {table} {OF_KEY}", keys)


def _followed(known: QuotaWindow | None, reading: Reading) -> QuotaWindow:
    """The window after another reading. An early reset counts once the lower share has lasted for two answers."""
    if known is None:
        return QuotaWindow(reading)
    followed = replace(known, reading=reading)
    if known.fell_from is not None and known.fell_reset_ms is not None and is_another_answer(known.reading, reading):
        early = stays_low(known.fell_from, known.fell_reset_ms, known.reading, reading)
        followed = QuotaWindow(reading, known.early_resets + early)
    if followed.fell_from is None and reset_early(known.reading, reading):
        followed = replace(followed, fell_from=known.reading.used_ratio, fell_reset_ms=known.reading.resets_ms)
    return followed


def _save(connection: sqlite3.Connection, windows: Mapping[QuotaKey, QuotaWindow]) -> None:
    rows = [{"credential": key[0]} | asdict(quota) | asdict(quota.reading) for key, quota in windows.items()]
    for save in _SAVES:
        connection.executemany(save, rows)
