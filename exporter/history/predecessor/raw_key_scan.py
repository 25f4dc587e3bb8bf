"""Finds rows of the predecessor that hold raw API keys and account names.

The exporter only looks for them. They belong to the user, whose older front end shows their figures.
"""

from collections.abc import Callable
from dataclasses import dataclass

from exporter.history.supabase_client import Remote


@dataclass(frozen=True, slots=True)
class OldKeys:
    """A place for keys or names: the ``table``, ``what`` it may hold, and the SQL ``statement`` that cleans it.

    ``is_there`` tells whether it holds some now. It raises HistoryError.
    """

    table: str
    what: str
    statement: str
    is_there: Callable[[Remote], object]


_OLD_SNAPSHOTS = [("slot", "is", "null"), ("raw_data", "not.is", "null")]
_OLD_MODEL_USAGE = [
    ("usage_snapshots.slot", "is", "null"),
    ("api_endpoint", "not.match", "^(old-|unknown$)"),  # "unknown": the predecessor knew no key
]


def _in_days(remote: Remote) -> bool:
    with_clients = ("breakdown->>endpoints", "neq", "{}")
    if remote.some("daily_stats", "id", filters=[with_clients, ("exporter_part", "is", "null")], limit=1):
        return True
    # On the day of the switch, the row holds the predecessor's figures and ours.
    shared = remote.some(
        "daily_stats",
        "clients:breakdown->endpoints,ours:exporter_part->added->breakdown->endpoints",
        filters=[with_clients, ("exporter_part->>since", "not.is", "null")],
    )
    return any(set(row["clients"]) - set(row["ours"]) for row in shared)


PLACES = (
    OldKeys(
        "usage_snapshots",
        "raw API keys in raw_data",
        "update usage_snapshots set raw_data = null where slot is null;",
        lambda remote: remote.some("usage_snapshots", "id", filters=_OLD_SNAPSHOTS, limit=1),
    ),
    OldKeys(
        "model_usage",
        "raw API keys in api_endpoint",
        "update model_usage set api_endpoint = 'old-' || left(md5(api_endpoint), 10)\n"
        "    where snapshot_id in (select id from usage_snapshots where slot is null)"
        " and api_endpoint not like 'old-%';",
        lambda remote: remote.some(
            "model_usage", "id,usage_snapshots!inner(id,slot)", filters=_OLD_MODEL_USAGE, limit=1
        ),
    ),
    OldKeys(
        "daily_stats",
        "raw API keys in breakdown",
        "update daily_stats set breakdown = breakdown - 'endpoints'\n"
        "    where exporter_part is null or exporter_part ->> 'since' is not null;",
        _in_days,
    ),
    OldKeys(
        "credential_usage_summary",
        "names of accounts and API keys",
        "drop table if exists credential_usage_summary;",
        lambda remote: remote.has_rows("credential_usage_summary"),  # only its last versions had this table
    ),
)
"""All places that may hold keys or names."""
