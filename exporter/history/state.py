"""The state of the history, in words and values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from exporter.sentences import say

STATES: Mapping[str, str] = {
    "starting": "Supabase has not been asked yet.",
    "ok": "All that is booked is there.",
    "catching_up": "More is waiting than fits into one call; it is on its way.",
    "restoring": "The exporter reads what Supabase has of a proxy into a new ledger.",
    "away": "Supabase cannot be used at the moment. The pause between tries grows from seconds to 5 minutes.",
    "misconfigured": "It cannot be used until somebody changes something. It is tried again every minute.",
    "name_taken": "Another exporter owns the name of a proxy; records of other proxies are written.",
    "ledger": "The ledger cannot be read: [a full disk](operations.md#a-full-disk).",
    "internal_error": "The exporter itself failed and tries again. Please report it with the log line `history_fault`.",
}
"""All states, each with its meaning in Markdown for the documentation."""

_WELL = frozenset({"starting", "ok", "catching_up", "restoring"})

REASONS: Mapping[str, tuple[str, str]] = {
    "unreachable": (
        "no connection, or no answer within 20 seconds",
        "If it lasts: check `SUPABASE_URL`, the network, the project's page.",
    ),
    "server_error": (
        "the project answers with an error, or its database is down, busy or paused",
        "Look at the project's page.",
    ),
    "too_many_requests": (
        "Supabase asks to slow down",
        "Nothing: the pauses grow.",
    ),
    "key_refused": (
        "the key does not belong to this project, or was revoked",
        "Put the secret key into `SUPABASE_SECRET_KEY`, and restart.",
    ),
    "no_grant": (
        "the key may not do this",
        "Check that it is the secret key, then run the migrations again, in the SQL editor or with `psql`.",
    ),
    "not_migrated": (
        "a table or function is missing or outdated",
        "Apply the migrations.",
    ),
    "name_taken": (
        "Another exporter owns the name of a proxy; records of other proxies are written.",
        "[Several exporters](supabase.md#several-exporters).",
    ),
    "wrong_address": (
        "the server at `SUPABASE_URL` is not a Supabase project",
        "Copy the URL from the project's page to `SUPABASE_URL`, and restart.",
    ),
    "bad_data": (
        "the database refused what was sent",
        "Nothing: the record is set aside. Please report it.",
    ),
    "other": (
        "none of these",
        "The log at `LOG_LEVEL=debug` has the code.",
    ),
}
"""All values of ``HistoryError.reason``, each with its meaning and what to do, in Markdown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryStatus:
    """State of the history. ``state`` is one of ``STATES``, ``sentence`` what it means and what to do about it.

    ``waiting`` is the number of booked records that Supabase does not have yet, ``refused`` of those that it refuses,
    ``last_success_ms`` when everything was last up to date, ``errors`` the failed calls by reason.
    """

    state: str = "starting"
    sentence: str = say("Supabase has not been asked yet.")
    since_ms: int = 0
    waiting: int = 0
    refused: int = 0
    last_success_ms: int | None = None
    errors: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_well(self) -> bool:
        return self.state in _WELL


HistoryState = Callable[[], HistoryStatus | None]
"""The current state of the history; None without one."""
