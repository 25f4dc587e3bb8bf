"""The state of the history: the words for the page, the values for the metrics."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from exporter.sentences import say

STATES = (
    "starting",
    "ok",
    "catching_up",
    "restoring",
    "away",
    "misconfigured",
    "name_taken",
    "ledger",
    "internal_error",
)
"""All states. The pages in docs/ say what each means."""

_WELL = frozenset({"starting", "ok", "catching_up", "restoring"})

REASONS = (
    "unreachable",
    "server_error",
    "too_many_requests",
    "key_refused",
    "no_grant",
    "not_migrated",
    "name_taken",
    "wrong_address",
    "bad_data",
    "other",
)
"""All values of ``HistoryError.reason``. The pages in docs/ say what each means and what to do."""


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
