"""Pruning in Supabase: old records and old snapshots go."""

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo

from exporter.clock import Clock
from exporter.days import DAY_MS, local_date
from exporter.history.history import Task
from exporter.history.supabase_client import Remote, Row, expect
from exporter.ledger.ledger import Ledger

_PRUNED_EVERY_SECONDS = 3600.0
_SNAPSHOT_DAYS = 90
"""How long rows of ``usage_snapshots`` and ``model_usage`` stay; ``daily_stats`` has the time before."""
_SNAPSHOTS_AT_ONCE = 50
"""Each takes its rows of ``model_usage`` with it: one for every client and model that ever occurred."""


def prune_task(remote: Remote, ledger: Ledger, clock: Clock, *, zone: tzinfo, days: int) -> Task:
    """Deletes, every hour, old snapshots and the records of all days, in ``zone``, that ended more than ``days`` ago.

    It runs only while no record waits: a waiting one may be of such a day, and would be refused afterwards. Each call
    deletes a few rows, so that none takes long.
    """

    def run(owner: str, proxies: Sequence[str]) -> bool:
        now_ms = ledger.retention.believable_now_ms(clock.now_ms())
        if now_ms is None or not ledger.totals.entries:
            return False
        day = local_date(now_ms - days * DAY_MS, zone).isoformat()
        moment = datetime.fromtimestamp((now_ms - _SNAPSHOT_DAYS * DAY_MS) / 1000, UTC).isoformat()
        calls: list[tuple[str, Row]] = [
            ("exporter_prune", {"p_proxy": proxy, "p_owner": owner, "p_before": day}) for proxy in proxies
        ]
        calls.append(("exporter_prune_snapshots", {"p_before": moment, "p_limit": _SNAPSHOTS_AT_ONCE}))
        # The first call that deletes something ends this run, because the exporter may be stopping.
        pruned = any(expect(int, remote.call(function, **asked)) for function, asked in calls)
        return pruned or _prune_left(remote, owner, proxies, day)

    return Task(_PRUNED_EVERY_SECONDS, run, when_complete=True)


def _prune_left(remote: Remote, owner: str, proxies: Sequence[str], day: str) -> bool:
    """Delete some old records of a name that ``owner`` has given back; return whether there were any.

    The name is claimed only for that moment, because another exporter may want it. If an earlier run failed in that
    moment, the name is given back now.
    """
    for row in remote.rows("exporter_proxies", "name,given_back", order=("name",), where={"owner": owner}):
        name, older = row["name"], [("day", "lt", day)]
        if name in proxies:
            continue
        is_old = bool(remote.some("usage_records", "day", where={"proxy": name}, filters=older, limit=1))
        if is_old:
            remote.call("exporter_claim", p_proxy=name, p_owner=owner, p_own_only=True)
            remote.call("exporter_prune", p_proxy=name, p_owner=owner, p_before=day)
        if is_old or not row["given_back"]:
            remote.call("exporter_release", p_proxy=name, p_owner=owner)
        if is_old:
            return True
    return False
