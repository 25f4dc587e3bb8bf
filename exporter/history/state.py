"""How the history is doing: the words for the page, the values for the metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field

STATES: Mapping[str, str] = {
    "starting": "Supabase has not been asked yet.",
    "ok": "All that is booked is there.",
    "catching_up": "More waits than one call takes; it is on its way.",
    "restoring": "What Supabase has of a proxy is read into a new ledger.",
    "away": (
        "Supabase cannot be used at the moment. It is tried again after some seconds, then after twice as long each"
        " time, up to 5 minutes."
    ),
    "misconfigured": "It cannot be used until somebody changes something. It is tried again within a minute each time.",
    "name_taken": "Another exporter has the name of a proxy; the others' records are written.",
    "ledger": "The ledger cannot be read: [a full disk](operations.md#a-full-disk).",
    "internal_error": (
        "The exporter itself failed. It is tried again; please report it, with the line `history_fault` of the log."
    ),
}
"""All states, each with its meaning in Markdown for the documentation."""

_WELL = frozenset({"starting", "ok", "catching_up", "restoring"})

REASONS: Mapping[str, tuple[str, str]] = {
    "unreachable": (
        "no connection, or no answer within 20 seconds",
        "Nothing, if it passes. Else: `SUPABASE_URL`, the network, the project's page.",
    ),
    "server_error": (
        "an error of the project, or its database is down, busy or paused",
        "The project's page.",
    ),
    "too_many_requests": (
        "it asks to slow down",
        "Nothing: the pauses grow by themselves.",
    ),
    "key_refused": (
        "the key is not one of this project, or was revoked",
        "Put the secret key into `SUPABASE_SECRET_KEY`, and restart.",
    ),
    "no_grant": (
        "the key may not do this",
        "Is it the secret key? Then run the migrations again, in the SQL editor or with `psql`.",
    ),
    "not_migrated": (
        "a table or function is missing, or of an older version",
        "Apply the migrations.",
    ),
    "name_taken": (
        "another exporter has the name",
        "[Several exporters](#several-exporters).",
    ),
    "wrong_address": (
        "what answers is not a project",
        "Write the project's URL into `SUPABASE_URL`, as its page shows it, and restart.",
    ),
    "bad_data": (
        "the database refused what was sent",
        "Nothing: a record that is refused is set aside, see above, and a state of a proxy is sent again. Please report"
        " it.",
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

    ``waiting`` is the number of records that are booked and not there yet, ``refused`` of those that the database does
    not take, ``last_success_ms`` when all that was to be done was done, ``errors`` the failed calls by reason.
    """

    state: str = "starting"
    sentence: str = "Supabase has not been asked yet."
    since_ms: int = 0
    waiting: int = 0
    refused: int = 0
    last_success_ms: int | None = None
    errors: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_well(self) -> bool:
        return self.state in _WELL
