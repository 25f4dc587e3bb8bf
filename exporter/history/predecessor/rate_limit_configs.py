"""The limits that users keep in Supabase: their rows are read into the ledger, and manual resets are written back."""

from collections.abc import Sequence

from exporter.clock import Clock
from exporter.history.client import Remote, Row
from exporter.history.sync import Task
from exporter.ledger.ledger import Ledger
from exporter.limits.board import LimitBoard
from exporter.limits.supabase_source import COLUMNS, TABLE, anchor_of, anchor_text

_READ_EVERY_SECONDS = 15.0
"""So that it is done in every second of the history's passes, which are 10 s apart: a change is in force in time."""


def config_task(remote: Remote, ledger: Ledger, board: LimitBoard, clock: Clock) -> Task:
    """Reads ``rate_limit_configs``, whoever writes the history of the proxies."""
    return Task(_READ_EVERY_SECONDS, _LimitConfigs(remote, ledger, board, clock).run, needs_claim=False)


class _LimitConfigs:
    def __init__(self, remote: Remote, ledger: Ledger, board: LimitBoard, clock: Clock) -> None:
        self._remote = remote
        self._ledger = ledger
        self._board = board
        self._clock = clock

    def run(self, _owner: str, _proxies: Sequence[str]) -> None:
        """Take over the rows, then write the resets that they do not tell yet.

        What the row says rules as soon as it says it: the ledger's own note of a reset is only kept until then.
        """
        read = self._remote.rows(TABLE, ",".join(COLUMNS), order=("id",))
        rows = [{column: row[column] for column in COLUMNS} for row in read]
        now_ms = int(self._clock.now() * 1000)
        settled: dict[str, int] = {}
        behind: list[tuple[Row, int]] = []
        for row, here_ms in self._reset_here(rows):
            there_ms = anchor_of(row)
            if there_ms is None or there_ms < here_ms:
                behind.append((row, here_ms))
            elif there_ms <= now_ms:  # one of the future has not happened, so the one here still holds
                settled[str(row["id"])] = there_ms
        self._ledger.limit_configs.take(rows, settled=settled)
        for row, here_ms in behind:
            column = "reset_anchor_timestamp"
            # Not over a newer one that somebody has set since the row was read. The next reading shows what is there.
            where = {"id": row["id"], column: row[column]}
            self._remote.update(TABLE, {column: anchor_text(here_ms)}, where=where)

    def _reset_here(self, rows: Sequence[Row]) -> list[tuple[Row, int]]:
        """Those whose limit was reset here, with the moment. A limit of the file with the same id is another one."""
        anchors = self._ledger.windows.anchors()
        reset = [(row, anchors[str(row["id"])]) for row in rows if str(row["id"]) in anchors]
        return [(row, anchor_ms) for row, anchor_ms in reset if self._is_in_force(str(row["id"]))]

    def _is_in_force(self, id_: str) -> bool:
        limit = self._board.find(id_)
        return limit is not None and limit.config_id is not None
