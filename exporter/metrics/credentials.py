"""The credentials in the last inventory: made again at each scrape, so a vanished account vanishes here, too."""

from collections import defaultdict

from exporter.clock import Clock
from exporter.ledger.labels import CredentialLabels, Labels
from exporter.ledger.ledger import Ledger
from exporter.ledger.views.totals import SeriesKey
from exporter.limits.pools import room_ms
from exporter.metrics.family import Samples, counter, filling, gauge
from exporter.quotas.reading import Reading
from exporter.sources.proxy_status import Statuses

_CREDENTIAL = CredentialLabels._fields
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
def credential_families(ledger: Ledger, labels: Labels, statuses: Statuses, clock: Clock) -> Samples:
    """State of the credentials in the last inventory."""
    now_ms = clock.now_ms()
    readings: dict[int, list[Reading]] = defaultdict(list)
    for (id_, _, _), window in ledger.quotas.current().items():
        readings[id_].append(window.reading)
    for key, id_, account in labels.accounts(statuses(), now_ms=now_ms):
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
    ledger: Ledger, labels: Labels, shown_at_zero: list[SeriesKey], *, for_prometheus: bool
) -> Samples:
    """The proxy's own counts of attempts. Credentials that are new are shown at 0, and join ``shown_at_zero``."""
    with ledger.totals.lock:
        young = [key for key in ledger.totals.pending_zero if key[0] == "a"] if for_prometheus else []
        sums = labels.attempts(ledger.totals, hidden={key[1] for key in young})
    shown_at_zero += young
    for shown, count in sums.items():
        yield CREDENTIAL_ATTEMPTS(count.success, **shown._asdict(), result="success")
        yield CREDENTIAL_ATTEMPTS(count.failed, **shown._asdict(), result="failed")
