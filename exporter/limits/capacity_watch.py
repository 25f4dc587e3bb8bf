"""What each window of a provider is worth, and whether its capacity changed, over the ledger.

A reading becomes a point with the use booked before it, once that must have been read. Use older than an hour is summed
once; newer use is summed again at each look, every five minutes, because records may be late.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from exporter.ledger.label_store import Route
from exporter.ledger.labels import Labels
from exporter.ledger.ledger import Ledger
from exporter.ledger.views.quotas import LONGEST_MS, CapacityChanges, QuotaKey, QuotaPoint
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


_Amounts = tuple[float, float]
"""Tokens and USD."""


class CapacityWatch:
    """Keeps ``current`` up to date. For one thread at a time."""

    def __init__(self, ledger: Ledger, labels: Labels) -> None:
        self.current: Mapping[QuotaKey, WindowWorth] = {}
        self._ledger = ledger
        self._labels = labels
        self._looked_ms: int | None = None
        self._settled: dict[tuple[QuotaKey, int, int], tuple[_Amounts, _Amounts]] = {}

    def look(self, now_ms: int) -> None:
        """Take in new readings and late records. Raises LedgerError."""
        if self._looked_ms is not None and abs(now_ms - self._looked_ms) < _EVERY_MS:
            return
        known = self._ledger.quotas.points(from_ms=now_ms - LONGEST_MS, until_ms=now_ms - _READ_MS)
        worth: dict[QuotaKey, tuple[Capacity | None, Capacity | None]] = {}
        for key, points in self._points(known, now_ms).items():
            tokens, usd = points
            change = change_in(usd, now_ms=now_ms)
            if change is not None:
                self._ledger.quotas.note_change(key, since_ms=change.since_ms, shrank=change.shrank)
                account = self._labels.credential(key[0])
                _log.warning(
                    "limit_capacity_changed", credential=account, window=key[1], scope=key[2], shrank=change.shrank
                )
                tokens, usd = ([each for each in some if each.at_ms >= change.since_ms] for some in (tokens, usd))
            worth[key] = capacity_of(usd), capacity_of(tokens)
        changes = self._ledger.quotas.changes()
        self.current = {
            key: WindowWorth(*worth.get(key, (None, None)), changes.get(key, CapacityChanges()))
            for key in worth.keys() | changes.keys()
        }
        self._looked_ms = now_ms

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
        dictionary = self._ledger.dictionary
        by_credential: defaultdict[int, list[tuple[int, Route]]] = defaultdict(list)
        for id_, series in list(dictionary.series.items()):
            by_credential[dictionary.resolved(series.credential).id].append((id_, dictionary.routes[series.route]))
        return {key: {id_ for id_, route in by_credential[key[0]] if _counts(route, scope=key[2])} for key in keys}


def _counts(route: Route, *, scope: str) -> bool:
    provider = PROVIDERS.get(route.provider)
    return provider is None or provider.counts(route.model, scope)


def _added(sums: WindowSums, members: set[int]) -> _Amounts:
    some = [sums[id_] for id_ in members & sums.keys()]
    return float(sum(tokens for _, tokens, _ in some)), sum(nano_usd for _, _, nano_usd in some) / _NANO
