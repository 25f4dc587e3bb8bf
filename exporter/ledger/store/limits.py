"""Limits in the ledger: rows from Supabase, manual resets, and what people were told.

With these, the limits hold while Supabase cannot be reached, and a restart repeats no notice.
"""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from exporter.ledger.database import Database
from exporter.ledger.statements import insert


class Told(NamedTuple):
    """What people know about a window: its level, whether they heard that it runs out early, and its reset then."""

    level: str = ""
    early: bool = False
    reset_ms: int | None = None


class LimitStore:
    """Safe to use from several threads. Each method raises LedgerError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def configs(self) -> tuple[str, ...]:
        """The rows of ``rate_limit_configs`` as Supabase last sent them, as JSON, ordered by id."""
        with self._database.reading() as connection:
            return tuple(row for (row,) in connection.execute("select row from limit_config order by id"))

    def take_configs(self, rows: Sequence[Mapping[str, object]], *, settled: Mapping[str, int]) -> None:
        """Replace all rows.

        ``settled`` are manual resets by limit that the rows contain themselves: the ledger forgets its own up to them.
        """
        wanted = [(row["id"], json.dumps(row, sort_keys=True)) for row in rows]
        if not settled and tuple(text for _, text in wanted) == self.configs():
            return
        with self._database.transaction() as connection:
            connection.execute("delete from limit_config")
            connection.executemany(insert("limit_config", ("id", "row")), wanted)
            connection.executemany("delete from limit_anchor where limit_id = ? and anchor_ms <= ?", settled.items())

    def anchors(self) -> dict[str, int]:
        """The manual resets: limit → moment in ms."""
        with self._database.reading() as connection:
            return dict(connection.execute("select limit_id, anchor_ms from limit_anchor"))

    def set_anchor(self, limit: str, anchor_ms: int) -> None:
        with self._database.transaction() as connection:
            connection.execute(insert("limit_anchor", ("limit_id", "anchor_ms"), replace=True), (limit, anchor_ms))

    def notices(self) -> dict[tuple[str, ...], Told]:
        """What people were told, by the labels of the window."""
        with self._database.reading() as connection:
            rows = connection.execute("select labels, level, early, reset_ms from notice")
            return {tuple(json.loads(labels)): Told(level, bool(early), reset) for labels, level, early, reset in rows}

    def save_notice(self, labels: tuple[str, ...], told: Told) -> None:
        with self._database.transaction() as connection:
            connection.execute(insert("notice", ("labels", *Told._fields), replace=True), (json.dumps(labels), *told))
