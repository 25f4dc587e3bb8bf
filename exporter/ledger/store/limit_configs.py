"""The rows of ``rate_limit_configs`` as Supabase last sent them: its limits hold while it cannot be reached."""

import json
from collections.abc import Mapping, Sequence

from exporter.ledger.database import Database


class LimitConfigs:
    """Keeps the rows as text. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rows(self) -> tuple[str, ...]:
        """The rows as JSON, ordered by id. Raises LedgerError."""
        with self._database.reading() as connection:
            return tuple(row for (row,) in connection.execute("select row from limit_config order by id"))

    def take(self, rows: Sequence[Mapping[str, object]], *, settled: Mapping[str, int]) -> None:
        """Replace all rows. Raises LedgerError.

        ``settled`` are manual resets by limit that the rows contain themselves: the ledger forgets its own up to them.
        """
        wanted = [(row["id"], json.dumps(row, sort_keys=True)) for row in rows]
        if not settled and tuple(text for _, text in wanted) == self.rows():
            return
        with self._database.transaction() as connection:
            connection.execute("delete from limit_config")
            connection.executemany("insert into limit_config (id, row) values (?, ?)", wanted)
            connection.executemany(
                "delete from limit_anchor where limit_id = ? and anchor_ms <= ?", list(settled.items())
            )
