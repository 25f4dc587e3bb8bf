"""The credentials in the last inventory: made again at each scrape, so a vanished account vanishes here, too."""

from collections import defaultdict

from prometheus_client import Metric

from exporter.clock import Clock
from exporter.ledger.labels import CredentialLabels, Labels
from exporter.ledger.ledger import Ledger
from exporter.ledger.views.attempts import shown_attempts
from exporter.ledger.views.totals import SeriesKey
from exporter.limits.pools import room_ms
from exporter.metrics.family import counter, gauge, samples_of
from exporter.quotas.reading import Reading
from exporter.sources.proxy_status import Statuses

_CREDENTIAL = CredentialLabels._fields
_STATUSES = ("active", "error", "disabled", "other")

CREDENTIAL_UP = gauge(
    "cliproxy_credential_up",
    _CREDENTIAL,
    "1 if the proxy would use this account now, 0 if it is disabled or cooling down. Accounts only: the proxy reports"
    " nothing about API keys. As of the last inventory, at most a minute or two ago.",
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
    "When the proxy will use this account again, while it is cooling down.",
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
    "Attempts on this credential as the proxy counts them, continued over its restarts. They include calls that leave"
    " no usage record.",
)


def credential_families(ledger: Ledger, labels: Labels, statuses: Statuses, clock: Clock) -> list[Metric]:
    """State of the credentials in the last inventory."""
    up, state, retry, room, info = made = samples_of(
        CREDENTIAL_UP, CREDENTIAL_STATUS, CREDENTIAL_RETRY, CREDENTIAL_ROOM, CREDENTIAL_INFO
    )
    now_ms = int(clock.now() * 1000)
    readings: dict[int, list[Reading]] = defaultdict(list)
    for (id_, _, _), window in ledger.quotas.current().items():
        readings[id_].append(window.reading)
    for status in statuses():
        known: set[tuple[str, ...]] = set()
        # An account may have several logins: one that works decides its state.
        for id_, account in sorted(status.accounts, key=lambda each: each[1].is_up(now_ms) is not True):
            key = CredentialLabels(status.name, labels.credential(id_), account.facts.provider)
            is_up = account.is_up(now_ms)
            if is_up is not None and key in known:
                continue
            plan = ledger.quota_asks.plan_of(id_, account.plan)
            facts = {"auth_index": account.auth_index, "plan": plan, "auth_type": account.auth_type}
            if (*key, *facts.values()) in known:
                continue  # one key listed twice
            known.add((*key, *facts.values()))
            info.add(1, **key._asdict(), **facts)
            if is_up is None:
                continue
            known.add(key)
            up.add(is_up, **key._asdict())
            for value in _STATUSES:
                state.add(account.status == value, **key._asdict(), status=value)
            if (until := account.waits_until(now_ms)) is not None:
                retry.add(until / 1000, **key._asdict())
                from_ms = room_ms(readings[id_], now_ms)
                room.add(None if from_ms is None else from_ms / 1000, **key._asdict())
    return [*made]


def attempt_families(ledger: Ledger, labels: Labels, *, for_prometheus: bool) -> tuple[list[Metric], list[SeriesKey]]:
    """The proxy's own counts of attempts, and the credentials shown at 0 because they are new."""
    (attempts,) = made = samples_of(CREDENTIAL_ATTEMPTS)
    with ledger.totals.lock:
        young = [key for key in ledger.totals.pending_zero if key[0] == "a"] if for_prometheus else []
        sums = shown_attempts(ledger, labels, hidden={key[1] for key in young})
    for shown, count in sums.items():
        attempts.add(count.success, **shown._asdict(), result="success")
        attempts.add(count.failed, **shown._asdict(), result="failed")
    return [*made], young
