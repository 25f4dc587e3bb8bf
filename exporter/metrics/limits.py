"""The limits: budgets of one's own, and the windows that providers report."""

from prometheus_client import Metric

from exporter.limits.board import LimitBoard
from exporter.limits.windows import LIMIT_LABELS, ProviderWindow
from exporter.metrics.family import counter, gauge, samples_of

LIMIT_USED_RATIO = gauge(
    "cliproxy_limit_used_ratio",
    LIMIT_LABELS,
    "Used share of a limit in its current window; may exceed 1. kind: configured is a budget of your own,"
    " provider a window that the provider itself reports. An empty label is all of them.",
)
LIMIT_USED = gauge(
    "cliproxy_limit_used",
    LIMIT_LABELS,
    "What was used of a limit in its current window, in its unit. Absent where a provider tells the share alone.",
)
LIMIT_BUDGET = gauge(
    "cliproxy_limit_budget",
    LIMIT_LABELS,
    "The budget of a limit, in its unit: of a configured one, or of a cap on money that a provider reports.",
)
LIMIT_THRESHOLD = gauge(
    "cliproxy_limit_threshold_ratio",
    (*LIMIT_LABELS, "severity"),
    "Used share from which on a limit is a warning, and from which on it is critical.",
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
    "1 where a provider refused a request without telling the used share, which is then taken as 1. Absent elsewhere.",
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


def limit_families(board: LimitBoard) -> list[Metric]:
    """All limits as they were at the last look. What is not known of a window is absent."""
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
        for moment, at_ms in ((start, window.start_ms), (reset, window.reset_ms), (observed, window.observed_ms)):
            moment.add(None if at_ms is None else at_ms / 1000, **labels)
        inferred.add(1 if window.inferred else None, **labels)
        source.add(1 if window.source else None, **labels, source=window.source)
    for counted, number in board.current.early_resets.items():
        early.add(number, **counted._asdict())
    return [*made]
