"""Families that are built anew at each scrape from what is known in memory: a vanished account vanishes here, too."""

import platform
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from exporter import __version__
from exporter.clock import Clock
from exporter.history.state import STATES as HISTORY_STATES
from exporter.history.state import HistoryStatus
from exporter.ledger.label_store import OTHER
from exporter.ledger.labels import Labels
from exporter.ledger.ledger import Ledger
from exporter.ledger.views.periods import used_lately
from exporter.ledger.views.totals import Attempts, SeriesKey
from exporter.limits.board import LimitBoard
from exporter.metrics import families as f
from exporter.pricing.layers import PriceLayers
from exporter.proxy_status import STATES, ProxyStatus
from exporter.records import Billing

_log = structlog.get_logger("exporter.metrics")
_STATUSES = ("active", "error", "disabled", "other")

Statuses = Callable[[], Iterable[ProxyStatus]]
HistoryState = Callable[[], HistoryStatus | None]
"""Tells how the history is doing; None without one."""


class SafeCollector(Collector):
    """Runs several makers of families; one that fails costs its own families and shows in a metric."""

    def __init__(self, makers: dict[str, Callable[[], list[Metric]]], *, outside: Mapping[str, bool]) -> None:
        """``outside`` tells of parts of the scrape that are made elsewhere: whether each could be made."""
        self._makers = makers
        self._outside = outside

    def describe(self) -> Iterable[Metric]:
        return []  # registering must not collect

    def collect(self) -> Iterator[Metric]:
        success = _gauge(f.COLLECTOR_UP)
        for name, made_it in self._outside.items():
            success.add_metric([name], float(made_it))
        for name, make in self._makers.items():
            try:
                made = make()
            except Exception:  # noqa: BLE001 - whatever it is, it must not cost the whole scrape
                _log.exception("collector_failed", collector=name)
                made = None
            success.add_metric([name], float(made is not None))
            yield from made or ()
        yield success


def period_families(ledger: Ledger) -> list[Metric]:
    """Cost, tokens and requests of today, yesterday and this month."""
    cost, tokens, requests = _gauge(f.PERIOD_COST), _gauge(f.PERIOD_TOKENS), _gauge(f.PERIOD_REQUESTS)
    names = {id_: name for name, id_ in ledger.dictionary.proxies.items()}
    current = ledger.periods.current

    def route(id_: int) -> list[str]:
        found = ledger.dictionary.routes[id_]
        return [names[found.proxy], found.provider, found.model]

    for (id_, billing, period), nano_usd in current.cost.items():
        cost.add_metric([*route(id_), Billing(billing).label, period], nano_usd / 1e9)
    for (id_, period), number in current.tokens.items():
        tokens.add_metric([*route(id_), period], number)
    for (id_, period), number in current.requests.items():
        requests.add_metric([*route(id_), period], number)
    return [cost, tokens, requests]


def reload_families(prices: PriceLayers, limits: LimitBoard) -> list[Metric]:
    """Whether the files that are read again are in use as they are now."""
    reload = _gauge(f.CONFIG_RELOAD)
    reload.add_metric([], float((prices.user is None or prices.user.status.ok) and not limits.problems))
    return [reload]


def price_families(ledger: Ledger, prices: PriceLayers, clock: Clock) -> list[Metric]:
    """What is charged now for what was used today or yesterday, and when the price list was read."""
    price, feed = _gauge(f.PRICE), _gauge(f.PRICE_FEED)
    for provider, model in sorted(used_lately(ledger.periods.current, ledger.dictionary)):
        for bucket, usd in prices.pricer.current(provider, model, at_ms=int(clock.now() * 1000)).items():
            price.add_metric([provider, model, bucket], float(usd))
    if prices.feed is not None and prices.feed.status.fetched_ms is not None:
        feed.add_metric([], prices.feed.status.fetched_ms / 1000)
    return [price, feed]


def limit_families(board: LimitBoard) -> list[Metric]:
    """All limits as they were at the last look. What is not known of a window is absent."""
    used_ratio, used, budget = _gauge(f.LIMIT_USED_RATIO), _gauge(f.LIMIT_USED), _gauge(f.LIMIT_BUDGET)
    threshold, observed = _gauge(f.LIMIT_THRESHOLD), _gauge(f.LIMIT_OBSERVED)
    start, reset, inferred = _gauge(f.LIMIT_START), _gauge(f.LIMIT_RESET), _gauge(f.LIMIT_INFERRED)
    for window in board.current.windows:
        labels = window.labels
        used_ratio.add_metric(labels, window.used_ratio)
        threshold.add_metric((*labels, "warning"), window.thresholds.warning)
        threshold.add_metric((*labels, "critical"), window.thresholds.critical)
        observed.add_metric(labels, window.observed_ms / 1000)
        for gauge, value in ((used, window.used), (budget, window.budget)):
            if value is not None:
                gauge.add_metric(labels, value)
        for gauge, moment_ms in ((start, window.start_ms), (reset, window.reset_ms)):
            if moment_ms is not None:
                gauge.add_metric(labels, moment_ms / 1000)
        if window.inferred:
            inferred.add_metric(labels, 1)
    early = _counter(f.LIMIT_EARLY_RESETS)
    for labels, count in board.current.early_resets.items():
        early.add_metric(labels, count)
    return [used_ratio, used, budget, threshold, start, reset, observed, inferred, early]


