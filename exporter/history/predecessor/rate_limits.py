"""The predecessor's two tables of limits: ``rate_limit_configs`` and, for older dashboards, ``rate_limit_status``.

The ledger takes over the rows of the first, and manual resets are written back. The second says what is left of each
limit. The ledger has the use of this exporter's proxies; the project is asked for the use of other exporters' proxies
in the same windows, so that all exporters of a project write the same figures.
"""

from collections.abc import Sequence
from dataclasses import replace

import structlog

from exporter import formats
from exporter.errors import HistoryDataError
from exporter.history.history import Task
from exporter.history.supabase_client import Remote, Row, expect
from exporter.ledger.schema import NEVER_CLAIMED
from exporter.limits.board import LimitBoard
from exporter.limits.evaluate import Measured
from exporter.limits.model import Limit, Unit
from exporter.limits.supabase_limits import COLUMNS, TABLE, anchor_of, moment_text

_STATUS = "rate_limit_status"
_READ_EVERY_SECONDS = 15.0
"""So that it happens in every second pass of the history, 10 s apart, and a change takes effect soon."""
_WRITE_EVERY_SECONDS = 25.0
"""So that it happens in every third pass."""
_AT_LEAST_EVERY_SECONDS = 300.0

_log = structlog.get_logger("exporter.history")


def config_task(remote: Remote, board: LimitBoard) -> Task:
    """Reads ``rate_limit_configs``, even if another exporter owns the proxies' names."""

    def run(_owner: str, _proxies: Sequence[str]) -> None:
        """Take over the rows, then write the resets that they lack.

        Once a row has a reset, the row counts: the ledger keeps its own note of the reset only until then.
        """
        rows = list(remote.rows(TABLE, ",".join(COLUMNS), order=("id",)))
        now_ms = board.clock.now_ms()
        settled: dict[str, int] = {}
        behind: list[tuple[Row, int]] = []
        anchors = board.ledger.limits.anchors()
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
        board.ledger.limits.take_configs(rows, settled=settled)
        for row, here_ms in behind:
            column = "reset_anchor_timestamp"
            # Do not overwrite a newer reset that was set after the row was read; the next run reads it.
            where = {"id": row["id"], column: row[column]}
            remote.update(TABLE, {column: moment_text(here_ms)}, where=where)

    return Task(_READ_EVERY_SECONDS, run, needs_claim=False)


# --- what is left -----------------------------------------------------------------------------------------------------


def status_task(remote: Remote, board: LimitBoard) -> Task:
    """Writes the status of each limit when it changes, and now and then to show that it is up to date."""
    written: dict[int, tuple[Row, float]] = {}

    def run(owner: str, _proxies: Sequence[str]) -> None:
        now = board.clock.monotonic()
        rows = []
        for measured in _with_others(remote, board, owner):
            row = _status(measured, now_ms=board.clock.now_ms())
            known, at = written.get(row["config_id"], ({}, 0.0))
            if _without_time(row) != known or now - at >= _AT_LEAST_EVERY_SECONDS:
                rows.append(row)
        for row in _write(remote, rows):
            written[row["config_id"]] = (_without_time(row), now)

    return Task(_WRITE_EVERY_SECONDS, run)


def _with_others(remote: Remote, board: LimitBoard, owner: str) -> list[Measured]:
    """The use of this exporter's proxies and other exporters' proxies."""
    here = {each.limit.config_id: each for each in board.current.measured if each.limit.config_id is not None}
    windows = [{"config_id": id_, "since_ms": each.start_ms} for id_, each in here.items() if each.start_ms is not None]
    if windows:
        ledger = board.ledger
        known = [proxy for proxy in list(ledger.name_store.proxies) if ledger.backlog.stage(proxy) != NEVER_CLAIMED]
        used = remote.call("exporter_limit_use", p_owner=owner, p_known=known, p_windows=windows)
        for row in expect(list, used):
            each = here[row["config_id"]]
            tokens, requests = each.used[Unit.TOKENS] + row["tokens"], each.used[Unit.REQUESTS] + row["requests"]
            here[row["config_id"]] = replace(each, used={Unit.TOKENS: tokens, Unit.REQUESTS: requests})
    return list(here.values())


def _write(remote: Remote, rows: Sequence[Row]) -> Sequence[Row]:
    """Write the rows; returns those that were written, without those of limits that have been deleted."""
    if not rows:
        return []
    try:
        remote.upsert(_STATUS, rows, on="config_id")
    except HistoryDataError as exc:
        if len(rows) == 1:
            _log.info("limit_status_refused", limit=rows[0]["config_id"], error=str(exc))
            return []
        return [row for each in rows for row in _write(remote, [each])]
    return rows


def _status(measured: Measured, *, now_ms: int) -> Row:
    """The row of a limit, in the predecessor's words and figures.

    It has what is left of the first budget, at least 0, and the same in percent, rounded down; the other unit is 0, as
    in the predecessor. A limit without a budget is never used up. The words are ``1,234/800,000 Tokens``,
    ``12/80 Requests``, or without a budget ``Used: 1,234T / 12R``.
    """
    used = measured.used
    left = {Unit.TOKENS: 0, Unit.REQUESTS: 0}
    percentage, words = 100, f"Used: {used[Unit.TOKENS]:,}T / {used[Unit.REQUESTS]:,}R"
    for unit, budget in measured.limit.budgets[:1]:
        left[unit] = max(0, budget - used[unit])
        percentage, words = left[unit] * 100 // budget, _words(unit, used[unit], budget)
    start_ms = now_ms if measured.start_ms is None else measured.start_ms  # the column is not nullable
    return {
        "config_id": measured.limit.config_id,
        "remaining_tokens": left[Unit.TOKENS],
        "remaining_requests": left[Unit.REQUESTS],
        "percentage": percentage,
        "status_label": words,
        "used_tokens": used[Unit.TOKENS],
        "used_requests": used[Unit.REQUESTS],
        "window_start": moment_text(start_ms),
        "next_reset": None if measured.reset_ms is None else moment_text(measured.reset_ms),
        "last_updated": moment_text(now_ms),
    }


def _without_time(row: Row) -> Row:
    """The row without what changes with time alone, such as the start of a window that has no end."""
    moving = {"last_updated"} if row["next_reset"] is not None else {"last_updated", "window_start"}
    return {column: value for column, value in row.items() if column not in moving}


def words_after_reset(limit: Limit) -> str:
    """``0/800,000 Tokens``, ``0/80 Requests``, or without a budget ``Unlimited``."""
    for unit, budget in limit.budgets[:1]:
        return _words(unit, 0, budget)
    return "Unlimited"


def _words(unit: Unit, used: int, budget: int) -> str:
    if unit is Unit.USD:  # the predecessor had no such budget
        return f"{formats.usd(used)}/{formats.usd(budget)}"
    return f"{used:,}/{budget:,} {unit.capitalize()}"
