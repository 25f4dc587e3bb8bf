"""The claim of a proxy's name in a project: two exporters must not write under one name."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

from exporter.errors import HistoryMisconfiguredError
from exporter.history.remote import Remote, Row, expect_object

STALE_SECONDS = 900
"""After this time without a sign of the exporter that has the claim, one whose ledger was made since may have it."""


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who claims: the id of the ledger, and when that was made, in ms (None: long ago)."""

    owner: str
    made_ms: int | None


def claim(remote: Remote, proxy: str, claimant: Claimant, *, day: str, is_first: bool) -> date | None:
    """Claim the name ``proxy``; the day before which its records have been deleted, None if none have been.

    Raises HistoryError, with the reason ``name_taken`` if another exporter has it.

    ``day`` is the local day on which this exporter first read the proxy, as ISO text. ``is_first``: this ledger never
    had the claim. Then it may be the successor of one that was lost, if it was made after the other was last seen.
    """
    answer = expect_object(remote.call("exporter_claim", p_proxy=proxy, p_owner=claimant.owner, p_day=day))
    if answer["claimed"]:
        return _deleted_before(answer)
    seen_at = datetime.fromisoformat(str(answer["seen_at"]))
    is_successor = is_first and may_succeed(claimant, seen_at)
    if is_successor:
        answer = expect_object(
            remote.call(
                "exporter_claim", p_proxy=proxy, p_owner=claimant.owner, p_day=day, p_stale_seconds=STALE_SECONDS
            )
        )
        if answer["claimed"]:
            return _deleted_before(answer)
    raise name_taken(proxy, seen_at, is_successor=is_successor)


def may_succeed(claimant: Claimant, seen_at: datetime) -> bool:
    """Whether the claimant's ledger was made after the other one was last seen, so that it may stand in for that.

    Two clocks are compared, ours and the database's, which may differ by as long as the other has to be silent anyway.
    """
    return claimant.made_ms is not None and claimant.made_ms / 1000 > seen_at.timestamp() - STALE_SECONDS


def name_taken(proxy: str, seen_at: datetime, *, is_successor: bool) -> HistoryMisconfiguredError:
    """What to tell whoever cannot have the name ``proxy``, which another exporter used last at ``seen_at``."""
    advice = (
        f"If that was this one, before its data directory was lost, it goes on by itself {STALE_SECONDS // 60} minutes"
        " after that."
        if is_successor
        else "Give the proxies of a project different names: docs/supabase.md#several-exporters."
    )
    return HistoryMisconfiguredError(
        f"Another exporter writes the history of a proxy named {proxy} to this project, last at {in_utc(seen_at)}."
        f" {advice}",
        reason="name_taken",
    )


def in_utc(moment: datetime) -> str:
    """A moment for people."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _deleted_before(answer: Row) -> date | None:
    day = answer["pruned_before"]
    return None if day is None else date.fromisoformat(str(day))
