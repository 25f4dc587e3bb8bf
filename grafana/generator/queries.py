"""PromQL that more than one panel needs.

The queries use only the exporter's own metrics and no recording rules, so the dashboards work with any Prometheus.
"""

from collections.abc import Callable

ROUTE = 'proxy=~"$proxy",provider=~"$provider",model=~"$model"'
"""Selects by the variables in metrics that have neither credential nor client."""
ATTEMPT = f'{ROUTE},credential=~"$credential"'
ACCOUNT = 'proxy=~"$proxy",provider=~"$provider",credential=~"$credential"'
"""The same for metrics of accounts, which have no model."""
SERIES = f'{ATTEMPT},client=~"$client"'
_GLOB = r".*[*?\\[].*"
LIMIT = f'proxy=~"$proxy|{_GLOB}|",provider=~"$provider|",credential=~"$credential|{_GLOB}|"'
"""The same for limits. A limit without one of these labels holds for all of its values, one with a glob for some; both
are shown whatever is selected."""

LIMIT_LABELS = ("proxy", "limit", "kind", "provider", "credential", "scope", "window", "unit")
_MAY_BE_EMPTY = ("proxy", "provider", "credential", "scope")
LEAST_ELAPSED = 0.02
"""The share of a window that must have passed before a forecast says anything; as on the status page."""

ANY_EXPORTER = "group(cliproxy_exporter_build_info)"
FIRING = 'ALERTS{alertstate="firing",alertname=~"(?i:cliproxy).+",alertname!~"(?i:.*watchdog)"}'


def rate(metric: str, selector: str, *by: str, offset: str = "") -> str:
    """The sum of the rates per second, for each value of ``by``."""
    moved = f" offset {offset}" if offset else ""
    return f"{_sum(*by)}(rate({metric}{{{selector}}}[$__rate_interval]{moved}))"


def increase(metric: str, selector: str, *by: str) -> str:
    """What was added in the time range that the dashboard shows."""
    return f"{_sum(*by)}(increase({metric}{{{selector}}}[$__range]))"


def _sum(*by: str) -> str:
    return f"sum by ({', '.join(by)}) " if by else "sum"


def or_zero(expr: str, *, if_there_is: str) -> str:
    """``expr``, or 0 if it gives nothing where ``if_there_is`` gives something: what is not known is not 0."""
    return f"({expr} or 0 * {if_there_is})"


def all_tokens(of: Callable[..., str], *by: str) -> str:
    """All tokens, as ``of`` (``rate`` or ``increase``) counts them. An imported past has no unclassified ones."""
    kinds = ("input", "output", "unclassified")
    read, written, other = (of(f"cliproxy_{kind}_tokens_total", SERIES, *by) for kind in kinds)
    return f"({read} + {written} + {or_zero(other, if_there_is=read)})"


def share(part: str, whole: str) -> str:
    """``part`` / ``whole`` where there is a whole; no part is a share of 0."""
    return f"{or_zero(part, if_there_is=whole)} / ({whole} > 0)"


# --- limits -----------------------------------------------------------------------------------------------------------


def limit(metric: str, more: str = "") -> str:
    """A metric of the limits, by the variables and ``more`` matchers."""
    return f"cliproxy_limit_{metric}{{{LIMIT}{',' + more if more else ''}}}"


USED = limit("used_ratio")
_START = limit("window_start_timestamp_seconds")
_RESET = limit("reset_timestamp_seconds")
_ELAPSED = f"((time() - {_START}) / ({_RESET} - {_START}) > {LEAST_ELAPSED})"

RESETS_IN = f"{_RESET} - time()"
PACE = f"{USED} / {_ELAPSED}"
_LASTS = f"(time() - {_START}) * (1 - {USED}) / {USED} < ({_RESET} - time()) and {_ELAPSED}"
RUNS_OUT_IN = f"0 * ({USED} >= 1) or {_LASTS}"
"""Seconds until nothing is left if use goes on as in this window so far; only if that is before the limit's reset.

Once a time t of a window has passed and the share u is used, the rest lasts t * (1 - u) / u.
"""
LEVEL = f"sum without (severity) ({USED} >= bool ignoring (severity) group_right () {limit('threshold_ratio')})"
"""How many thresholds are reached: 0 fine, 1 warning, 2 critical."""


def reached(severity: str) -> str:
    """The limits that have reached their threshold of this severity."""
    threshold = limit("threshold_ratio", f'severity="{severity}"')
    return f"{USED} >= ignoring (severity) group_right () {threshold}"


def per_limit(expr: str) -> str:
    """One value for each limit of each exporter. Each metric has the same labels, so that a table can join them.

    Several exporters may have limits of the same name, each with its own window, and two sites may give exporters the
    same instance, so every label of a target stays. An empty label becomes ``all``.
    """
    expr = f"max without (job, bound) ({expr})"
    for label in _MAY_BE_EMPTY:
        expr = f'label_replace({expr}, "{label}", "all", "{label}", "")'
    return expr


def named(expr: str, *labels: str) -> str:
    """One value for each limit, with a label ``name`` that joins these labels, some of which may be empty."""
    return joined_labels(f"max by ({', '.join(LIMIT_LABELS)}) ({expr})", "name", *labels)


def joined_labels(expr: str, into: str, *labels: str) -> str:
    """Each series with one more label, ``into``: the values of ``labels`` with a space between them."""
    quoted = ", ".join(f'"{label}"' for label in labels)
    return f'label_join({expr}, "{into}", " ", {quoted})'
