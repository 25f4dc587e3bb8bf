"""Refusals of management keys, which no restart forgets: see ``exporter.sources.auth_guard.RefusalStore``."""

import threading
from collections import defaultdict
from collections.abc import Collection
from typing import Literal

import msgspec

from exporter.ledger.database import Database
from exporter.sources.auth_guard import RefusedKey

_Keys = tuple[RefusedKey, ...]
_decode = msgspec.json.Decoder(dict[Literal["keys"], _Keys]).decode
"""Decodes the column: the keys that a proxy did not accept."""


class LedgerRefusals:
    """A RefusalStore in the table ``proxy``. All methods but ``turn`` raise LedgerError."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def load(self) -> _Keys:
        return self.replace(())

    def replace(self, fingerprints: Collection[str], proxy: str = "", *new: RefusedKey) -> _Keys:
        """Replace refusals; returns what is then stored."""
        found: list[RefusedKey] = []
        with self._database.transaction() as connection:
            for name, text in connection.execute("select name, refusal from proxy order by id").fetchall():
                stored = _decode(text)["keys"] if text else ()
                keys = (*(key for key in stored if not key.is_of(fingerprints)), *(new if name == proxy else ()))
                if keys != stored:
                    now = msgspec.json.encode({"keys": keys}).decode() if keys else None
                    connection.execute("update proxy set refusal = ? where name = ?", (now, name))
                found += keys
        return tuple(found)

    def turn(self, fingerprint: str) -> threading.Lock:
        return self._turns[fingerprint]
