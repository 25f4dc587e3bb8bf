"""The table ``rate_limit_status``: what is left of the limits in ``rate_limit_configs``, for older dashboards.

The ledger has the use of this exporter's proxies. The project is asked for the use of other exporters' proxies in the
same windows, so that all exporters of a project write the same figures.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from exporter.clock import Clock
from exporter.errors import HistoryDataError
from exporter.history.client import Remote, Row, expect
from exporter.history.predecessor.remaining import left_of
from exporter.history.sync import Task
from exporter.ledger.ledger import Ledger
from exporter.ledger.schema import NEVER_CLAIMED
from exporter.limits.board import LimitBoard
from exporter.limits.evaluate import Measured

_TABLE = "rate_limit_status"
_EVERY_SECONDS = 25.0
"""So that it happens in every third pass of the history, 10 s apart."""
_AT_LEAST_EVERY_SECONDS = 300.0

_log = structlog.get_logger("exporter.history")


def status_task(remote: Remote, ledger: Ledger, board: LimitBoard, clock: Clock) -> Task:
    """Writes the status of each limit when it changes, and now and then to show that it is up to date."""
    return Task(_EVERY_SECONDS, _LimitStatus(remote, ledger, board, clock).run)


class _LimitStatus:
    def __init__(self, remote: Remote, ledger: Ledger, board: LimitBoard, clock: Clock) -> None:
        self._remote = remote
        self._ledger = ledger
        self._board = board
        self._clock = clock
        self._written: dict[int, tuple[Row, float]] = {}

    def run(self, owner: str, _proxies: Sequence[str]) -> None:
        now = self._clock.monotonic()
        rows = []
        for measured in self._with_others(owner):
            row = _row(measured, now_ms=self._clock.now_ms())
            known, at = self._written.get(row["config_id"], ({}, 0.0))
            if _without_time(row) != known or now - at >= _AT_LEAST_EVERY_SECONDS:
                rows.append(row)
        for row in self._write(rows):
            self._written[row["config_id"]] = (_without_time(row), now)

    def _with_others(self, owner: str) -> list[Measured]:
        """The use of this exporter's proxies and other exporters' proxies."""
        here = {each.limit.config_id: each for each in self._board.current.measured if each.limit.config_id is not None}
        windows = [
            {"config_id": id_, "since_ms": each.start_ms} for id_, each in here.items() if each.start_ms is not None
        ]
        if not windows:
            return list(here.values())
        backlog = self._ledger.backlog
        known = [proxy for proxy in list(self._ledger.dictionary.proxies) if backlog.stage(proxy) != NEVER_CLAIMED]
        used = self._remote.call("exporter_limit_use", p_owner=owner, p_known=known, p_windows=windows)
        for row in expect(list, used):
            each = here[row["config_id"]]
            here[row["config_id"]] = replace(
                each, requests=each.requests + row["requests"], tokens=each.tokens + row["tokens"]
            )
        return list(here.values())

    def _write(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Write the rows; returns those that were written, without those of limits that have been deleted."""
        if not rows:
            return []
        try:
            self._remote.upsert(_TABLE, rows, on="config_id")
        except HistoryDataError as exc:
            if len(rows) == 1:
                _log.info("limit_status_refused", limit=rows[0]["config_id"], error=str(exc))
                return []
            return [row for each in rows for row in self._write([each])]
        return rows


def _row(measured: Measured, *, now_ms: int) -> Row:
    return left_of(measured) | {
        "config_id": measured.limit.config_id,
        "used_tokens": measured.tokens,
        "used_requests": measured.requests,
        "window_start": _moment(
            now_ms if measured.start_ms is None else measured.start_ms
        ),  # the column is not nullable
        "next_reset": None if measured.reset_ms is None else _moment(measured.reset_ms),
        "last_updated": _moment(now_ms),
    }


def _without_time(row: Row) -> Row:
    """The row without what changes with time alone, such as the start of a window that has no end."""
    moving = {"last_updated"} if row["next_reset"] is not None else {"last_updated", "window_start"}
    return {column: value for column, value in row.items() if column not in moving}


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()
