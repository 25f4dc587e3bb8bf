"""Refusals of management keys, kept in the ledger: see ``exporter.sources.guard.RefusalStore``."""

import msgspec

from exporter.ledger.database import Database
from exporter.sources.guard import Refusal


class LedgerRefusals:
    """A RefusalStore in the table ``proxy``. All methods raise LedgerError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, proxy: str) -> Refusal | None:
        with self._database.transaction() as connection:
            row = connection.execute("select refusal from proxy where name = ?", (proxy,)).fetchone()
        return msgspec.json.decode(row[0], type=Refusal) if row and row[0] else None

    def save(self, proxy: str, refusal: Refusal) -> None:
        self._set(proxy, msgspec.json.encode(refusal).decode())

    def clear(self, proxy: str) -> None:
        self._set(proxy, None)

    def _set(self, proxy: str, refusal: str | None) -> None:
        with self._database.transaction() as connection:
            connection.execute("update proxy set refusal = ? where name = ?", (refusal, proxy))
