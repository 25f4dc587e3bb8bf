"""Configured limits over the ledger: which label sets count against which limit, and the use of each window.

There is one query for each distinct window, however many limits share it. Label sets are assigned again only when the
limits or the labels change.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from exporter.ledger.label_store import LabelStore
from exporter.ledger.labels import Labels, SeriesLabels
from exporter.ledger.views.usage_sums import WindowLook
from exporter.limits.model import Limit, Per, Unit
from exporter.limits.strategies import open_window
from exporter.limits.windows import CONFIGURED, LimitWindow

MOST_WINDOWS = 200
"""Most windows shown of one limit, the nearest to exhaustion: a limit per client may have thousands."""

_NANO = 1e9


@dataclass(frozen=True, slots=True)
class _Group:
    """A part of a limit with its own window: its key in the ledger, its labels, and its label sets."""

    key: str
    proxy: str
    provider: str
    credential: str
    scope: str
    series: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The use of a limit's current window, in all units, with or without a budget.

    ``start_ms`` and ``reset_ms`` as in ``LimitWindow``.
    """

    limit: Limit
    start_ms: int | None
    reset_ms: int | None
    requests: int
    tokens: int
    nano_usd: int

    def amount(self, unit: Unit) -> int:
        """The use in the unit of a budget."""
        return self.nano_usd if unit is Unit.USD else self.tokens if unit is Unit.TOKENS else self.requests


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The current windows of limits, and the use of the limits without ``per``, which have a single window."""

    windows: list[LimitWindow]
    measured: list[Measured]


class Evaluator:
    """Evaluates limits. For one thread at a time."""

    def __init__(self, dictionary: LabelStore, labels: Labels) -> None:
        self._dictionary = dictionary
        self._labels = labels
        self._version = (-1, -1)
        self._limits: tuple[Limit, ...] = ()
        self._groups: dict[str, list[_Group]] = {}

    def evaluate(
        self, limits: tuple[Limit, ...], look: WindowLook, anchors: Mapping[str, int], *, now_ms: int
    ) -> Evaluation:
        """The current windows of ``limits``, those of one limit by their use."""
        self._assign(limits)
        found = Evaluation([], [])
        for limit in limits:
            resets = (limit.anchor_ms, anchors.get(limit.id))
            anchor_ms = max((ms for ms in resets if ms is not None and ms <= now_ms), default=None)
            windows: list[LimitWindow] = []
            for group in self._groups[limit.id]:
                measured = _measure(limit, group, look, anchor_ms, now_ms)
                windows += _windows_of(measured, group, now_ms)
                if limit.per is None:
                    found.measured.append(measured)
            windows.sort(key=lambda window: -window.used_ratio)
            found.windows.extend(windows[: MOST_WINDOWS * len(limit.budgets)])
        return found

    def unmatched(self) -> list[Limit]:
        """Limits that no usage so far counts against. Empty while there is no usage at all."""
        if not self._dictionary.series:
            return []
        return [limit for limit in self._limits if not any(group.series for group in self._groups[limit.id])]

    def _assign(self, limits: tuple[Limit, ...]) -> None:
        version = (self._labels.version, len(self._dictionary.series))
        if version == self._version and limits == self._limits:
            return
        dictionary = self._dictionary
        usages = [
            (id_, self._labels.series(id_), dictionary.resolved(series.credential).label)
            for id_, series in list(dictionary.series.items())
        ]
        self._groups = {limit.id: self._groups_of(limit, usages) for limit in limits}
        self._limits = limits
        self._version = version

    def _groups_of(self, limit: Limit, usages: Sequence[tuple[int, SeriesLabels, str]]) -> list[_Group]:
        groups: dict[str, _Group] = {}
        if limit.per is None:
            groups[""] = _Group("", limit.proxy, limit.provider or limit.shown_provider, limit.credential, "")
        for id_, usage, credential_in_history in usages:
            if limit.matches(usage, credential_in_history):
                group = self._group(limit, id_, usage)
                groups.setdefault(group.key, group).series.add(id_)
        return list(groups.values())

    def _group(self, limit: Limit, series: int, usage: SeriesLabels) -> _Group:
        """An empty group. Its key has ids, which never change, so that a new alias keeps the sessions."""
        known = self._dictionary.series[series]
        if limit.per is Per.CREDENTIAL:
            account = self._dictionary.resolved(known.credential)
            provider = account.provider or usage.provider
            return _Group(f"credential:{account.id}", usage.proxy, provider, usage.credential, "")
        if limit.per is Per.CLIENT:
            return _Group(f"client:{known.client}", limit.proxy, limit.provider, limit.credential, usage.client)
        key = f"model:{usage.model}" if limit.per is Per.MODEL else ""
        return _Group(key, limit.proxy, limit.provider, limit.credential, usage.model)


def _measure(limit: Limit, group: _Group, look: WindowLook, anchor_ms: int | None, now_ms: int) -> Measured:
    start_ms, reset_ms = open_window(
        limit.strategy,
        now_ms,
        zone=limit.zone,
        length_ms=limit.window_ms,
        session_start=lambda length_ms: look.session_start(
            (limit.id, group.key), length_ms=length_ms, series=group.series, now_ms=now_ms
        ),
    )
    if start_ms is not None and anchor_ms is not None and anchor_ms > start_ms:
        start_ms = anchor_ms
    sums = {} if start_ms is None else look.sums(start_ms, reset_ms)
    used = [sums[id_] for id_ in group.series & sums.keys()]
    requests, tokens, nano_usd = map(sum, zip((0, 0, 0), *used, strict=True))
    return Measured(
        limit=limit, start_ms=start_ms, reset_ms=reset_ms, requests=requests, tokens=tokens, nano_usd=nano_usd
    )


def _windows_of(measured: Measured, group: _Group, now_ms: int) -> Iterable[LimitWindow]:
    limit = measured.limit
    for unit, budget in limit.budgets:
        amount = measured.amount(unit)
        scale = _NANO if unit is Unit.USD else 1
        yield LimitWindow(
            proxy=group.proxy,
            limit=limit.id,
            name=limit.name,
            kind=CONFIGURED,
            provider=group.provider,
            credential=group.credential,
            scope=group.scope,
            window=limit.window,
            unit=unit,
            used_ratio=amount / budget,
            used=amount / scale,
            budget=budget / scale,
            thresholds=limit.thresholds,
            start_ms=measured.start_ms,
            reset_ms=measured.reset_ms,
            observed_ms=now_ms,
        )
