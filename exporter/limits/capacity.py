"""What 100 % of a provider's window is worth, from its readings and the use between them.

A reading is a share in whole percents, so a pair of readings bounds the capacity from both sides: the use divided by
the rise plus a percent, and by the rise minus a percent. The largest lower bound always holds, because use that
bypasses the proxy raises the share without being booked: it makes a capacity look smaller, never larger. The smallest
upper bound holds only without such use. If the two contradict each other, there was some, and it widens the interval.

A reading becomes a point with the use booked before it, once all of that must have arrived. Use older than an hour is
summed once; newer use is summed again at each look, every five minutes, because records may be late.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import NamedTuple

from exporter.ledger.ledger import Ledger
from exporter.ledger.store.quota_points import LONGEST_MS, CapacityChanges, QuotaKey, QuotaPoint
from exporter.ledger.views.limit_windows import WindowSums, sums_between, sums_under_way
from exporter.limits.model import SHARE
from exporter.quotas.all_providers import provider_of
from exporter.quotas.reading import SAME_RESET_MS

_STEP = 0.01
"""Readings are rounded to this, one way or the other."""
_LEAST_RISE = 0.05 - 1e-9
"""A smaller rise says little about the capacity, and much about rounding."""
_LEAST_PROOF = 0.3
_LEAST_STRETCHES = 5
"""A change is confirmed by at least this rise, in this many stretches that do not overlap."""
_CHANGE = 0.9
_AGREEMENT = 1.1
"""The value at API prices is not quite what the provider counts, so the bounds may cross by this factor."""

_EVERY_MS = _READ_MS = 300_000
_SETTLED_MS = 3_600_000
_NANO = 1e9


class Point(NamedTuple):
    """A reading with the use that was booked before it.

    ``before`` counts from a moment that all points share. ``unclear`` is the part that was in progress, so that it is
    unknown whether the provider had counted it.
    """

    at_ms: int
    used_ratio: float
    resets_ms: int
    before: float
    unclear: float = 0.0


class Capacity(NamedTuple):
    """What a whole window holds, in the unit of the points' use. The truth is between ``low`` and ``high``."""

    estimate: float
    low: float
    high: float


class Change(NamedTuple):
    """The capacity changed: it differs from ``since_ms`` on."""

    since_ms: int
    shrank: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one or several windows say about their capacity: the bounds of their pairs, and the sums.

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

    def is_below(self, other: "Evidence") -> bool:
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


def evidence_of(points: Iterable[Point]) -> list[Evidence]:
    """The evidence of each window, in order, without windows in which the share hardly rose."""
    return [found for window in _windows(points) if (found := _of_window(window)) is not None]


def capacity_of(evidence: Sequence[Evidence]) -> Capacity | None:
    """The capacity by all windows; None if they do not determine one."""
    total = _sum(evidence) if evidence else None
    return total.capacity() if total is not None and total.low > 0 else None


def change_in(evidence: Iterable[Evidence], *, now_ms: int) -> Change | None:
    """The latest change of the capacity that at least one whole window confirms; None if there is none.

    A change is confirmed if the latest ended windows agree on it and every consistent window before them rules it out.
    If more than half of those are inconsistent, the value at API prices is too poor a measure.
    """
    ended = [each for each in evidence if each.resets_ms <= now_ms]
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


def _sum(evidence: Sequence[Evidence]) -> Evidence:
    """The evidence of successive windows together."""
    highest = max(evidence, key=lambda each: each.low)
    return Evidence(
        first_ms=evidence[0].first_ms,
        resets_ms=evidence[-1].resets_ms,
        low=highest.low,
        best=highest.best,
        high=min(each.high for each in evidence),
        used=sum(each.used for each in evidence),
        risen=sum(each.risen for each in evidence),
        stretches=sum(each.stretches for each in evidence),
    )


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


def _of_window(points: Sequence[Point]) -> Evidence | None:
    first, last = points[0], points[-1]
    low, best, high = 0.0, 0.0, math.inf
    for start, end in combinations(points, 2):
        rise = end.used_ratio - start.used_ratio
        if rise < _LEAST_RISE:
            continue
        used = end.before - start.before
        lowest, highest = (used - end.unclear) / (rise + _STEP), (used + start.unclear) / (rise - _STEP)
        low, best = max((low, best), (max(0.0, lowest), highest))
        high = min(high, highest)
    if high == math.inf:
        return None
    return Evidence(
        first_ms=first.at_ms,
        resets_ms=last.resets_ms,
        low=low,
        best=best,
        high=high,
        used=last.before - first.before,
        risen=last.used_ratio - first.used_ratio,
        stretches=_stretches(points),
    )