def proxy_families(statuses: Statuses) -> list[Metric]:
    """State of the proxies. What a proxy does not tell is absent."""
    up, state, info = _gauge(f.UP), _gauge(f.PROXY_STATE), _gauge(f.PROXY_INFO)
    publishing, retention = _gauge(f.PUBLISHING), _gauge(f.RETENTION)
    for status in statuses():
        if status.up is not None:
            up.add_metric([status.name], float(status.up))
        for each in STATES:
            state.add_metric([status.name, each], float(status.state == each))
        info.add_metric([status.name, status.version, status.commit, status.source], 1)
        if status.publishing_enabled is not None:
            publishing.add_metric([status.name], float(status.publishing_enabled))
        if status.retention_seconds is not None:
            retention.add_metric([status.name], status.retention_seconds)
    return [up, state, info, publishing, retention]


def credential_families(labels: Labels, statuses: Statuses, clock: Clock) -> list[Metric]:
    """State of the credentials in the last inventory."""
    up, state = _gauge(f.CREDENTIAL_UP), _gauge(f.CREDENTIAL_STATUS)
    retry, info = _gauge(f.CREDENTIAL_RETRY), _gauge(f.CREDENTIAL_INFO)
    now_ms = clock.now() * 1000
    for status in statuses():
        known: set[tuple[str, ...]] = set()
        # One account may have several logins: the one that works is its state.
        for id_, account in sorted(status.accounts, key=lambda each: each[1].is_up(now_ms) is not True):
            key = [status.name, labels.credential(id_), account.facts.provider]
            is_up = account.is_up(now_ms)
            if is_up is not None and tuple(key) in known:
                continue
            facts = [*key, account.auth_index, account.plan, account.auth_type]
            if tuple(facts) in known:
                continue  # one key listed twice
            known.add(tuple(facts))
            info.add_metric(facts, 1)
            if is_up is None:
                continue
            known.add(tuple(key))
            up.add_metric(key, float(is_up))
            for value in _STATUSES:
                state.add_metric([*key, value], float(account.status == value))
            if (until := account.waits_until(now_ms)) is not None:
                retry.add_metric(key, until / 1000)
    return [up, state, retry, info]


def attempt_families(ledger: Ledger, labels: Labels, *, for_prometheus: bool) -> tuple[list[Metric], list[SeriesKey]]:
    """The proxy's own counts of attempts, and the credentials that are shown at 0 because they are young."""
    attempts = _counter(f.CREDENTIAL_ATTEMPTS)
    with ledger.totals.lock:
        young = [key for key in ledger.totals.pending_zero if key[0] == "a"] if for_prometheus else []
        sums = shown_attempts(ledger, labels, hidden={key[1] for key in young})
    for shown, count in sums.items():
        attempts.add_metric([*shown, "success"], count.success)
        attempts.add_metric([*shown, "failed"], count.failed)
    return [attempts], young


def shown_attempts(
    ledger: Ledger, labels: Labels, *, hidden: Collection[object] = ()
) -> dict[tuple[str, str, str], Attempts]:
    """The proxy's own counts of attempts by (proxy, shown credential, provider); those of ``hidden`` ids count as 0."""
    names = {id_: name for name, id_ in ledger.dictionary.proxies.items()}
    sums: dict[tuple[str, str, str], Attempts] = {}
    with ledger.totals.lock:
        for id_, count in ledger.totals.attempts.items():
            credential = ledger.dictionary.resolved(id_)
            key = (names[credential.proxy], labels.credential(id_), credential.provider)
            sum_ = sums.setdefault(key, Attempts(success=0, failed=0))
            if id_ not in hidden:
                sum_.success += count.success
                sum_.failed += count.failed
    return sums


