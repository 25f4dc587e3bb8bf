"""What a limit is: the user's budget and which usage counts against it.

A ``LimitWindow`` is the one form in which both kinds of limits reach metrics, page and command line. Pure.
"""

import re
from dataclasses import dataclass, field
from datetime import tzinfo
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Literal, NamedTuple

from exporter.ledger.labels import SeriesLabels
from exporter.limits.strategies import CALENDAR, Strategy, calendar_window
from exporter.quotas.values import length_name

CONFIGURED, PROVIDER = "configured", "provider"
SHARE = "share"

LIMIT_LABELS = ("proxy", "limit", "kind", "provider", "credential", "scope", "window", "unit")
"""The fields that identify a ``LimitWindow``: the labels of its metrics."""

LEAST_ELAPSED = 0.02
"""Share of a window that must have passed before its pace means anything."""


class Per(StrEnum):
    """What has a window of its own."""

    CREDENTIAL = "credential"
    CLIENT = "client"
    MODEL = "model"


class Unit(StrEnum):
    """What a budget counts. Tokens are input (with cache), output and unclassified ones."""

    TOKENS = "tokens"
    REQUESTS = "requests"
    USD = "usd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The used shares at which a limit becomes a warning, and critical."""

    warning: float = 0.8
    critical: float = 0.95


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One limit. Empty texts match everything.

    ``provider`` matches the exact name, in any case; ``proxy``, ``credential``, ``client`` and ``models`` (any of them)
    an exact name or glob. ``model_pattern`` is a pattern of the predecessor: anywhere in the name, in any case, with
    ``%`` and ``_`` as wildcards. ``window_ms`` is the length of a rolling window or session, else None. Budgets are in
    the order of ``Unit``, those in USD in nano-USD. ``anchor_ms`` is a manual reset in the configuration, ms since the
    epoch.

    ``config_id`` is the limit's row of ``rate_limit_configs`` in Supabase, None for other limits. ``shown_provider`` is
    shown if ``provider`` is empty.
    """

    id: str
    name: str
    strategy: Strategy
    zone: tzinfo
    budgets: tuple[tuple[Unit, int], ...]
    window_ms: int | None = None
    provider: str = ""
    proxy: str = ""
    credential: str = ""
    client: str = ""
    models: tuple[str, ...] = ()
    model_pattern: str = ""
    per: Per | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)
    anchor_ms: int | None = None
    config_id: int | None = None
    shown_provider: str = ""

    def matches(self, usage: SeriesLabels, credential_in_history: str = "") -> bool:
        """Whether usage with these labels counts against the limit.

        ``credential_in_history`` is the credential's long name, which older limits may use.
        """
        return (
            (not self.provider or self.provider.lower() == usage.provider.lower())
            and is_like(self.proxy, usage.proxy)
            and (is_like(self.credential, usage.credential) or self.credential == credential_in_history)
            and is_like(self.client, usage.client)
            and (not self.models or any(is_like(model.lower(), usage.model.lower()) for model in self.models))
            and (not self.model_pattern or self._found_by.search(usage.model) is not None)
        )

    @cached_property
    def _found_by(self) -> re.Pattern[str]:
        wildcards = {"%": ".*", "_": "."}
        parts = re.findall(r"\\(.)|([^\\])", self.model_pattern, re.DOTALL)  # a backslash escapes the next character
        text = "".join(wildcards.get(other) or re.escape(escaped or other) for escaped, other in parts)
        return re.compile(text, re.IGNORECASE | re.DOTALL)

    @property
    def window(self) -> str:
        """The window's name in metrics: ``day``, ``week``, ``month``, or its length."""
        return CALENDAR[self.strategy].name if self.window_ms is None else length_name(self.window_ms // 1000)

    def length_ms(self, now_ms: int) -> int:
        """The length of the window that is open at ``now_ms``."""
        if self.window_ms is not None:
            return self.window_ms
        start_ms, end_ms = calendar_window(self.strategy, now_ms, self.zone)
        return end_ms - start_ms


def is_like(wanted: str, name: str) -> bool:
    """Whether a name matches the wanted name or glob; an empty one matches all."""
    # The exact name first: a model may be called "a[1m]", which as a glob would be something else.
    return not wanted or wanted == name or fnmatchcase(name, wanted)


# --- windows ----------------------------------------------------------------------------------------------------------


class ProviderWindow(NamedTuple):
    """A window of a provider: the labels of its counters, by name."""

    proxy: str
    provider: str
    credential: str
    scope: str
    window: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitWindow:
    """The current window of a limit in one unit.

    ``limit`` is a configured limit's id, or a provider's name for its window; ``kind`` is ``configured`` or
    ``provider``. ``proxy``, ``provider``, ``credential`` (shown names) and ``scope`` are empty for "all"; a limit from
    Supabase may name a provider although it counts usage of all.
    ``used`` and ``budget`` are in ``unit`` (``tokens``, ``requests``, ``usd``), None for ``share``. A rolling window
    has no ``reset_ms``; a session that is not open, and a provider's window that has not started or outlives its
    announced reset, have neither start nor reset. ``inferred``: the share was inferred from a refusal. ``source`` of a
    provider's window is ``header``, ``signal`` or ``active``. ``allows_more``: requests pass although it is used up,
    because they are paid as extra usage. ``has_ended``: it is over, so nothing of it is used, and it begins with the
    next use. Times are ms since the epoch.
    """

    proxy: str
    limit: str
    kind: str
    provider: str
    credential: str
    scope: str
    window: str
    unit: str
    used_ratio: float
    thresholds: Thresholds
    observed_ms: int
    used: float | None = None
    budget: float | None = None
    start_ms: int | None = None
    reset_ms: int | None = None
    name: str = ""
    inferred: bool = False
    source: str = ""
    allows_more: bool = False
    has_ended: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(getattr(self, label) for label in LIMIT_LABELS)

    @property
    def level(self) -> Literal["", "warning", "critical"]:
        """The threshold that is reached; empty if none is."""
        if self.used_ratio >= self.thresholds.critical:
            return "critical"
        return "warning" if self.used_ratio >= self.thresholds.warning else ""

    def elapsed_share(self, now_ms: int) -> float | None:
        """How much of the window has passed, 0 to 1; None where it has no end."""
        if self.start_ms is None or self.reset_ms is None or self.reset_ms <= self.start_ms:
            return None
        return min(1.0, max(0.0, (now_ms - self.start_ms) / (self.reset_ms - self.start_ms)))

    def pace(self, now_ms: int) -> float | None:
        """Used share over elapsed share: above 1 it runs out before it resets. None if it is too early to say."""
        elapsed = self.elapsed_share(now_ms)
        return None if elapsed is None or elapsed < LEAST_ELAPSED else self.used_ratio / elapsed

    def exhausted_ms(self, now_ms: int) -> int | None:
        """When the budget runs out at this pace; None if that is not before the reset, or it is used up."""
        pace = self.pace(now_ms)
        if self.start_ms is None or self.reset_ms is None or pace is None or pace <= 1 or self.used_ratio >= 1:
            return None
        return self.start_ms + round((self.reset_ms - self.start_ms) / pace)
