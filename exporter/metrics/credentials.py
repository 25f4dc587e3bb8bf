"""The credentials in the last inventory, read anew at each scrape, so that a vanished account vanishes here, too.

Also the questions to providers about accounts: how many, when next, and what the answers say besides windows.
"""

from collections import defaultdict

from exporter.clock import Clock
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import CredentialLabels, ShownNames
from exporter.ledger.views.totals import SeriesKey
from exporter.limits.pools import room_ms
from exporter.metrics.family import Samples, counter, filling, gauge
from exporter.quotas.reading import Reading
from exporter.quotas.values import DAY, window_name
from exporter.sources.proxy_status import Statuses

_CREDENTIAL = CredentialLabels._fields
_WEEK = window_name(7 * DAY)
_STATUSES = ("active", "error", "disabled", "other")

CREDENTIAL_UP = gauge(
    "cliproxy_credential_up",
    _CREDENTIAL,
    "1 if the proxy would use this account now, 0 if it is disabled or cooling down. Accounts only: the proxy"
    " reports nothing about API keys. As of the last inventory, which is a minute or two old at most.",
)
CREDENTIAL_STATUS = gauge(
    "cliproxy_credential_status",
    (*_CREDENTIAL, "status"),
    "1 for the status that the proxy shows for this account, 0 for the others. active means no failure since the"
    " proxy last read its files.",
)
CREDENTIAL_RETRY = gauge(
    "cliproxy_credential_retry_timestamp_seconds",
    _CREDENTIAL,
    "While an account is cooling down: when the proxy will use it again.",
)
CREDENTIAL_ROOM = gauge(
    "cliproxy_credential_room_timestamp_seconds",
    _CREDENTIAL,
    "While an account is cooling down: when its provider has room for it again, by the last resets of its windows."
    " Absent if no reset is known.",
)
CREDENTIAL_INFO = gauge(
    "cliproxy_credential_info",
    (*_CREDENTIAL, "auth_index", "plan", "auth_type"),
    "Facts about a credential, always 1. auth_index is the proxy's own handle; plan is known for Codex, and for others"
    " whose providers are asked (EXPORTER_QUOTAS).",
)
CREDENTIAL_ATTEMPTS = counter(
    "cliproxy_credential_attempts",
    (*_CREDENTIAL, "result"),
    "Attempts on this credential as the proxy counts them, continued across its restarts. They include calls that"
    " leave no usage record.",
)


@filling(CREDENTIAL_UP, CREDENTIAL_STATUS, CREDENTIAL_RETRY, CREDENTIAL_ROOM, CREDENTIAL_INFO)
def credential_families(ledger: Ledger, shown_names: ShownNames, statuses: Statuses, clock: Clock) -> Samples:
    now_ms = clock.now_ms()
    readings: dict[int, list[Reading]] = defaultdict(list)
    for (id_, _, _), window in ledger.quotas.current().items():
        readings[id_].append(window.reading)
    for key, id_, account in shown_names.accounts(statuses(), now_ms=now_ms):
        plan = ledger.quota_asks.plan_of(id_, account.plan)
        facts = {"auth_index": account.auth_index, "plan": plan, "auth_type": account.auth_type}
        yield CREDENTIAL_INFO(1, **key._asdict(), **facts)
        is_up = account.is_up(now_ms)
        if is_up is None:
            continue
        yield CREDENTIAL_UP(is_up, **key._asdict())
        for value in _STATUSES:
            yield CREDENTIAL_STATUS(account.status == value, **key._asdict(), status=value)
        if (until := account.waits_until(now_ms)) is not None:
            yield CREDENTIAL_RETRY.at(until, **key._asdict())
            yield CREDENTIAL_ROOM.at(room_ms(readings[id_], now_ms), **key._asdict())


@filling(CREDENTIAL_ATTEMPTS)
def attempt_families(
    ledger: Ledger, shown_names: ShownNames, shown_at_zero: list[SeriesKey], *, for_prometheus: bool
) -> Samples:
    """The proxy's own counts of attempts. New credentials are shown at 0 and added to ``shown_at_zero``."""
    with ledger.totals.lock:
        young = [key for key in ledger.births.pending if key[0] == "a"] if for_prometheus else []
        sums = shown_names.attempts(ledger.totals, hidden={key[1] for key in young})
    shown_at_zero += young
    for shown, count in sums.items():
        yield CREDENTIAL_ATTEMPTS(count.success, **shown._asdict(), result="success")
        yield CREDENTIAL_ATTEMPTS(count.failed, **shown._asdict(), result="failed")


QUOTA_FETCHES = counter(
    "cliproxy_quota_fetches",
    ("proxy", "provider", "result"),
    "Questions to providers about accounts, by result; only with EXPORTER_QUOTAS=active. ok is an answer, any other"
    " result changes no value.",
)
QUOTA_NEXT_FETCH = gauge(
    "cliproxy_quota_next_fetch_timestamp_seconds",
    _CREDENTIAL,
    "Earliest time at which the provider is asked for the account's windows again. It moves ahead while answers to"
    " requests report them.",
)
QUOTA_LAST_RESULT = gauge(
    "cliproxy_quota_last_result_info",
    (*_CREDENTIAL, "result"),
    "Result of the last question about the account's windows, always 1. Absent before the first.",
)
BALANCE = gauge(
    "cliproxy_balance_usd",
    (*_CREDENTIAL, "balance"),
    "Prepaid money that is left, as the provider last reported.",
)
RESET_CREDITS = gauge(
    "cliproxy_quota_reset_credits",
    _CREDENTIAL,
    "How many times the owner of the account may reset its windows at once, as the provider last reported.",
)
ELSEWHERE = gauge(
    "cliproxy_quota_elsewhere_ratio",
    _CREDENTIAL,
    "Share of the use of a Claude account's week that was on surfaces other than Claude Code, so not through the"
    " proxy. Absent once that week has ended.",
)

QUOTAS = (QUOTA_NEXT_FETCH, QUOTA_LAST_RESULT, BALANCE, RESET_CREDITS, ELSEWHERE)


@filling(*QUOTAS)
def quota_families(ledger: Ledger, shown_names: ShownNames, statuses: Statuses, clock: Clock) -> Samples:
    now_ms = clock.now_ms()
    windows = ledger.quotas.current()
    for key, id_, _ in shown_names.accounts(statuses(), now_ms=now_ms):
        told = ledger.quota_asks.state_of(id_)
        if (outlook := ledger.quota_asks.outlook.get(id_)) is not None:
            yield QUOTA_NEXT_FETCH.at(outlook.next_ms, **key._asdict())
            yield QUOTA_LAST_RESULT(1 if outlook.result else None, **key._asdict(), result=outlook.result)
        for left in told.balances:
            yield BALANCE(left.nano_usd / 1e9, **key._asdict(), balance=left.name)
        yield RESET_CREDITS(told.reset_credits, **key._asdict())
        week = windows.get((id_, _WEEK, ""))
        ends_ms = week.reading.ends_ms if week else None
        if ends_ms is not None and ends_ms - 7 * DAY * 1000 <= told.elsewhere_ms <= now_ms < ends_ms:
            yield ELSEWHERE(told.elsewhere_ratio, **key._asdict())
