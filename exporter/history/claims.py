"""The claim of a proxy's name in a project: two exporters must not write under one name.

A name belongs to the ledger that claimed it first, until that gives it back. There is one exception, so that a lost
data directory can be replaced without manual work: a ledger that was created after the owner's last heartbeat and reads
the same proxy takes over the name.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime

from exporter.errors import HistoryMisconfiguredError
from exporter.history.client import Remote, Row, expect
from exporter.ledger.ledger import Ledger
from exporter.sentences import say
from exporter.settings.model import Settings

STALE_SECONDS = 900
"""After this time without a heartbeat from the owner, its successor may claim the name."""


@dataclass(frozen=True, slots=True)
class LeaseOwner:
    """Who claims: the ledger's id, and when it was created, in ms (None: long ago)."""

    owner: str
    made_ms: int | None


def owner_of(ledger: Ledger) -> str:
    """The id under which the exporter with this ledger claims proxies: random, and it lasts as long as the ledger."""
    return hashlib.blake2b(b"history", key=ledger.salt, digest_size=16).hexdigest()


def lease_owner_of(ledger: Ledger) -> LeaseOwner:
    """The exporter with this ledger. Raises LedgerError."""
    return LeaseOwner(owner_of(ledger), ledger.backlog.made_ms())


def proxy_fingerprint(management_key: str, *, project_key: str) -> str:
    """A sign by which a project knows that two exporters read the same proxy: they have the same management key.

    It is keyed with the project's secret key, which is in none of its tables, so that a reader of the tables cannot
    guess management keys.
    """
    secret = hashlib.blake2b(project_key.encode()).digest()
    return hashlib.blake2b(management_key.encode(), key=secret, digest_size=16).hexdigest()


def claim(remote: Remote, proxy: str, lease_owner: LeaseOwner, *, sign: str | None, is_first: bool) -> date | None:
    """Claim the name ``proxy``. Returns the day before which its records have been deleted, None if none have been.

    Raises HistoryError, with the reason ``name_taken`` if another exporter has it.

    ``sign`` is the proxy's, empty if it has no management key, None if the proxy is not in the settings; then the name
    is only claimed if nobody else has had it.
    ``is_first``: this ledger has never had the claim, so it may succeed one that was lost.
    """
    asked = {"p_proxy": proxy, "p_owner": lease_owner.owner, "p_own_only": sign is None, "p_sign": sign or None}
    answer = expect(dict, remote.call("exporter_claim", **asked))
    if answer["claimed"]:
        return _deleted_before(answer)
    seen_at = datetime.fromisoformat(str(answer["seen_at"]))
    is_successor = is_first and may_succeed(lease_owner, sign, seen_at=seen_at, seen_sign=answer["sign"])
    if is_successor:
        answer = expect(dict, remote.call("exporter_claim", **asked, p_stale_seconds=STALE_SECONDS))
        if answer["claimed"]:
            return _deleted_before(answer)
    raise name_taken(proxy, seen_at, is_successor=is_successor)


def may_succeed(lease_owner: LeaseOwner, sign: str | None, *, seen_at: datetime, seen_sign: object) -> bool:
    """Whether ``lease_owner``, whose proxy has ``sign``, may succeed the ledger that was last seen with ``seen_sign``.

    Our clock and the database's may differ by as much as the time for which the owner must be silent.
    """
    is_younger = lease_owner.made_ms is not None and lease_owner.made_ms / 1000 > seen_at.timestamp() - STALE_SECONDS
    return is_younger and bool(sign) and sign == seen_sign


def name_taken(proxy: str, seen_at: datetime, *, is_successor: bool) -> HistoryMisconfiguredError:
    """The error for a name ``proxy`` that another exporter last used at ``seen_at``."""
    lost = (
        say("it continues by itself {minutes} minutes after that.", minutes=STALE_SECONDS // 60)
        if is_successor
        else say("give the name back: docs/supabase.md#several-exporters.")
    )
    return HistoryMisconfiguredError(
        "Another exporter writes the history of a proxy named {proxy} to this project, last at {moment}. If that is"
        " another installation, give this proxy a name of its own. If that was this one, before its data directory was"
        " lost, {lost}",
        proxy=proxy,
        moment=in_utc(seen_at),
        lost=lost,
        reason="name_taken",
    )


def in_utc(moment: datetime) -> str:
    """A moment for people."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _deleted_before(answer: Row) -> date | None:
    day = answer["pruned_before"]
    return None if day is None else date.fromisoformat(str(day))


def proxy_signs(settings: Settings) -> dict[str, str]:
    """The fingerprint of each proxy of the settings, by name, for their Supabase project; empty without a key."""
    key = settings.supabase_secret_key
    if key is None:
        return {}
    return {
        proxy.name: management_key and proxy_fingerprint(management_key, project_key=key.get_secret_value())
        for proxy in settings.proxies
        for management_key in [proxy.management_key.get_secret_value()]
    }
