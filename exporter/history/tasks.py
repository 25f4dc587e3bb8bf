"""What is written to Supabase now and then, beside the records: the cumulative rows that older dashboards read."""

from collections.abc import Sequence
from datetime import UTC, datetime

from exporter.clock import Clock
from exporter.history.history import Task
from exporter.history.remote import Remote

_SLOT_SECONDS = 300
_LOOK_SECONDS = 10.0


def snapshot_task(remote: Remote, clock: Clock) -> Task:
    """One row of ``usage_snapshots`` in five minutes, with its rows of ``model_usage``."""
    written: int | None = None

    def run(owner: str, proxies: Sequence[str]) -> None:
        nonlocal written
        now = clock.now()
        slot = int(now) // _SLOT_SECONDS
        if slot == written:
            return
        moment = datetime.fromtimestamp(now, UTC).isoformat()
        remote.call("exporter_snapshot", p_proxy=proxies[0], p_owner=owner, p_at=moment)
        written = slot

    return Task(_LOOK_SECONDS, run)
