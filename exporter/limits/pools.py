"""The accounts of one provider at one proxy: which of them work, and how long they last."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Literal, NamedTuple

from exporter.ledger.shown_names import CredentialLabels, ShownNames
from exporter.limits.model import LEAST_ELAPSED, PROVIDER, SHARE, LimitWindow
from exporter.quotas.reading import Reading
from exporter.sources.proxy_status import ProxyStatus

State = Literal["usable", "cooling", "exhausted", "unknown"]
STATES: tuple[State, ...] = ("usable", "cooling", "exhausted", "unknown")

_FORECAST_MS = 86_400_000
"""Nobody knows the pace of use more than a day ahead."""
_EMPTY = 1e-9
"""A smaller share is rounding."""


class PoolKey(NamedTuple):
    proxy: str
    provider: str


class Member(NamedTuple):
    """An account at one moment.

    ``back_ms`` is when an account that does not work will work again, None if that is not known. ``whole`` are the
    windows in which every use of the account counts.
    """

    state: State
    back_ms: int | None
    whole: Sequence[LimitWindow]


def member_of(*, up: bool, retry_ms: int | None = None, windows: Sequence[LimitWindow] = ()) -> Member:
    """An account, from the windows that its provider reports. Ended ones alone do not show that it is usable.

    ``up``: whether the proxy would use it; ``retry_ms`` is when it will again, None if that is not known.
    """
    bounding = [window for window in windows if not window.allows_more]
    whole = [window for window in bounding if not window.scope]
    waits = [window.reset_ms for window in whole if window.used_ratio >= 1]
    if bounding and not whole and all(window.used_ratio >= 1 for window in bounding):
        waits = [min((window.reset_ms for window in bounding if window.reset_ms is not None), default=None)]
    is_known = any(not window.has_ended for window in windows)
    state: State = "exhausted" if waits else "cooling" if not up else "usable" if is_known else "unknown"
    if not up:
        waits.append(retry_ms)
    known = [each for each in waits if each is not None]
    return Member(state, None if None in waits else max(known, default=None), whole)


@dataclass(frozen=True, slots=True)
class Pool:
    """``accounts`` by state. ``next_back_ms`` is when the first that does not work will again, as far as known.

    ``empty_ms`` is when none works any more, if use goes on as in the windows so far: the current moment if none works
    already, None if that is not within a day, or if an account that the proxy uses has windows that nobody knows.
    """

    accounts: Counter[State]
    next_back_ms: int | None
    empty_ms: int | None


def pools(
    windows: Iterable[LimitWindow], shown_names: ShownNames, statuses: Iterable[ProxyStatus], *, now_ms: int
) -> dict[PoolKey, Pool]:
    """The pools of the last inventories. API keys, and accounts that somebody disabled, are in none.

    ``windows`` are those that run at the moment ``now_ms``, and those that have ended.
    """
    known = by_account(windows)
    found: dict[PoolKey, list[Member]] = defaultdict(list)
    for key, _, account in shown_names.accounts(statuses, now_ms=now_ms):
        up = account.is_up(now_ms)
        if up is not None and not account.disabled:
            member = member_of(up=up, retry_ms=account.waits_until(now_ms), windows=known.get(key, ()))
            found[PoolKey(key.proxy, key.provider)].append(member)
    return {key: pool_of(each, now_ms=now_ms) for key, each in found.items()}


def by_account(windows: Iterable[LimitWindow]) -> Mapping[CredentialLabels, Sequence[LimitWindow]]:
    """The windows that providers report, by account; caps on money, which have no start, are not among them."""
    found: defaultdict[CredentialLabels, list[LimitWindow]] = defaultdict(list)
    for window in windows:
        if window.kind == PROVIDER and (window.unit == SHARE or window.start_ms is not None):
            found[CredentialLabels(window.proxy, window.credential, window.provider)].append(window)
    return found


def pool_of(members: Sequence[Member], *, now_ms: int) -> Pool:
    return Pool(
        accounts=Counter(member.state for member in members),
        next_back_ms=min((member.back_ms for member in members if member.back_ms is not None), default=None),
        empty_ms=_empty_ms(members, now_ms),
    )


def room_ms(readings: Iterable[Reading], now_ms: int) -> int | None:
    """From when on all windows of an account have room: the last reset of those that were used up or have ended.

    A window that was read again after its reset has had room since its start. None where no reset is known.
    """
    moments: list[float] = []
    for reading in readings:
        if reading.limit_nano_usd is not None and reading.window_seconds is None:
            continue  # a cap on money
        is_full = reading.used_ratio >= 1
        if reading.ends_ms is None:
            moments += [inf] if is_full else []
        elif is_full or reading.ends_ms <= now_ms:
            moments.append(reading.ends_ms)
        elif reading.starts_ms is not None:
            moments.append(reading.starts_ms)
    last = max(moments, default=inf)
    return None if last == inf else int(last)


# --- the forecast -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Window:
    """A window: the share that is ``left``, when it is whole again (``reset``, in ms from now), and its length in ms.

    While its account is used, ``empty_at`` replaces ``left``: the window is empty once an account that is used all the
    time has used that much of its own.
    """

    name: str
    left: float
    reset: float
    length: float
    empty_at: float = inf


_Account = Sequence[_Window]
"""Its wait, then its windows with a known speed of use. Nothing uses up the wait: it is like a window that is empty as
long as the account does not work."""
_WAIT = ""


class _Forecast:
    """Use and resets played forward, in ms from now. All use goes to the accounts that work, in equal parts.

    Windows of one name are used at one speed, so one number for each name, ``_used``, moves all of them: what an
    account that worked all the time has used. So an event costs about the same with many accounts as with few.
    """

    def __init__(self, accounts: Iterable[_Account], speeds: Mapping[str, float]) -> None:
        """``speeds``: by name of a window, what all accounts together use of it in 1 ms."""
        self._speeds = speeds
        self._at = 0.0
        self._used: defaultdict[str, float] = defaultdict(float)
        self._users: Counter[str] = Counter()
        self._serial = count()
        self._empties: defaultdict[str, list[tuple[float, int, _Account, _Window]]] = defaultdict(list)
        self._returns: list[tuple[float, int, _Account, _Window]] = []
        for account in accounts:
            for window in account:
                self._await(window.reset, account, window)
            self._use(account)

    def empty(self) -> float | None:
        """When no account works any more; None if that is not within a day."""
        while self._users[_WAIT]:
            at = min([self._returns[0][0] if self._returns else inf, *map(self._next_empty, self._speeds)])
            if at >= _FORECAST_MS:
                return None
            self._go_on(at)
        return self._at

    def _go_on(self, at: float) -> None:
        for name, speed in self._speeds.items():
            if users := self._users[name]:
                self._used[name] += speed / users * (at - self._at)
        self._at = at
        for name in self._speeds:
            empties = self._empties[name]
            while empties and empties[0][0] - self._used[name] <= _EMPTY:
                empty_at, _, account, window = heappop(empties)
                if window.empty_at == empty_at:
                    self._rest(account)
        while self._returns and self._returns[0][0] < at + 1:  # less than 1 ms is rounding
            _, _, account, returned = heappop(self._returns)
            self._rest(account)
            returned.left = 1.0
            self._await(at + returned.length, account, returned)
            self._use(account)

    def _next_empty(self, name: str) -> float:
        empties = self._empties[name]
        while empties and empties[0][3].empty_at != empties[0][0]:
            heappop(empties)  # the account has rested since
        if not empties:
            return inf
        return self._at + (empties[0][0] - self._used[name]) * self._users[name] / self._speeds[name]

    def _await(self, at: float, account: _Account, window: _Window) -> None:
        """Look at the account again when this window of it is back."""
        if self._at < at < _FORECAST_MS:
            heappush(self._returns, (at, next(self._serial), account, window))

    def _use(self, account: _Account) -> None:
        """Begin to use the account, if it works and is not used yet."""
        if account[0].empty_at < inf or any(each.left <= _EMPTY for each in account):
            return
        for window in account:
            self._users[window.name] += 1
            window.empty_at = self._used[window.name] + window.left
            heappush(self._empties[window.name], (window.empty_at, next(self._serial), account, window))

    def _rest(self, account: _Account) -> None:
        """Stop using the account, if it is used."""
        if account[0].empty_at == inf:
            return
        for window in account:
            self._users[window.name] -= 1
            window.left = window.empty_at - self._used[window.name]
            window.empty_at = inf


def _empty_ms(members: Sequence[Member], now_ms: int) -> int | None:
    if any(member.state == "unknown" for member in members):
        return None
    speeds, lengths = _speeds(members, now_ms)
    empty = _Forecast([_account(member, speeds, lengths, now_ms) for member in members], speeds).empty()
    return None if empty is None else now_ms + int(empty)


def _speeds(members: Sequence[Member], now_ms: int) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """By name of a window: what all accounts together use of it in 1 ms, and its length in ms.

    An account is taken to have used its window evenly until its last answer. Nobody knows when an idle one did, so all
    its use counts at the start, and only for spans that hold all of it. An account is idle if it does not work, or had
    to be asked where others did not.
    """
    some_unasked = any(window.source != "active" for member in members for window in member.whole)
    lengths: dict[str, float] = {}
    changes: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for member in members:
        for window in member.whole:
            start_ms, name = window.start_ms, window.window
            if start_ms is None or window.reset_ms is None:
                continue
            lengths[name] = window.reset_ms - start_ms
            is_idle = member.state != "usable" or (some_unasked and window.source == "active")
            until_ms = start_ms + 1 if is_idle else max(start_ms + 1, window.observed_ms)
            pace = window.used_ratio / (until_ms - start_ms)
            changes[name] += (until_ms, pace), (start_ms, -pace)
    speeds = {name: _speed(some, now_ms, lengths[name] * LEAST_ELAPSED) for name, some in changes.items()}
    return {name: speed for name, speed in speeds.items() if speed}, lengths


def _speed(changes: Iterable[tuple[int, float]], now_ms: int, least_ms: float) -> float:
    """The most that was used in 1 ms on average since some moment, ``least_ms`` ago or earlier.

    The average is too low since moments after which no account worked for a while, or a window ended that is no longer
    known. ``changes`` are moments, each with how much higher the pace was before it than after it.
    """
    most = used = pace = 0.0
    at_ms = now_ms
    for moment_ms, change in sorted(changes, reverse=True):
        used += pace * (at_ms - moment_ms)
        at_ms, pace = moment_ms, pace + change
        if now_ms - at_ms >= least_ms:
            most = max(most, used / (now_ms - at_ms))
    return most


def _account(member: Member, speeds: Mapping[str, float], lengths: Mapping[str, float], now_ms: int) -> _Account:
    back = 0.0
    if member.state in ("cooling", "exhausted"):
        back = inf if member.back_ms is None else float(member.back_ms - now_ms)
    windows = [_Window(_WAIT, 0.0 if back > 0 else 1.0, back, inf)]
    for window in member.whole:
        if window.window in speeds:
            length = lengths[window.window]
            # One without a reset begins with its next use, or ends earlier than such a one would.
            reset = length if window.reset_ms is None else float(window.reset_ms - now_ms)
            windows.append(_Window(window.window, max(0.0, 1 - window.used_ratio), reset, length))
    return windows