def _stretches(points: Sequence[Point]) -> int:
    number, start = 0, points[0]
    for _, end in pairwise(points):
        if end.used_ratio - start.used_ratio >= _LEAST_RISE:
            number, start = number + 1, end
    return number


# --- over the ledger --------------------------------------------------------------------------------------------------


class WindowWorth(NamedTuple):
    """What 100 % of a window is worth at API prices, and in tokens; None if unknown. ``unit`` is the window's own."""

    usd: Capacity | None
    tokens: Capacity | None
    changes: CapacityChanges
    unit: str = SHARE


_Amounts = tuple[float, float]
"""Tokens and USD."""


class CapacityWatch:
    """What each window is worth, and whether its capacity changed: keeps ``current`` up to date.

    For one thread at a time.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.current: Mapping[QuotaKey, WindowWorth] = {}
        self._ledger = ledger
        self._looked_ms: int | None = None
        self._settled: dict[tuple[QuotaKey, int, int], tuple[_Amounts, _Amounts]] = {}
        self._untold: dict[QuotaKey, Change] = {}
        """Changes that are counted, but that no look has returned yet, because one failed after counting them."""

    def look(self, now_ms: int) -> Mapping[QuotaKey, Change]:
        """Take in new readings and late records, and return the changes that they reveal. Raises LedgerError."""
        if self._looked_ms is not None and abs(now_ms - self._looked_ms) < _EVERY_MS:
            return {}
        known = self._ledger.quota_points.points(from_ms=now_ms - LONGEST_MS, until_ms=now_ms - _READ_MS)
        worth: dict[QuotaKey, tuple[Capacity | None, Capacity | None]] = {}
        for key, points in self._points(known, now_ms).items():
            tokens, usd = map(evidence_of, points)
            change = change_in(usd, now_ms=now_ms)
            if change is not None:
                self._ledger.quota_points.note_change(key, **change._asdict())
                self._untold[key] = change
                tokens, usd = ([each for each in some if each.first_ms >= change.since_ms] for some in (tokens, usd))
            worth[key] = capacity_of(usd), capacity_of(tokens)
        changes = self._ledger.quota_points.changes()
        self.current = {
            key: WindowWorth(*worth.get(key, (None, None)), changes.get(key, CapacityChanges()))
            for key in worth.keys() | changes.keys()
        }
        self._looked_ms = now_ms
        untold, self._untold = self._untold, {}
        return untold

    def _points(
        self, known: Mapping[QuotaKey, Sequence[QuotaPoint]], now_ms: int
    ) -> dict[QuotaKey, tuple[list[Point], list[Point]]]:
        """The points of each window by tokens, and by USD."""
        members = self._members(known)
        settled: dict[tuple[QuotaKey, int, int], tuple[_Amounts, _Amounts]] = {}
        found: dict[QuotaKey, tuple[list[Point], list[Point]]] = {}
        with self._ledger.reading() as connection:
            for key, readings in known.items():
                found[key] = [], []
                start_ms, before = readings[0].observed_ms, [0.0, 0.0]
                for at_ms, used_ratio, resets_ms in readings:
                    use = booked, unclear = self._settled.get((key, start_ms, at_ms)) or (
                        _added(sums_between(connection, start_ms, at_ms), members[key]),
                        _added(sums_under_way(connection, at_ms), members[key]),
                    )
                    for unit, points in enumerate(found[key]):
                        before[unit] += booked[unit]
                        points.append(Point(at_ms, used_ratio, resets_ms, before[unit], unclear[unit]))
                    if at_ms < now_ms - _SETTLED_MS:
                        settled[key, start_ms, at_ms] = use
                    start_ms = at_ms
        self._settled = settled
        return found

    def _members(self, keys: Iterable[QuotaKey]) -> dict[QuotaKey, set[int]]:
        """The label sets whose use counts in each window."""
        name_store = self._ledger.name_store
        own: defaultdict[int, list[tuple[int, str, str]]] = defaultdict(list)
        for id_, series in list(name_store.series.items()):
            with suppress(KeyError):  # a rollback is taking it back
                account, route = name_store.resolved(series.credential), name_store.routes[series.route]
                own[account.id].append((id_, account.provider or route.provider, route.model))
        return {
            key: {id_ for id_, provider, model in own[key[0]] if provider_of(provider).counts(model, key[2])}
            for key in keys
        }


def _added(sums: WindowSums, members: set[int]) -> _Amounts:
    some = [sums[id_] for id_ in members & sums.keys()]
    return float(sum(tokens for _, tokens, _ in some)), sum(nano_usd for _, _, nano_usd in some) / _NANO
