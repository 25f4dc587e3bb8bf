"""What each window of a provider is worth, and whether its capacity changed, over the ledger.

A reading becomes a point with the use booked before it, once that must have been read. Use older than an hour is summed
once; newer use is summed again at each look, every five minutes, because records may be late.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import structlog

from exporter.ledger.label_store import Route
from exporter.ledger.labels import Labels
from exporter.ledger.ledger import Ledger
from exporter.ledger.views.quota_points import LONGEST_MS, CapacityChanges, QuotaKey, QuotaPoint
from exporter.ledger.views.usage_sums import WindowSums, sums_between, sums_under_way
from exporter.limits.capacity import Capacity, Point, capacity_of, change_in
from exporter.quotas.providers import PROVIDERS

_log = structlog.get_logger("exporter.limits")

_EVERY_MS = _READ_MS = 300_000
_SETTLED_MS = 3_600_000
_NANO = 1e9


@dataclass(frozen=True, slots=True)
class WindowWorth:
    """What 100 % of a window is worth at API prices, and in tokens; None if unknown."""

    usd: Capacity | None
    tokens: Capacity | None
    changes: CapacityChanges


@dataclass(frozen=True, slots=True)
class _Use:
    """Tokens and USD: booked since the point before, and in progress at the point."""

    booked: tuple[float, float]
    unclear: tuple[float, float]


class CapacityWatch:
    """Keeps ``current`` up to date. For one thread at a time."""

    def __init__(self, ledger: Ledger, labels: Labels) -> None:
        self.current: Mapping[QuotaKey, WindowWorth] = {}
        self._ledger = ledger
        self._labels = labels
        self._looked_ms: int | None = None
        self._settled: dict[tuple[QuotaKey, int, int], _Use] = {}

    def look(self, now_ms: int) -> None:
        """Take in new readings and late records. Raises LedgerError."""
        if self._looked_ms is not None and abs(now_ms - self._looked_ms) < _EVERY_MS:
            return
        points = self._ledger.quotas.points.points(from_ms=now_ms - LONGEST_MS, until_ms=now_ms - _READ_MS)
        used = self._used(points, now_ms)
        worth: dict[QuotaKey, tuple[Capacity | None, Capacity | None]] = {}
        for key, known in points.items():
            tokens, usd = (_points(known, used[key], unit) for unit in (0, 1))
            change = change_in(usd, now_ms=now_ms)
            if change is not None:
                self._ledger.quotas.points.note_change(key, since_ms=change.since_ms, shrank=change.shrank)
                account = self._labels.credential(key[0])
                _log.warning(
                    "limit_capacity_changed", credential=account, window=key[1], scope=key[2], shrank=change.shrank
                )
                tokens, usd = ([each for each in some if each.at_ms >= change.since_ms] for some in (tokens, usd))
            worth[key] = capacity_of(usd), capacity_of(tokens)
        changes = self._ledger.quotas.points.changes()
        self.current = {
            key: WindowWorth(*worth.get(key, (None, None)), changes.get(key, CapacityChanges()))
            for key in worth.keys() | changes.keys()
        }
        self._looked_ms = now_ms

    def _used(self, points: Mapping[QuotaKey, Sequence[QuotaPoint]], now_ms: int) -> dict[QuotaKey, list[_Use]]:
        members = self._members(points)
        settled: dict[tuple[QuotaKey, int, int], _Use] = {}
        used: dict[QuotaKey, list[_Use]] = {}
        with self._ledger.reading() as connection:
            for key, some in points.items():
                used[key] = []
                start_ms = some[0].observed_ms
                for at_ms, _, _ in some:
                    use = self._settled.get((key, start_ms, at_ms)) or _Use(
                        _added(sums_between(connection, start_ms, at_ms), members[key]),
                        _added(sums_under_way(connection, at_ms), members[key]),
                    )
                    used[key].append(use)
                    if at_ms < now_ms - _SETTLED_MS:
                        settled[key, start_ms, at_ms] = use
                    start_ms = at_ms
        self._settled = settled
        return used

    def _members(self, keys: Iterable[QuotaKey]) -> dict[QuotaKey, set[int]]:
        """The label sets whose use counts in each window."""
        dictionary = self._ledger.dictionary
        by_credential: defaultdict[int, list[tuple[int, Route]]] = defaultdict(list)
        for id_, series in list(dictionary.series.items()):
            by_credential[dictionary.resolved(series.credential).id].append((id_, dictionary.routes[series.route]))
        return {key: {id_ for id_, route in by_credential[key[0]] if _counts(route, scope=key[2])} for key in keys}


def _counts(route: Route, *, scope: str) -> bool:
    provider = PROVIDERS.get(route.provider)
    return provider is None or provider.counts(route.model, scope)


def _added(sums: WindowSums, members: set[int]) -> tuple[float, float]:
    some = [sums[id_] for id_ in members & sums.keys()]
    return float(sum(tokens for _, tokens, _ in some)), sum(nano_usd for _, _, nano_usd in some) / _NANO


def _points(known: Sequence[QuotaPoint], used: Sequence[_Use], unit: int) -> list[Point]:
    before = accumulate(use.booked[unit] for use in used)
    return [
        Point(point.observed_ms, point.used_ratio, point.resets_ms, booked, use.unclear[unit])
        for point, use, booked in zip(known, used, before, strict=True)
    ]
