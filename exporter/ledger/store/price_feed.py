"""The price feed's last prices, for a start without network. Each keeps its time.

One row per price and model, valid from the moment it was first seen. A model that is no longer listed keeps its last
price.
"""

import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import msgspec

from exporter.errors import LedgerError
from exporter.ledger.database import Database
from exporter.pricing.feed_format import FeedPrice, StoredFeed
from exporter.pricing.price import Tariff


class LedgerPriceFeed:
    """Loads and saves the feed's prices."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self) -> StoredFeed:
        """The saved prices. Raises LedgerError."""
        with self._database.reading() as connection:
            return _read(connection)

    def save(self, new: Iterable[FeedPrice], *, fetched_ms: int) -> None:
        """Keep new prices, and the time of the fetch. Raises LedgerError."""
        with self._database.transaction() as connection:
            connection.executemany(
                "insert or replace into feed_price (section, model, since_ms, tariff) values (?, ?, ?, ?)",
                [(each.section, each.model, each.since_ms, msgspec.json.encode(each.tariff).decode()) for each in new],
            )
            connection.execute("insert or replace into feed_state (id, fetched_ms) values (1, ?)", (fetched_ms,))


def read_price_feed(path: Path) -> StoredFeed:
    """Read the prices in the ledger at ``path`` without writing to it; none if it is missing or too old for them.

    Raises LedgerError.
    """
    try:
        if not path.exists():
            return StoredFeed()
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            if connection.execute("select 1 from sqlite_master where name = 'feed_state'").fetchone() is None:
                return StoredFeed()
            return _read(connection)
    except (PermissionError, sqlite3.Error) as exc:
        raise LedgerError(f"The ledger {path} cannot be read: {exc}.") from exc


def _read(connection: sqlite3.Connection) -> StoredFeed:
    fetched = connection.execute("select fetched_ms from feed_state").fetchone()
    rows = connection.execute(
        "select section, model, since_ms, tariff from feed_price order by section, model, since_ms"
    )
    return StoredFeed(
        fetched_ms=fetched[0] if fetched else None,
        prices=tuple(
            FeedPrice(section, model, since_ms, msgspec.json.decode(tariff, type=Tariff))
            for section, model, since_ms, tariff in rows
        ),
    )
