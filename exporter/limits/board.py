"""The current state of all limits, for metrics, page and command line."""

import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo

import structlog

from exporter.clock import Clock
from exporter.days import local_date
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import CredentialLabels, ShownNames
from exporter.ledger.views.periods import MONTH
from exporter.limits.capacity import CapacityWatch, WindowWorth
from exporter.limits.evaluate import Evaluator, Measured
from exporter.limits.limit_file import LimitSet, Plan
from exporter.limits.model import PROVIDER, SHARE, Limit, LimitWindow, ProviderWindow, Unit
from exporter.limits.pools import Pool, PoolKey, pools
from exporter.limits.supabase_limits import SupabaseLimits
from exporter.quotas.reading import OVERAGE, is_current
from exporter.records import Billing
from exporter.sentences import say
from exporter.settings.watched import WatchedFile
from exporter.sources.proxy_status import ProxyStatus, Statuses

_log = structlog.get_logger("exporter.limits")


@dataclass(frozen=True, slots=True)
class PlanValue:
    """An account's plan, and the value of its use in this calendar month at API prices."""

    plan: Plan
    nano_usd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """The windows at the moment ``at_ms``, None before the first look.

    ``ended`` are windows that have ended: those of a whole account, and those of some models if no answer came since.
    Nothing of them is used, and they begin with the next use. ``measured`` is the use of the configured limits,
    ``unmatched`` the ids of limits that no usage counts against. ``early_resets`` is how often a provider emptied each
    window before its end, ``worth`` what the window is worth. ``pools`` are the accounts of each provider together.
    ``plans`` are the listed accounts that have a plan today.
    """

    at_ms: int | None = None
    windows: tuple[LimitWindow, ...] = ()
    ended: Sequence[LimitWindow] = ()
    measured: tuple[Measured, ...] = ()
    unmatched: tuple[str, ...] = ()
    early_resets: Mapping[ProviderWindow, int] = field(default_factory=dict)
    worth: Mapping[ProviderWindow, WindowWorth] = field(default_factory=dict)
    pools: Mapping[PoolKey, Pool] = field(default_factory=dict)
    plans: Mapping[CredentialLabels, PlanValue] = field(default_factory=dict)

    def nearest_first(self) -> list[LimitWindow]:
        """The windows, nearest to exhaustion first."""
        return sorted(self.windows, key=lambda window: (-window.used_ratio, window.labels))


