"""How the history is doing: the words for the page, the values for the metrics."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

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
"""All states. ``catching_up``: more waits than one call takes. ``away``: Supabase cannot be used at the moment.
``misconfigured`` and ``name_taken`` last until somebody changes something."""


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
        return self.state in ("ok", "catching_up", "restoring", "starting")


HistoryState = Callable[[], HistoryStatus | None]
"""Tells how the history is doing; None without one."""
