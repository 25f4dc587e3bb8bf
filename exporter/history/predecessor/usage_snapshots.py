"""The tables ``usage_snapshots`` and ``model_usage``: cumulative rows for older dashboards."""

from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from exporter.clock import Clock
from exporter.history.history import Task
from exporter.history.supabase_client import Remote

_SLOT_SECONDS = 300
_LOOK_SECONDS = 10.0

_log = structlog.get_logger("exporter.history")


def snapshot_task(remote: Remote, clock: Clock) -> Task:
    """Writes a row of ``usage_snapshots`` every five minutes, with its rows of ``model_usage``."""
    written: int | None = None

    def run(owner: str, proxies: Sequence[str]) -> None:
        nonlocal written
        now = clock.now()
        slot = int(now) // _SLOT_SECONDS
        if slot == written:
            return
        moment = datetime.fromtimestamp(now, UTC).isoformat()
        if remote.call("exporter_snapshot", p_proxy=proxies[0], p_owner=owner, p_at=moment) is False:
            _log.info("history_snapshot_left_out", meaning="Supabase has a later one; is a clock wrong?")
        written = slot

    return Task(_LOOK_SECONDS, run)
