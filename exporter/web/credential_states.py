"""The state of each credential now, in words, from the last inventory."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import CredentialLabels, ShownNames
from exporter.ledger.views.totals import Attempts
from exporter.limits.board import Board
from exporter.limits.model import LimitWindow
from exporter.limits.pools import by_account, member_of
from exporter.normalize.inventory import Account
from exporter.sentences import say
from exporter.sources.proxy_status import ProxyStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialState:
    """A credential as people read it. ``up``: whether it works; None where CPA reports no state, as for API keys.

    ``retry_ms`` is when it works again, if that is known. ``attempts`` are the proxy's own count, None if it has none.
    """

    proxy: str
    name: str
    provider: str
    plan: str
    state: str
    up: bool | None
    retry_ms: int | None = None
    attempts: Attempts | None = None


def credential_states(
    statuses: Iterable[ProxyStatus], board: Board, *, ledger: Ledger, shown_names: ShownNames, now_ms: float
) -> list[CredentialState]:
    """The credentials of the last inventories; those that do not work come first."""
    known = by_account((*board.windows, *board.ended))
    found: dict[CredentialLabels, CredentialState] = {}
    attempts = shown_names.attempts(ledger.totals)
    for key, id_, account in shown_names.accounts(statuses, now_ms=now_ms):
        if key in found:
            continue  # a key with several auth_index
        state, up, retry_ms = _state(account, known.get(key, ()), now_ms)
        found[key] = CredentialState(
            proxy=key.proxy,
            name=key.credential,
            provider=key.provider,
            plan=ledger.quota_asks.plan_of(id_, account.plan),
            state=state,
            up=up,
            retry_ms=retry_ms,
            attempts=attempts.get(key),
        )
    return sorted(found.values(), key=lambda each: (each.up is not False, each.proxy, each.provider, each.name))


def _state(account: Account, windows: Sequence[LimitWindow], now_ms: float) -> tuple[str, bool | None, int | None]:
    """The state in a word, whether the credential works, and when it works again."""
    up = account.is_up(now_ms)
    if up is None:
        return say("not reported"), None, None
    if account.disabled:
        return say("disabled"), False, None
    until = account.waits_until(now_ms)
    if not up and until is None:
        return say("unavailable"), False, None
    member = member_of(up=up, retry_ms=until, windows=windows)
    if member.state == "exhausted":  # CPA finds out when it uses the account, and may try again before the reset
        return say("used up"), False, member.back_ms
    if not up:
        return say("cooling down"), False, until
    # CPA reports "error" for a credential that works for some models and waits for others.
    failing = account.status == "error" and not account.unavailable
    return (say("partly failing") if failing else say("up")), True, None
