"""A ledger's connection whose disk becomes full."""

import sqlite3
from typing import Any


class FullDisk:
    """A connection whose ``step``-th statement finds the disk full; if ``lasting``, all later statements do, too.

    ``code`` is SQLite's code for it.
    """

    def __init__(self, real: sqlite3.Connection, step: int, *, lasting: bool, code: int = sqlite3.SQLITE_FULL) -> None:
        self.failed: list[str] = []
        self._real, self._left, self._lasting, self._code = real, step, lasting, code

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        self._count(sql)
        return self._real.execute(sql, *args)

    def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
        self._count(sql)
        return self._real.executemany(sql, *args)

    def _count(self, sql: str) -> None:
        self._left -= 1
        if self._left == -1 or (self._left < 0 and self._lasting and sql != "rollback"):
            self.failed.append(sql)
            full = sqlite3.OperationalError("database or disk is full")
            full.sqlite_errorcode = self._code
            raise full

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