@dataclass(kw_only=True)
class LimitBoard:
    """Keeps ``current`` up to date. Safe to use from several threads.

    Limits come from the user's ``file``, and from Supabase as ``stored`` in the ledger. Days begin in ``zone``.
    ``polled`` are the proxies of the settings, ``statuses`` list their accounts that are in pools or have plans.
    """

    ledger: Ledger
    shown_names: ShownNames
    clock: Clock
    file: WatchedFile[LimitSet] | None = None
    stored: SupabaseLimits | None = None
    zone: tzinfo = UTC
    polled: Collection[str] = ()
    statuses: Statuses = tuple

    def __post_init__(self) -> None:
        if self.stored is not None:
            self.stored.reload(self._content.thresholds)
        self.current = Board()
        self._capacities = CapacityWatch(self.ledger)
        self._evaluator = Evaluator(self.ledger.name_store, self.shown_names)
        self._lock = threading.RLock()

    @property
    def problems(self) -> list[str]:
        """A sentence for each recent change of the limits that is not in use."""
        found: list[str] = [
            say(
                "The limits file and the table rate_limit_configs both have a limit {id}; the file's is in force. Give"
                " one of them another id.",
                id=id_,
            )
            for id_, number in Counter(limit.id for limit in self.configured()).items()
            if number > 1
        ]
        if self.file is not None and self.file.problem:
            found.append(self.file.problem)
        if self.stored is not None:
            found += self.stored.problems
        return found

    def refresh(self, *, now: bool = False) -> None:
        """Take over changed limits, and evaluate all of them. Raises LedgerError.

        ``now`` takes the file even if it is just being written.
        """
        with self._lock:
            if self.file is not None:
                self.file.reload(now=now)
            if self.stored is not None:
                self.stored.reload(self._content.thresholds)
            self._look()

    def find(self, limit: str) -> Limit | None:
        """The configured limit in force with this id."""
        return next((known for known in self.configured() if known.id == limit), None)

    def reset(self, limit: str) -> Limit | None:
        """Start the windows of a configured limit now. Returns it, None for an unknown id. Raises LedgerError."""
        with self._lock:
            found = self.find(limit)
            if found is not None:
                self.ledger.limits.set_anchor(limit, self.clock.now_ms())
                self._look()
                _log.info("limit_reset", limit=limit)
            return found

    def configured(self) -> list[Limit]:
        """The limits of the file and of Supabase. Of several with one id the first is in force."""
        return [*self._content.limits, *(self.stored.limits if self.stored is not None else ())]

    @property
    def longest_window_ms(self) -> int:
        """The length of the longest window of a configured limit, whose entries must stay; 0 without a limit."""
        now_ms = self.clock.now_ms()
        return max((limit.length_ms(now_ms) for limit in self.configured()), default=0)

    @property
    def _content(self) -> LimitSet:
        return self.file.content if self.file is not None else LimitSet()

    def _look(self) -> None:
        now_ms = self.clock.now_ms()
        limits: dict[str, Limit] = {}
        for limit in self.configured():
            limits.setdefault(limit.id, limit)
        anchors = self.ledger.limits.anchors()
        with self.ledger.windows.look() as look:
            configured, measured = self._evaluator.evaluate(tuple(limits.values()), look, anchors, now_ms=now_ms)
        for (credential, window, scope), change in self._capacities.look(now_ms).items():
            account = self.shown_names.credential(credential)
            _log.warning("limit_capacity_changed", credential=account, window=window, scope=scope, shrank=change.shrank)
        statuses = list(self.statuses())
        reported, ended, early_resets, worth = self._provider_windows(now_ms)
        unmatched = self._evaluator.unmatched()
        for id_ in unmatched:
            if id_ not in self.current.unmatched:
                _log.warning("limit_matches_nothing", limit=id_, meaning="no usage so far counts against it")
        windows = _distinct([*configured, *reported])
        self.current = Board(
            at_ms=now_ms,
            windows=windows,
            ended=ended,
            measured=tuple(measured),
            unmatched=unmatched,
            early_resets=early_resets,
            worth=worth,
            pools=pools(_distinct([*windows, *ended]), self.shown_names, statuses, now_ms=now_ms),
            plans=self._plans(statuses, now_ms),
        )

    def _plans(self, statuses: Sequence[ProxyStatus], now_ms: int) -> dict[CredentialLabels, PlanValue]:
        """The listed accounts that have a plan: the first that matches. An API key has none.

        Their value is without what is folded into ``other``.
        """
        day = local_date(now_ms, self.zone)
        plans = self._content.plans
        name_store = self.ledger.name_store
        used: Counter[int] = Counter()
        for row in self.ledger.periods.current.rows[MONTH] if plans else ():
            used[name_store.resolved(name_store.series[row.series].credential).id] += row.amounts.nano_usd
        found = {}
        for key, id_, account in self.shown_names.accounts(statuses, now_ms=now_ms):
            plan = next((plan for plan in plans if plan.holds(key.credential, day)), None)
            if plan is not None and account.facts.billing != Billing.METERED:
                found[key] = PlanValue(plan, used[name_store.resolved(id_).id])
        return found

    def _provider_windows(
        self, now_ms: int
    ) -> tuple[list[LimitWindow], list[LimitWindow], Counter[ProviderWindow], dict[ProviderWindow, WindowWorth]]:
        """The current windows that providers report, those that have ended, their early resets, and their worth.

        Windows of an account are left out if its proxy no longer lists it or is no longer polled.
        """
        # None if a command reads a ledger of other proxies, such as the demo's.
        polled = self.ledger.name_store.proxies.keys() & self.polled
        windows: list[LimitWindow] = []
        ended: list[LimitWindow] = []
        early_resets: Counter[ProviderWindow] = Counter()
        worth: dict[ProviderWindow, WindowWorth] = {}
        known = self.ledger.quotas.current()
        last_read_ms: Counter[int] = Counter()
        for (id_, _, _), quota in known.items():
            last_read_ms[id_] = max(last_read_ms[id_], quota.reading.observed_ms)
        for key, quota in known.items():
            id_, reading = key[0], quota.reading
            credential = self.ledger.name_store.credentials[id_]
            labels = ProviderWindow(
                proxy=self.ledger.name_store.proxy_names[credential.proxy],
                provider=credential.provider or self._recorded_provider(id_),
                credential=self.shown_names.credential(id_),
                scope=reading.scope,
                window=reading.window,
            )
            early_resets[labels] += quota.early_resets
            if (credential.provider and credential.gone) or (polled and labels.proxy not in polled):
                continue
            unit = SHARE if reading.limit_nano_usd is None else Unit.USD
            if key in self._capacities.current:
                worth.setdefault(labels, self._capacities.current[key]._replace(unit=unit))
            window = LimitWindow(
                **labels._asdict(),
                limit=reading.window,
                kind=PROVIDER,
                unit=unit,
                used_ratio=reading.used_ratio,
                thresholds=self._content.thresholds,
                used=_usd(reading.used_nano_usd),
                budget=_usd(reading.limit_nano_usd),
                start_ms=reading.starts_ms,
                reset_ms=reading.ends_ms,
                observed_ms=reading.observed_ms,
                inferred=reading.ratio_inferred,
                allows_more=reading.status == OVERAGE,
                source="signal" if reading.source == "auth_files" else reading.source,
            )
            if is_current(reading, now_ms):
                windows.append(window)
            elif not reading.scope or last_read_ms[id_] < (reading.ends_ms or 0):
                ended.append(replace(window, used_ratio=0.0, start_ms=None, reset_ms=None, has_ended=True))
        return windows, ended, early_resets, worth

    def _recorded_provider(self, credential: int) -> str:
        """The provider in a credential's records, if no inventory has named it."""
        name_store = self.ledger.name_store
        for series in list(name_store.series.values()):
            with suppress(KeyError):  # a rollback is taking it back
                if name_store.resolved(series.credential).id == credential:
                    return name_store.routes[series.route].provider
        return ""


def _usd(nano_usd: int | None) -> float | None:
    return None if nano_usd is None else nano_usd / 1e9


def _distinct(windows: Sequence[LimitWindow]) -> tuple[LimitWindow, ...]:
    """The windows; of several with the same labels, as from a doubled alias, only the nearest to exhaustion.

    Prometheus would drop one of two samples of a series, and complain at every scrape.
    """
    found: dict[tuple[str, ...], LimitWindow] = {}
    for window in windows:
        if found.setdefault(window.labels, window).used_ratio < window.used_ratio:
            found[window.labels] = window
    return tuple(found.values())
