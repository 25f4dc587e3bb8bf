"""What the price feed said, kept so that a start without network has it, and so that a price keeps its time.

One row per price and model, from the moment on at which it was first seen. A model that is no longer listed keeps its
last price.
"""

import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from exporter.errors import LedgerError
from exporter.ledger.database import Database
from exporter.pricing.feed_format import FeedPrice, StoredFeed


class LedgerPriceFeed:
    """The ledger's part about the feed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self) -> StoredFeed:
        """What was kept. Raises LedgerError."""
        with self._database.reading() as connection:
            return _read(connection)

    def save(self, new: Iterable[FeedPrice], *, fetched_ms: int) -> None:
        """Keep new prices, and that the feed was read at ``fetched_ms``. Raises LedgerError."""
        with self._database.transaction() as connection:
            connection.executemany(
                "insert or replace into feed_price (section, model, since_ms, tariff) values (?, ?, ?, ?)",
                [(price.section, price.model, price.since_ms, price.tariff) for price in new],
            )
            connection.execute("insert or replace into feed_state (id, fetched_ms) values (1, ?)", (fetched_ms,))


def read_price_feed(path: Path) -> StoredFeed:
    """What was kept in the ledger at ``path``, which is not written; nothing if it is not there or too old for it.

    Raises LedgerError.
    """
    if not path.exists():
        return StoredFeed()
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            if connection.execute("select 1 from sqlite_master where name = 'feed_state'").fetchone() is None:
                return StoredFeed()
            return _read(connection)
    except sqlite3.Error as exc:
        raise LedgerError(f"The ledger {path} cannot be read: {exc}.") from exc


def _read(connection: sqlite3.Connection) -> StoredFeed:
    fetched = connection.execute("select fetched_ms from feed_state").fetchone()
    rows = connection.execute(
        "select section, model, since_ms, tariff from feed_price order by section, model, since_ms"
    )
    return StoredFeed(
        fetched_ms=fetched[0] if fetched else None,
        prices=tuple(FeedPrice(*row) for row in rows),
    )
