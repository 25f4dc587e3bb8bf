"""The limits: the user's budgets and the windows that providers report; what subscriptions cost and are worth."""

from prometheus_client import Metric

from exporter.ledger.labels import CredentialLabels, Labels
from exporter.limits.board import LimitBoard
from exporter.limits.plans import plan_values
from exporter.limits.windows import LIMIT_LABELS, PROVIDER, SHARE, ProviderWindow
from exporter.metrics.family import counter, gauge, samples_of
from exporter.sources.proxy_status import Statuses

_BOUNDS = ("estimate", "low", "high")

LIMIT_USED_RATIO = gauge(
    "cliproxy_limit_used_ratio",
    LIMIT_LABELS,
    "Used share of a limit in its current window; may exceed 1. kind: configured is a budget of your own,"
    " provider a window that the provider itself reports. An empty label is all of them.",
)
LIMIT_USED = gauge(
    "cliproxy_limit_used",
    LIMIT_LABELS,
    "How much of a limit is used in its current window, in its unit. Absent if a provider reports only the share.",
)
LIMIT_BUDGET = gauge(
    "cliproxy_limit_budget",
    LIMIT_LABELS,
    "The budget of a limit, in its unit: of a configured one, or of a cap on money that a provider reports.",
)
LIMIT_THRESHOLD = gauge(
    "cliproxy_limit_threshold_ratio",
    (*LIMIT_LABELS, "severity"),
    "Used share at which a limit becomes a warning, and at which it becomes critical.",
)
LIMIT_START = gauge(
    "cliproxy_limit_window_start_timestamp_seconds",
    LIMIT_LABELS,
    "When the current window of a limit began; later than usual after a manual reset.",
)
LIMIT_RESET = gauge(
    "cliproxy_limit_reset_timestamp_seconds",
    LIMIT_LABELS,
    "When the current window of a limit ends and its use starts at 0 again. Absent for a rolling window,"
    " and for a provider's window that has not started or outlives its announced reset.",
)
LIMIT_OBSERVED = gauge(
    "cliproxy_limit_observed_timestamp_seconds",
    LIMIT_LABELS,
    "When the used share was true: now for a configured limit, the provider's last answer for one of its windows.",
)
LIMIT_INFERRED = gauge(
    "cliproxy_limit_inferred",
    LIMIT_LABELS,
    "1 if a provider refused a request without reporting the used share, which then counts as 1. Absent otherwise.",
)
LIMIT_SOURCE = gauge(
    "cliproxy_limit_source_info",
    (*LIMIT_LABELS, "source"),
    "How a provider's window is known, always 1. header: from its answer to a request; signal: from what the proxy"
    " keeps of such answers; active: from an answer to a question about the account.",
)
LIMIT_EARLY_RESETS = counter(
    "cliproxy_limit_early_resets",
    ProviderWindow._fields,
    "How often a provider's window was emptied before its announced end, and stayed so for two readings.",
)

LIMIT_CAPACITY_USD = gauge(
    "cliproxy_limit_capacity_usd",
    (*LIMIT_LABELS, "bound"),
    "What 100 % of a provider's window is worth at API prices, from its readings and the use booked between them."
    " bound: the best estimate, and the low and the high end of where the truth is.",
)
LIMIT_CAPACITY_TOKENS = gauge(
    "cliproxy_limit_capacity_tokens",
    (*LIMIT_LABELS, "bound"),
    "What 100 % of a provider's window holds in tokens (input with cache, output, unclassified) of the mix so far."
    " bound: the best estimate, and the low and the high end of where the truth is.",
)
LIMIT_CAPACITY_CHANGES = counter(
    "cliproxy_limit_capacity_changes",
    (*ProviderWindow._fields, "change"),
    "How often 100 % of a provider's window became at least a tenth less (change: shrank) or more (grew), once one"
    " whole window has confirmed it.",
)
CAPACITY = (LIMIT_CAPACITY_USD, LIMIT_CAPACITY_TOKENS, LIMIT_CAPACITY_CHANGES)
PLAN_PRICE = gauge(
    "cliproxy_plan_price_per_month",
    (*CredentialLabels._fields, "currency"),
    "What the subscription of an account costs a month by the plans of the limits file, in the currency that it names.",
)
PLAN_VALUE = gauge(
    "cliproxy_plan_value_usd",
    CredentialLabels._fields,
    "What the use of an account with a plan in this calendar month is worth at API prices. Compare it with the price.",
)


def limit_families(board: LimitBoard) -> list[Metric]:
    """All limits as of the last look. What is unknown about a window is left out."""
    used_ratio, used, budget, threshold, start, reset, observed, inferred, source, early = made = samples_of(
        LIMIT_USED_RATIO,
        LIMIT_USED,
        LIMIT_BUDGET,
        LIMIT_THRESHOLD,
        LIMIT_START,
        LIMIT_RESET,
        LIMIT_OBSERVED,
        LIMIT_INFERRED,
        LIMIT_SOURCE,
        LIMIT_EARLY_RESETS,
    )
    for window in board.current.windows:
        labels = {label: getattr(window, label) for label in LIMIT_LABELS}
        used_ratio.add(window.used_ratio, **labels)
        used.add(window.used, **labels)
        budget.add(window.budget, **labels)
        threshold.add(window.thresholds.warning, **labels, severity="warning")
        threshold.add(window.thresholds.critical, **labels, severity="critical")
        start.at(window.start_ms, **labels)
        reset.at(window.reset_ms, **labels)
        observed.at(window.observed_ms, **labels)
        inferred.add(1 if window.inferred else None, **labels)
        source.add(1 if window.source else None, **labels, source=window.source)
    for counted, number in board.current.early_resets.items():
        early.add(number, **counted._asdict())
    return [*made, *_worth_families(board)]


def plan_families(board: LimitBoard, labels: Labels, statuses: Statuses) -> list[Metric]:
    """Price and value of the subscriptions among the accounts that the proxies list."""
    price, value = made = samples_of(PLAN_PRICE, PLAN_VALUE)
    for key, found in plan_values(board.current, labels, statuses).items():
        price.add(found.plan.nano_price / 1e9, **key._asdict(), currency=found.plan.currency)
        value.add(found.nano_usd / 1e9, **key._asdict())
    return [*made]


def _worth_families(board: LimitBoard) -> list[Metric]:
    usd, tokens, changes = made = samples_of(*CAPACITY)
    for window, worth in board.current.worth.items():
        labels = window._asdict() | {"limit": window.window, "kind": PROVIDER, "unit": SHARE}
        for family, capacity in ((usd, worth.usd), (tokens, worth.tokens)):
            for bound in _BOUNDS if capacity is not None else ():
                family.add(getattr(capacity, bound), **labels, bound=bound)
        for change, number in worth.changes._asdict().items():
            changes.add(number, **window._asdict(), change=change)
    return [*made]
