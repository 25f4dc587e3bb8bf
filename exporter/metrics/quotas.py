"""Questions to providers about accounts: how often, when next, and what the answers say besides windows."""

from exporter.clock import Clock
from exporter.ledger.labels import CredentialLabels, Labels
from exporter.ledger.ledger import Ledger
from exporter.metrics.family import Samples, counter, filling, gauge
from exporter.quotas.asking import AccountState
from exporter.quotas.values import DAY, window_name
from exporter.sources.proxy_status import Statuses

_CREDENTIAL = CredentialLabels._fields
_WEEK = window_name(7 * DAY)

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


@filling(QUOTA_NEXT_FETCH, QUOTA_LAST_RESULT, BALANCE, RESET_CREDITS, ELSEWHERE)
def quota_families(ledger: Ledger, labels: Labels, statuses: Statuses, clock: Clock) -> Samples:
    """What is known about the accounts in the last inventory."""
    now_ms = clock.now_ms()
    windows = ledger.quotas.current()
    for key, id_, _ in labels.accounts(statuses(), now_ms=now_ms):
        told = ledger.quota_asks.told.get(id_, AccountState())
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
