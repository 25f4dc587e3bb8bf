"""The one form in which both kinds of limits reach metrics, page and command line."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

CONFIGURED, PROVIDER = "configured", "provider"
SHARE, USD = "share", "usd"

LIMIT_LABELS = ("proxy", "limit", "kind", "provider", "credential", "scope", "window", "unit")
"""The fields that identify a ``LimitWindow``: the labels of its metrics."""

_LEAST_ELAPSED = 0.02
"""Share of a window that must have passed before its pace means anything."""


Level = Literal["", "warning", "critical"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The used shares at which a limit becomes a warning, and critical."""

    warning: float = 0.8
    critical: float = 0.95


DEFAULT_THRESHOLDS = Thresholds()


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

    ``limit`` is a configured limit's id, or a provider's name of its window; ``kind`` is ``configured`` or
    ``provider``. ``proxy``, ``provider``, ``credential`` (shown labels) and ``scope`` are empty for "all"; a limit from
    Supabase may name a provider although it counts usage of all.
    ``used`` and ``budget`` are in ``unit`` (``tokens``, ``requests``, ``usd``), None for ``share``. A rolling window
    has no ``reset_ms``; a session that is not open, and a provider's window that has not started or outlives its
    announced reset, have neither start nor reset. ``inferred``: the share was inferred from a refusal. ``source`` of a
    provider's window is ``header``, ``signal`` or ``active``. Times are ms since the epoch.
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

    @property
    def labels(self) -> tuple[str, ...]:
        """The values of ``LIMIT_LABELS``."""
        return tuple(getattr(self, label) for label in LIMIT_LABELS)

    @property
    def level(self) -> Level:
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
        return None if elapsed is None or elapsed < _LEAST_ELAPSED else self.used_ratio / elapsed

    def exhausted_ms(self, now_ms: int) -> int | None:
        """When the budget runs out at this pace; None if that is not before the reset."""
        pace = self.pace(now_ms)
        if self.start_ms is None or self.reset_ms is None or pace is None or pace <= 1:
            return None
        if self.used_ratio >= 1:
            return now_ms
        return self.start_ms + round((self.reset_ms - self.start_ms) / pace)
