"""What 100 % of a provider's window is worth, from readings and the use that was booked between them. Pure.

A reading is a share in whole percents, so a pair of readings bounds the capacity from both sides: the use divided by
the rise plus a percent, and by the rise minus a percent. The largest lower bound always holds, because use that
bypasses the proxy raises the share without being booked: it makes a capacity look smaller, never larger. The smallest
upper bound holds only without such use. If the two contradict each other, there was some, and it widens the interval.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import add

from exporter.quotas.reading import SAME_RESET_MS

_STEP = 0.01
"""Readings are rounded to this, one way or the other."""
_LEAST_RISE = 0.05
"""A smaller rise says little about the capacity, and much about rounding."""
_LEAST_PROOF = 0.3
_LEAST_STRETCHES = 5
"""A change is confirmed by at least this rise, in this many stretches that do not overlap."""
_CHANGE = 0.9
_AGREEMENT = 1.1
"""The value at API prices is not quite what the provider counts, so the bounds may cross by this factor."""


@dataclass(frozen=True, slots=True)
class Point:
    """A reading with the use that was booked before it.

    ``before`` counts from a moment that all points share. ``unclear`` is the part that was in progress, so that it is
    unknown whether the provider had counted it.
    """

    at_ms: int
    used_ratio: float
    resets_ms: int
    before: float
    unclear: float = 0.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a whole window holds, in the unit of the points' use. The truth is between ``low`` and ``high``."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Change:
    """The capacity changed: it differs from ``since_ms`` on."""

    since_ms: int
    shrank: bool


@dataclass(frozen=True, slots=True)
class _Evidence:
    """The evidence of one or several windows: the bounds of their pairs, and the sums.

    ``best`` is the upper bound of the pair that ``low`` comes from. ``stretches`` are the pairs that do not overlap.
    """

    first_ms: int
    resets_ms: int
    low: float
    best: float
    high: float
    used: float
    risen: float
    stretches: int

    def __add__(self, other: "_Evidence") -> "_Evidence":
        highest = max(self, other, key=lambda each: each.low)
        return _Evidence(
            first_ms=min(self.first_ms, other.first_ms),
            resets_ms=max(self.resets_ms, other.resets_ms),
            low=highest.low,
            best=highest.best,
            high=min(self.high, other.high),
            used=self.used + other.used,
            risen=self.risen + other.risen,
            stretches=self.stretches + other.stretches,
        )

    def capacity(self) -> Capacity:
        """The capacity. ``low`` must be above 0.

        If the mean is below the largest lower bound, some use bypassed the proxy. The rest is worth at least the mean,
        and even the cleanest stretch may hide as much bypassing use as there was on average.
        """
        mean = self.used / self.risen
        estimate = max(self.low, min(mean, self.high))
        low = self.low if mean >= self.low else min(self.low, self.used / (self.risen + _STEP))
        high = self.high if self.low <= self.high else self.best
        return Capacity(estimate, low, high * max(1.0, estimate / mean))

    def is_below(self, other: "_Evidence") -> bool:
        """Whether no capacity fits both, and this one's is clearly lower. Both must prove something."""
        apart = max(self.low, self.high) < min(other.low, other.high)
        return apart and self.capacity().estimate <= other.capacity().estimate * _CHANGE

    @property
    def is_enough(self) -> bool:
        """Whether the share rose by enough to prove anything."""
        return self.risen >= _LEAST_PROOF and self.stretches >= _LEAST_STRETCHES

    @property
    def proves(self) -> bool:
        """Whether it is enough and consistent. A window without booked use proves nothing."""
        return self.is_enough and 0 < self.low <= self.high * _AGREEMENT


def capacity_of(points: Iterable[Point]) -> Capacity | None:
    """The capacity by all points; None if they do not determine one."""
    evidence = _evidence(points)
    total = _sum(evidence) if evidence else None
    return total.capacity() if total is not None and total.low > 0 else None


def change_in(points: Iterable[Point], *, now_ms: int) -> Change | None:
    """The latest change of the capacity that at least one whole window confirms; None if there is none.

    A change is confirmed if the latest ended windows agree on it and every consistent window before them rules it out.
    If more than half of those are inconsistent, the value at API prices is too poor a measure.
    """
    ended = [each for each in _evidence(points) if each.resets_ms <= now_ms]
    for first in range(len(ended) - 1, 0, -1):
        after, before = _sum(ended[first:]), ended[:first]
        told = [each for each in before if each.is_enough] or [_sum(before)]
        known = [each for each in told if each.proves]
        if not after.proves or not known or len(known) < len(told) / 2:
            continue
        if all(after.is_below(old) for old in known):
            return Change(after.first_ms, shrank=True)
        if all(old.is_below(after) for old in known):
            return Change(after.first_ms, shrank=False)
    return None


def _sum(evidence: Sequence[_Evidence]) -> _Evidence:
    return reduce(add, evidence)


def _evidence(points: Iterable[Point]) -> list[_Evidence]:
    """The evidence of each window, in order, without windows in which the share hardly rose."""
    return [found for window in _windows(points) if (found := _of_window(window)) is not None]


def _windows(points: Iterable[Point]) -> list[list[Point]]:
    """The points of each window, in order. A fall of the share that is not mere rounding begins a new one."""
    windows: list[list[Point]] = []
    for point in sorted({each.at_ms: each for each in points}.values(), key=lambda each: each.at_ms):
        last = windows[-1][-1] if windows else None
        if (
            last is None
            or abs(point.resets_ms - last.resets_ms) > SAME_RESET_MS
            or last.used_ratio - point.used_ratio > _STEP + 1e-9
        ):
            windows.append([])
        windows[-1].append(point)
    return windows


def _of_window(points: Sequence[Point]) -> _Evidence | None:
    first, last = points[0], points[-1]
    pairs = [
        pair
        for place, end in enumerate(points)
        for start in points[:place]
        if (pair := _bounds(start, end)) is not None
    ]
    if not pairs:
        return None
    low, best = max(pairs)
    return _Evidence(
        first_ms=first.at_ms,
        resets_ms=last.resets_ms,
        low=low,
        best=best,
        high=min(high for _, high in pairs),
        used=last.before - first.before,
        risen=last.used_ratio - first.used_ratio,
        stretches=_stretches(points),
    )


def _bounds(start: Point, end: Point) -> tuple[float, float] | None:
    """The lowest and highest capacity that a pair allows; None if it is too close."""
    rise = end.used_ratio - start.used_ratio
    if rise < _LEAST_RISE - 1e-9:
        return None
    used = end.before - start.before
    return max(0.0, used - end.unclear) / (rise + _STEP), (used + start.unclear) / (rise - _STEP)


def _stretches(points: Sequence[Point]) -> int:
    number, start = 0, points[0]
    for _, end in pairwise(points):
        if _bounds(start, end) is not None:
            number, start = number + 1, end
    return number
