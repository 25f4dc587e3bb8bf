"""The limits that users keep in Supabase: the ledger takes over their rows, and manual resets are written back."""

from collections.abc import Sequence

from exporter.clock import Clock
from exporter.history.client import Remote, Row
from exporter.history.sync import Task
from exporter.ledger.ledger import Ledger
from exporter.limits.board import LimitBoard
from exporter.limits.supabase_source import COLUMNS, TABLE, anchor_of, anchor_text

_READ_EVERY_SECONDS = 15.0
"""So that it happens in every second pass of the history, 10 s apart, and a change takes effect soon."""


def config_task(remote: Remote, ledger: Ledger, board: LimitBoard, clock: Clock) -> Task:
    """Reads ``rate_limit_configs``, even if another exporter owns the proxies' names."""

    def run(_owner: str, _proxies: Sequence[str]) -> None:
        """Take over the rows, then write the resets that they lack.

        Once a row has a reset, the row counts: the ledger keeps its own note of the reset only until then.
        """
        read = remote.rows(TABLE, ",".join(COLUMNS), order=("id",))
        rows = [{column: row[column] for column in COLUMNS} for row in read]
        now_ms = clock.now_ms()
        settled: dict[str, int] = {}
        behind: list[tuple[Row, int]] = []
        anchors = ledger.limits.anchors()
        for row in rows:
            id_ = str(row["id"])
            here_ms, limit = anchors.get(id_), board.find(id_)
            if here_ms is None or limit is None or limit.config_id is None:
                continue  # not reset here, or a limit in the file with the same id was
            there_ms = anchor_of(row)
            if there_ms is None or there_ms < here_ms:
                behind.append((row, here_ms))
            elif there_ms <= now_ms:  # a future one has not happened, so the ledger's still counts
                settled[id_] = there_ms
        ledger.limits.take_configs(rows, settled=settled)
        for row, here_ms in behind:
            column = "reset_anchor_timestamp"
            # Do not overwrite a newer reset that was set after the row was read; the next run reads it.
            where = {"id": row["id"], column: row[column]}
            remote.update(TABLE, {column: anchor_text(here_ms)}, where=where)

    return Task(_READ_EVERY_SECONDS, run, needs_claim=False)
