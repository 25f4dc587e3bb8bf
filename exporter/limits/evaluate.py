"""Evaluates configured limits: which label sets count against which, and the use of each window.

There is one query for each distinct window, however many limits share it. Label sets are assigned again only when the
limits or the names change.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from exporter.ledger.credential_store import Credential
from exporter.ledger.labels import SeriesLabels
from exporter.ledger.name_store import OTHER, NameStore
from exporter.ledger.shown_names import CredentialLabels, ShownNames
from exporter.ledger.views.limit_windows import WindowLook
from exporter.limits.model import CONFIGURED, Limit, LimitWindow, Per, Unit
from exporter.limits.strategies import calendar_window, window_of_length

MOST_WINDOWS = 200
"""Most windows shown of one limit, the nearest to exhaustion: a limit per client may have thousands."""

_NANO = 1e9

_Usage = tuple[int, int, Credential, SeriesLabels]
"""A label set: its id and its client's, its credential, and its labels."""


@dataclass(frozen=True, slots=True)
class _Group:
    """A part of a limit with its own window: its key in the ledger, its labels, and the label sets that count."""

    key: str
    labels: CredentialLabels
    scope: str = ""
    series: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The use of a limit's current window, in all units, with or without a budget.

    ``start_ms`` and ``reset_ms`` as in ``LimitWindow``.
    """

    limit: Limit
    start_ms: int | None
    reset_ms: int | None
    used: Mapping[Unit, int]


class Evaluator:
    """Evaluates limits. For one thread at a time."""

    def __init__(self, name_store: NameStore, shown_names: ShownNames) -> None:
        self._name_store = name_store
        self._shown_names = shown_names
        self._assigned: tuple[int, int, tuple[Limit, ...]] = (-1, -1, ())
        self._groups: dict[str, list[_Group]] = {}

    def evaluate(
        self, limits: tuple[Limit, ...], look: WindowLook, anchors: Mapping[str, int], *, now_ms: int
    ) -> tuple[list[LimitWindow], list[Measured]]:
        """The current windows, of each limit the fullest first; the use of limits without ``per``, which have one."""
        self._assign(limits)
        found: list[LimitWindow] = []
        single: list[Measured] = []
        for limit in limits:
            resets = (limit.anchor_ms, anchors.get(limit.id))
            anchor_ms = max((ms for ms in resets if ms is not None and ms <= now_ms), default=None)
            windows: list[LimitWindow] = []
            for group in self._groups[limit.id]:
                measured = _measure(limit, group, look, anchor_ms, now_ms)
                windows += _windows_of(measured, group, now_ms)
                if limit.per is None:
                    single.append(measured)
            windows.sort(key=lambda window: -window.used_ratio)
            found += windows[: MOST_WINDOWS * len(limit.budgets)]
        return found, single

    def unmatched(self) -> tuple[str, ...]:
        """The ids of limits that no usage so far counts against. Empty while there is no usage at all."""
        unused = (id_ for id_, groups in self._groups.items() if not any(group.series for group in groups))
        return tuple(unused) if self._name_store.series else ()

    def _assign(self, limits: tuple[Limit, ...]) -> None:
        assigned = (self._shown_names.version, len(self._name_store.series), limits)
        if assigned == self._assigned:
            return
        usages: list[_Usage] = []
        for id_, series in list(self._name_store.series.items()):
            with suppress(KeyError):  # a rollback is taking it back
                account, labels = self._name_store.resolved(series.credential), self._shown_names.series(id_)
                if self._name_store.clients[series.client] != OTHER:  # what is folded counts under its own names
                    usages.append((id_, series.client, account, labels))
        self._groups = {limit.id: self._groups_of(limit, usages) for limit in limits}
        self._assigned = assigned

    def _groups_of(self, limit: Limit, usages: Sequence[_Usage]) -> list[_Group]:
        """The parts of a limit. Their keys hold ids, which never change, so that a new alias keeps the sessions."""
        labels = CredentialLabels(limit.proxy, limit.credential, limit.provider or limit.shown_provider)
        groups = {} if limit.per else {"": _Group("", labels)}
        for id_, client, account, usage in usages:
            if not limit.matches(usage, account.long_name):
                continue
            if limit.per is Per.CREDENTIAL:
                own = CredentialLabels(usage.proxy, usage.credential, account.provider or usage.provider)
                group = _Group(f"credential:{account.id}", own)
            elif limit.per is Per.CLIENT:
                group = _Group(f"client:{client}", labels, usage.client)
            elif limit.per is Per.MODEL:
                group = _Group(f"model:{usage.model}", labels, usage.model)
            else:
                group = groups[""]
            groups.setdefault(group.key, group).series.add(id_)
        return list(groups.values())


def _measure(limit: Limit, group: _Group, look: WindowLook, anchor_ms: int | None, now_ms: int) -> Measured:
    key = (limit.id, group.key)
    start_ms, reset_ms = (
        calendar_window(limit.strategy, now_ms, limit.zone)
        if limit.window_ms is None
        else window_of_length(limit.strategy, limit.window_ms, now_ms, look=look, key=key, series=group.series)
    )
    if start_ms is not None and anchor_ms is not None:
        start_ms = max(start_ms, anchor_ms)
    sums = {} if start_ms is None else look.sums(start_ms, reset_ms)
    parts = [sums[id_] for id_ in group.series & sums.keys()]
    requests, tokens, nano_usd = map(sum, zip((0, 0, 0), *parts, strict=True))
    used = {Unit.TOKENS: tokens, Unit.REQUESTS: requests, Unit.USD: nano_usd}
    return Measured(limit=limit, start_ms=start_ms, reset_ms=reset_ms, used=used)


def _windows_of(measured: Measured, group: _Group, now_ms: int) -> Iterator[LimitWindow]:
    limit = measured.limit
    for unit, budget in limit.budgets:
        used, scale = measured.used[unit], _NANO if unit is Unit.USD else 1
        yield LimitWindow(
            **group.labels._asdict(),
            scope=group.scope,
            limit=limit.id,
            name=limit.name,
            kind=CONFIGURED,
            window=limit.window,
            unit=unit,
            used_ratio=used / budget,
            used=used / scale,
            budget=budget / scale,
            thresholds=limit.thresholds,
            start_ms=measured.start_ms,
            reset_ms=measured.reset_ms,
            observed_ms=now_ms,
        )
