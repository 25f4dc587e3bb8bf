"""What people were told about limits, so that a restart does not repeat it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from exporter.ledger.database import Database


@dataclass(frozen=True, slots=True)
class Told:
    """What people know about a window: its level, whether they heard that it runs out early, and its reset then."""

    level: str = ""
    early: bool = False
    reset_ms: int | None = None


class NoticeStore:
    """Notices by their window's labels. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self) -> Mapping[tuple[str, ...], Told]:
        """All notices. Raises LedgerError."""
        with self._database.reading() as connection:
            rows = connection.execute("select labels, level, early, reset_ms from notice")
            return {tuple(json.loads(labels)): Told(level, bool(early), reset) for labels, level, early, reset in rows}

    def save(self, labels: tuple[str, ...], told: Told) -> None:
        """Replace what was told before. Raises LedgerError."""
        with self._database.transaction() as connection:
            connection.execute(
                "insert or replace into notice (labels, level, early, reset_ms) values (?, ?, ?, ?)",
                (json.dumps(labels), told.level, told.early, told.reset_ms),
            )
