"""What the Supabase project must have, and what ``check-config --connect`` finds out about it. It changes nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from exporter.clock import Clock
from exporter.errors import HistoryDataError, HistoryError, HistoryMisconfiguredError
from exporter.history.claims import STALE_SECONDS, in_utc, may_succeed, name_taken, owner_of
from exporter.history.predecessor.raw_key_scan import PLACES
from exporter.history.supabase_client import MIGRATE, Remote, expect
from exporter.ledger.ledger import Ledger

SCHEMA_VERSION = 1
"""The version of the functions in supabase/migrations/ that this exporter calls."""
TABLES: Mapping[str, str] = {
    "usage_snapshots": "slot",
    "model_usage": "id",
    "daily_stats": "exporter_part",
    "model_pricing": "provider",
    "rate_limit_configs": "reset_anchor_timestamp",
    "rate_limit_status": "status_label",
    "usage_records": "proxy",
    "usage_prices": "id",
    "usage_rollups": "proxy",
    "usage_days": "day",
    "usage_totals": "proxy",
    "usage_totals_old": "client",
    "quota_readings": "proxy",
    "exporter_project": "id",
    "exporter_proxies": "sign",
    "exporter_labels": "proxy",
    "exporter_days": "day",
    "exporter_checkpoints": "proxy",
    "exporter_baselines": "proxy",
}
"""The tables that must exist, each with a small column; for older tables one that a migration adds."""

_NOBODY: dict[str, object] = {"p_proxy": "", "p_owner": ""}
FUNCTIONS: Mapping[str, Mapping[str, object]] = {
    "exporter_claim": _NOBODY,
    "exporter_book": _NOBODY | {"p_rows": "[]"},
    "exporter_save_checkpoint": _NOBODY | {"p_checkpoint": {}},
    "exporter_save_quotas": _NOBODY | {"p_rows": []},
    "exporter_take_over": _NOBODY | {"p_rows": []},
    "exporter_snapshot": _NOBODY | {"p_at": "1970-01-01T00:00:00Z"},
    "exporter_prune": _NOBODY | {"p_before": "1970-01-01"},
    "exporter_prune_snapshots": {"p_before": "-infinity"},
    "exporter_records": {"p_proxy": "", "p_ts_ms": 0, "p_fingerprint": "0"},
    "exporter_limit_use": {"p_owner": "", "p_known": [], "p_windows": []},
}
"""The functions that the exporter calls, each with arguments that test access and write nothing: the database refuses a
proxy without a name, and nothing is older than the given times."""

_ADVICE = {
    "unreachable": " Is SUPABASE_URL right, is the project paused, and does this machine reach the internet?",
    "server_error": " See the project's page, or status.supabase.com.",
}
"""What to check, because this is the only try. A running exporter tries again by itself."""


def check_schema(remote: Remote) -> int:
    """The version of the functions in the project. Raises HistoryError, also if it is too old."""
    version = expect(int, remote.call("exporter_schema_version"))
    if version < SCHEMA_VERSION:
        raise HistoryMisconfiguredError(
            "The project's tables are those of an older version ({version}; this one needs {needed}). Apply the files"
            " in supabase/migrations/ again: docs/supabase.md.",
            version=version,
            needed=SCHEMA_VERSION,
            reason="not_migrated",
        )
    return version


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence and its severity: ``fine``, ``warning``, or ``problem`` if the history cannot be written."""

    severity: str
    text: str


def check_project(remote: Remote, ledger: Ledger, clock: Clock, *, signs: Mapping[str, str]) -> Iterator[Finding]:
    """All findings, each as soon as it is known. Raises LedgerError, but never HistoryError.

    ``signs`` are those of the proxies in the settings, by name: see ``proxy_signs``.
    """
    try:
        access = _check_access(remote)
        yield access
        if access.severity == "fine":
            for proxy, sign in signs.items():
                yield _check_name(remote, ledger, proxy, sign, clock)
            yield from _check_old_rows(remote)
    except HistoryError as exc:
        yield Finding("problem", f"{exc}{_ADVICE.get(exc.reason, '')}")


def _check_access(remote: Remote) -> Finding:
    """Whether the project has all tables and functions, and the key may use them. Raises HistoryError."""
    missing, closed = _lacking(remote)
    if missing:
        return Finding("problem", f"The project lacks {', '.join(missing)}. {MIGRATE}")
    if closed:
        which = "anything there" if len(closed) == len(TABLES) + len(FUNCTIONS) else ", ".join(closed)
        return Finding(
            "problem", f"The key may not use {which}: it is not the secret key, or a grant is missing. {MIGRATE}"
        )
    version = check_schema(remote)
    return Finding("fine", f"tables and functions of version {version} are there, and the key may use them")


def _lacking(remote: Remote) -> tuple[list[str], list[str]]:
    """The tables, columns and functions that are missing, and the ones that the key may not use."""
    missing: list[str] = []
    closed: list[str] = []
    for name in (*TABLES, *FUNCTIONS):
        try:
            if name in TABLES:
                remote.some(name, TABLES[name], limit=1)
            else:
                remote.call(name, **FUNCTIONS[name])
        except HistoryDataError:
            pass  # it exists
        except HistoryError as exc:
            if exc.reason == "not_migrated":
                missing.append(f"{name}.{TABLES[name]}" if remote.has_rows(name) is not None else name)
            elif exc.reason == "no_grant":
                closed.append(name)
            elif exc.reason != "name_taken":
                raise
    return missing, closed


def _check_name(remote: Remote, ledger: Ledger, proxy: str, sign: str, clock: Clock) -> Finding:
    """Whether the name is free, ours, or another exporter's."""
    found = remote.first("exporter_proxies", "owner,given_back,seen_at,sign", newest="seen_at", where={"name": proxy})
    if found is None or found["given_back"]:
        return Finding("fine", f"the proxy name {proxy} is free")
    seen_at = datetime.fromisoformat(str(found["seen_at"]))
    if found["owner"] == owner_of(ledger):
        return Finding("fine", f"the proxy name {proxy} is this exporter's, last used at {in_utc(seen_at)}")
    is_successor = may_succeed(ledger, proxy, sign, seen_at=seen_at, seen_sign=found["sign"])
    if is_successor and clock.now() - seen_at.timestamp() > STALE_SECONDS:
        return Finding(
            "warning",
            f"The proxy name {proxy} was another exporter's, which was last seen at {in_utc(seen_at)}. This one reads"
            " the same proxy, has a newer data directory, and takes over the name.",
        )
    return Finding("problem", str(name_taken(proxy, seen_at, is_successor=is_successor)))


def _check_old_rows(remote: Remote) -> Iterator[Finding]:
    try:
        places = [place for place in PLACES if place.is_there(remote)]
        is_claimed = remote.has_rows("exporter_project")
    except HistoryError as exc:
        yield Finding("warning", f"It is unknown whether rows of the predecessor hold keys. {exc}")
        return
    if not places:
        return
    when = "" if is_claimed else ", after the exporter has run with this project once"
    listed = ", ".join(f"{place.table} ({place.what})" for place in places)
    statements = "\n".join(f"    {line}" for place in places for line in place.statement.splitlines())
    yield Finding(
        "warning",
        f"Rows of the predecessor hold secrets: {listed}. The exporter never changes them. To clean them and"
        f" keep the figures, run this in the project's SQL editor{when}:\n{statements}",
    )