def flow_families(ledger: Ledger, statuses: Statuses) -> list[Metric]:
    """What became of the records of each proxy. Of one that is not polled any more no last success is told."""
    made = [_counter(family) for family in _FLOW_COUNTERS]
    rejected = _counter(f.REJECTED)
    pending, missed, success = _gauge(f.PENDING), _gauge(f.MISSED), _gauge(f.LAST_SUCCESS)
    names = {id_: name for name, id_ in ledger.dictionary.proxies.items()}
    polled = {status.name for status in statuses()}
    with_totals = {status.name for status in statuses() if status.source.startswith("snapshot")}
    with ledger.totals.lock:  # one moment for all of them, so that they add up
        can_miss = {names[ledger.dictionary.credentials[each].proxy] for each in ledger.totals.attempts}
        for id_, flow in ledger.totals.flows.items():
            name = names[id_]
            numbers = (
                flow.received,
                flow.replayed,
                flow.booked,
                flow.duplicate,
                flow.backfilled,
                flow.retention_gaps,
                flow.restarts,
                flow.false_starts,
            )
            for family, number in zip(made, numbers, strict=True):
                family.add_metric([name], number)
            for reason in sorted({*REJECTION_REASONS, *flow.rejected}):
                rejected.add_metric([name, reason], flow.rejected.get(reason, 0))
            pending.add_metric([name], flow.pending)
            if flow.missed or name in can_miss | with_totals:
                missed.add_metric([name], flow.missed)
            if flow.last_success_ms is not None and name in polled:
                success.add_metric([name], flow.last_success_ms / 1000)
    return [*made, rejected, pending, missed, success]


_FLOW_COUNTERS = (
    f.RECEIVED,
    f.REPLAYED,
    f.BOOKED,
    f.DUPLICATE,
    f.BACKFILLED,
    f.RETENTION_GAPS,
    f.RESTARTS,
    f.FALSE_STARTS,
)


REJECTION_REASONS = (
    "bad_timestamp",
    "home_result",
    "impossible_time",
    "impossible_tokens",
    "internal_error",
    "malformed_json",
    "malformed_record",
    "missing_timestamp",
    "not_an_object",
    "spoilt_batch",
)
"""Shown at 0 from the start, so that the first rise is seen."""


def ledger_families(ledger: Ledger) -> list[Metric]:
    """What the ledger holds."""
    folded, size, entries = _counter(f.FOLDED), _gauge(f.LEDGER_BYTES), _gauge(f.LEDGER_ENTRIES)
    folded.add_metric([], ledger.dictionary.folded)
    size.add_metric([], ledger.bytes_on_disk)
    entries.add_metric([], ledger.totals.entries)
    unidentified = _gauge(f.UNIDENTIFIED)
    for proxy, requests in _unidentified(ledger).items():
        unidentified.add_metric([proxy], requests)
    return [unidentified, folded, size, entries]


def _unidentified(ledger: Ledger) -> dict[str, int]:
    """Requests by proxy of credentials that no inventory has named."""
    dictionary = ledger.dictionary
    names = {id_: name for name, id_ in dictionary.proxies.items()}
    found = dict.fromkeys(names.values(), 0)
    unnamed = {
        id_: names[credential.proxy]
        for id_ in list(dictionary.credentials)
        if not (credential := dictionary.resolved(id_)).provider and credential.label != OTHER
    }
    if unnamed:  # mostly there is none, and then the many series need not be walked through
        with ledger.totals.lock:
            for id_, sums in ledger.totals.series.items():
                proxy = unnamed.get(dictionary.series[id_].credential)
                if proxy is not None:
                    found[proxy] += sums[0]
    return found


def history_families(status: HistoryStatus | None) -> list[Metric]:
    """How the history in Supabase is doing; nothing without one."""
    if status is None:
        return []
    state, errors = _gauge(f.HISTORY_STATE), _counter(f.HISTORY_ERRORS)
    backlog, refused, success = _gauge(f.HISTORY_BACKLOG), _gauge(f.HISTORY_REFUSED), _gauge(f.HISTORY_LAST_SUCCESS)
    for each in HISTORY_STATES:
        state.add_metric([each], float(status.state == each))
    for reason, number in status.errors.items():
        errors.add_metric([reason], number)
    backlog.add_metric([], status.waiting)
    refused.add_metric([], status.refused)
    if status.last_success_ms is not None:
        success.add_metric([], status.last_success_ms / 1000)
    return [state, backlog, refused, success, errors]


def build_families() -> list[Metric]:
    """The exporter itself."""
    info = _gauge(f.BUILD_INFO)
    info.add_metric([__version__, platform.python_version()], 1)
    return [info]


def _gauge(family: f.Family) -> GaugeMetricFamily:
    return GaugeMetricFamily(family.name, family.help, labels=family.labels)


def _counter(family: f.Family) -> CounterMetricFamily:
    return CounterMetricFamily(family.name, family.help, labels=family.labels)
