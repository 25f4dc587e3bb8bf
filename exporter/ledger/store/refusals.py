"""Refusals of management keys, kept in the ledger: see ``exporter.sources.auth_guard.RefusalStore``."""

import sqlite3
import threading
from collections import defaultdict
from collections.abc import Collection
from typing import Literal

import msgspec

from exporter.ledger.database import Database
from exporter.sources.auth_guard import RefusedKey

_Column = dict[Literal["keys"], tuple[RefusedKey, ...]]
"""The content of the column: the keys that a proxy did not accept."""


class LedgerRefusals:
    """A RefusalStore in the table ``proxy``. All methods but ``turn`` raise LedgerError."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def load(self) -> tuple[RefusedKey, ...]:
        with self._database.transaction() as connection:
            return tuple(key for _, keys in _stored(connection) for key in keys)

    def save(self, proxy: str, key: RefusedKey) -> None:
        with self._database.transaction() as connection:
            _clear(connection, (key.fingerprint, *key.also))
            keys = dict(_stored(connection)).get(proxy, ())
            _set(connection, proxy, (*keys, key))

    def clear(self, fingerprints: Collection[str]) -> None:
        with self._database.transaction() as connection:
            _clear(connection, fingerprints)

    def turn(self, fingerprint: str) -> threading.Lock:
        return self._turns[fingerprint]


def _stored(connection: sqlite3.Connection) -> list[tuple[str, tuple[RefusedKey, ...]]]:
    rows = connection.execute("select name, refusal from proxy where refusal is not null order by id").fetchall()
    return [(name, msgspec.json.decode(text, type=_Column)["keys"]) for name, text in rows]


def _clear(connection: sqlite3.Connection, fingerprints: Collection[str]) -> None:
    for proxy, keys in _stored(connection):
        kept = tuple(key for key in keys if not key.is_of(fingerprints))
        if kept != keys:
            _set(connection, proxy, kept)


def _set(connection: sqlite3.Connection, proxy: str, keys: tuple[RefusedKey, ...]) -> None:
    text = msgspec.json.encode({"keys": keys}).decode() if keys else None
    connection.execute("update proxy set refusal = ? where name = ?", (text, proxy))
