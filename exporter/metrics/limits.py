"""The limits, what subscriptions are worth, and pools of accounts."""

from exporter.ledger.shown_names import CredentialLabels
from exporter.limits.board import LimitBoard
from exporter.limits.model import LIMIT_LABELS, PROVIDER, ProviderWindow
from exporter.limits.pools import STATES, PoolKey
from exporter.metrics.family import Samples, counter, filling, gauge

LIMIT_USED_RATIO = gauge(
    "cliproxy_limit_used_ratio",
    LIMIT_LABELS,
    "Used share of a limit in its current window; may exceed 1. kind: configured is a budget of your own, provider a"
    " window that the provider itself reports. An empty label means all.",
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
    "When the current window of a limit ends and its use starts at 0 again. Absent for a rolling window, and for a"
    " provider's window that has not started, or that is still reported after its announced reset.",
)
LIMIT_OBSERVED = gauge(
    "cliproxy_limit_observed_timestamp_seconds",
    LIMIT_LABELS,
    "When the used share was last known: now for a configured limit, the provider's last answer for its windows.",
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
    "How often a provider emptied a window before its announced end, confirmed by a second reading.",
)

LIMIT_CAPACITY_USD = gauge(
    "cliproxy_limit_capacity_usd",
    (*LIMIT_LABELS, "bound"),
    "What 100 % of a provider's window is worth at API prices, from its readings and the use booked between them."
    " bound: estimate is the best estimate, and the true value is between low and high.",
)
LIMIT_CAPACITY_TOKENS = gauge(
    "cliproxy_limit_capacity_tokens",
    (*LIMIT_LABELS, "bound"),
    "What 100 % of a provider's window holds in tokens (input with cache, output, unclassified) of the mix so far."
    " bound: estimate is the best estimate, and the true value is between low and high.",
)
LIMIT_CAPACITY_CHANGES = counter(
    "cliproxy_limit_capacity_changes",
    (*ProviderWindow._fields, "change"),
    "How often what 100 % of a provider's window holds fell (change: shrank) or rose (grew) by at least a tenth,"
    " confirmed by one whole window.",
)
CAPACITY = (LIMIT_CAPACITY_USD, LIMIT_CAPACITY_TOKENS, LIMIT_CAPACITY_CHANGES)
PLAN_PRICE = gauge(
    "cliproxy_plan_price_per_month",
    (*CredentialLabels._fields, "currency"),
    "What the subscription of an account costs per month, by plans in the limits file, in the currency given there.",
)
PLAN_VALUE = gauge(
    "cliproxy_plan_value_usd",
    CredentialLabels._fields,
    "What the use of an account with a plan is worth at API prices in this calendar month. Compare it with the price.",
)
POOL_ACCOUNTS = gauge(
    "cliproxy_pool_accounts",
    (*PoolKey._fields, "state"),
    "Accounts of a provider at a proxy, each in one state. exhausted: a window for all its use, or each of its windows"
    " for single models, is used up; cooling: the proxy does not use it for another reason; usable: something is left;"
    " unknown: the proxy would use it, but none of its windows is known. API keys and disabled accounts do not count.",
)
POOL_NEXT_BACK = gauge(
    "cliproxy_pool_next_back_timestamp_seconds",
    PoolKey._fields,
    "When the first of the exhausted and cooling accounts works again. Absent if there is none, or if that is unknown.",
)
POOL_EMPTY = gauge(
    "cliproxy_pool_empty_timestamp_seconds",
    PoolKey._fields,
    "When no account of a provider will work any more if use continues at the pace of the windows so far, resets"
    " included; now if none works. Absent if that is more than a day away, or while an account is unknown.",
)


@filling(
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
    *CAPACITY,
)
def limit_families(board: LimitBoard) -> Samples:
    """All limits as of the last look. What is unknown about a window is left out."""
    for window in board.current.windows:
        labels = {label: getattr(window, label) for label in LIMIT_LABELS}
        yield LIMIT_USED_RATIO(window.used_ratio, **labels)
        yield LIMIT_USED(window.used, **labels)
        yield LIMIT_BUDGET(window.budget, **labels)
        yield LIMIT_THRESHOLD(window.thresholds.warning, **labels, severity="warning")
        yield LIMIT_THRESHOLD(window.thresholds.critical, **labels, severity="critical")
        yield LIMIT_START.at(window.start_ms, **labels)
        yield LIMIT_RESET.at(window.reset_ms, **labels)
        yield LIMIT_OBSERVED.at(window.observed_ms, **labels)
        yield LIMIT_INFERRED(1 if window.inferred else None, **labels)
        yield LIMIT_SOURCE(1 if window.source else None, **labels, source=window.source)
    for counted, number in board.current.early_resets.items():
        yield LIMIT_EARLY_RESETS(number, **counted._asdict())
    for counted, worth in board.current.worth.items():
        labels = counted._asdict() | {"limit": counted.window, "kind": PROVIDER, "unit": worth.unit}
        for family, capacity in ((LIMIT_CAPACITY_USD, worth.usd), (LIMIT_CAPACITY_TOKENS, worth.tokens)):
            for bound, value in capacity._asdict().items() if capacity is not None else ():
                yield family(value, **labels, bound=bound)
        for change, number in worth.changes._asdict().items():
            yield LIMIT_CAPACITY_CHANGES(number, **counted._asdict(), change=change)


@filling(PLAN_PRICE, PLAN_VALUE)
def plan_families(board: LimitBoard) -> Samples:
    """Price and value of the subscriptions among the accounts that the proxies list."""
    for key, found in board.current.plans.items():
        yield PLAN_PRICE(found.plan.price_per_month / 1e9, **key._asdict(), currency=found.plan.currency)
        yield PLAN_VALUE(found.nano_usd / 1e9, **key._asdict())


@filling(POOL_ACCOUNTS, POOL_NEXT_BACK, POOL_EMPTY)
def pool_families(board: LimitBoard) -> Samples:
    for key, pool in board.current.pools.items():
        for state in STATES:
            yield POOL_ACCOUNTS(pool.accounts[state], **key._asdict(), state=state)
        yield POOL_NEXT_BACK.at(pool.next_back_ms, **key._asdict())
        yield POOL_EMPTY.at(pool.empty_ms, **key._asdict())
