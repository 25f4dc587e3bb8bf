"""Claims the name of a proxy in a project. Two exporters must not write under one name.

A name belongs to the ledger that claimed it first, until that ledger gives it back. There is one exception, so that
a lost data directory can be replaced without manual work: a ledger that was created after the owner's last heartbeat
and reads the same proxy takes over the name.
"""

import hashlib
from datetime import UTC, date, datetime

from exporter.errors import HistoryMisconfiguredError
from exporter.history.supabase_client import Remote, expect
from exporter.ledger.ledger import Ledger
from exporter.ledger.schema import NEVER_CLAIMED
from exporter.sentences import say
from exporter.settings.model import Settings

STALE_SECONDS = 900
"""After this time without a heartbeat from the owner, its successor may claim the name."""


def owner_of(ledger: Ledger) -> str:
    """The id under which the exporter with this ledger claims proxies: random, and it lasts as long as the ledger."""
    return hashlib.blake2b(b"history", key=ledger.salt, digest_size=16).hexdigest()


def claim(remote: Remote, ledger: Ledger, proxy: str, *, sign: str | None) -> date | None:
    """Claim the name ``proxy``. Returns the day before which its records have been deleted, None if none have been.

    Raises HistoryError, with the reason ``name_taken`` if another exporter has it.

    ``sign`` is the proxy's, empty if it has no management key, None if the proxy is not in the settings; then the name
    is only claimed if nobody else has had it.
    """
    asked = {"p_proxy": proxy, "p_owner": owner_of(ledger), "p_own_only": sign is None, "p_sign": sign or None}
    answer = expect(dict, remote.call("exporter_claim", **asked))
    if not answer["claimed"]:
        seen_at = datetime.fromisoformat(str(answer["seen_at"]))
        is_successor = may_succeed(ledger, proxy, sign, seen_at=seen_at, seen_sign=answer["sign"])
        if is_successor:
            answer = expect(dict, remote.call("exporter_claim", **asked, p_stale_seconds=STALE_SECONDS))
        if not answer["claimed"]:
            raise name_taken(proxy, seen_at, is_successor=is_successor)
    day = answer["pruned_before"]
    return None if day is None else date.fromisoformat(str(day))


def may_succeed(ledger: Ledger, proxy: str, sign: str | None, *, seen_at: datetime, seen_sign: object) -> bool:
    """Whether ``ledger``, whose proxy has ``sign``, may succeed the one that was last seen with ``seen_sign``.

    It must never have had the claim, and must have been created after the owner's last heartbeat. The clocks of this
    machine and of the database may differ by ``STALE_SECONDS``.
    """
    if not sign or sign != seen_sign or ledger.backlog.stage(proxy) != NEVER_CLAIMED:
        return False
    made_ms = ledger.backlog.made_ms()
    return made_ms is not None and made_ms / 1000 > seen_at.timestamp() - STALE_SECONDS


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


def proxy_signs(settings: Settings) -> dict[str, str]:
    """A sign of each proxy of the settings, by name; empty for one without a management key.

    Two exporters that have the same sign for a proxy have the same management key, so they read the same proxy. A sign
    is keyed with the project's secret key, which is in none of its tables, so that a reader of the tables cannot guess
    management keys.
    """
    if settings.supabase_secret_key is None:
        return {}
    secret = hashlib.blake2b(settings.supabase_secret_key.get_secret_value().encode()).digest()
    keys = {proxy.name: proxy.management_key.get_secret_value() for proxy in settings.proxies}
    return {
        name: key and hashlib.blake2b(key.encode(), key=secret, digest_size=16).hexdigest()
        for name, key in keys.items()
    }
