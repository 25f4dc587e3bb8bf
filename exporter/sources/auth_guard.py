"""Decides whether the exporter may call a proxy's Management API with the configured key, and remembers refusals.

After five failed logins CPA bans an address for 30 minutes, including every other tool behind it; failures add up until
the address has rested for two hours. So the guard promises: it tries one key at one proxy at most once per 150 minutes
and three times in all, across restarts, and it waits as long as the proxy demands. A person who has fixed the key in
CPA may ask for an immediate try: it counts like the others, and there are never more than three within 150 minutes.

Keyed hashes over the key and each name of its server (see ``addresses.py``) identify a key. So another key or another
server starts afresh, another spelling does not, and a key that was given up stays given up when it comes back. Proxies
of one server take turns until it has accepted the key.

The guard stores a repeated try before the call, so a crash or a lost answer cannot turn it into two. Within a process
the monotonic clock counts; when somebody sets the wall clock, the stored times move along. Nobody can know about a
clock that was set while no exporter ran.
"""

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from exporter.clock import Clock
from exporter.errors import BannedError, KeyRefusedError
from exporter.sentences import counted, joined, say
from exporter.sources.addresses import Resolve, addresses_of, server_names

RETRY_SECONDS = 150 * 60.0
"""CPA forgets an address's failures after two hours of rest; half an hour more allows for clocks that differ."""
MAX_TRIES = 3
BAN_TRIES = 5
"""After this many failed logins by any programs, CPA bans their address for 30 minutes."""

_BAN_MARGIN_SECONDS = 5.0
_TOLERATED_MS = 100
"""Clocks differ by this much without anybody setting one."""
_TURN_SECONDS = 90.0
"""Longer than any call: whoever keeps the turn longer will never report a result."""


class RefusedKey(msgspec.Struct, frozen=True):
    """What happened to one key at one server. Times are ms since the epoch, 0 for "never".

    ``count`` is how often the server refused the key; 0 if only a ban of the address is known. ``banned_at_ms`` is when
    the proxy stated a waiting time, ``blocked_until_ms`` when that ends. ``also`` has the key's fingerprints under the
    server's other names.
    """

    fingerprint: str
    count: int
    refused_at_ms: int
    banned_at_ms: int = 0
    blocked_until_ms: int = 0
    also: tuple[str, ...] = ()

    def is_of(self, fingerprints: Collection[str]) -> bool:
        """Whether one of these fingerprints is the key's."""
        return not {self.fingerprint, *self.also}.isdisjoint(fingerprints)


class RefusalStore(Protocol):
    """Keeps refusals across restarts. Called from worker threads; a save is durable when it returns."""

    def load(self) -> tuple[RefusedKey, ...]:
        """The saved keys of all proxies."""
        ...

    def save(self, proxy: str, key: RefusedKey) -> None:
        """Save ``key`` for this proxy, in place of any proxy's keys that share a fingerprint with it."""
        ...

    def clear(self, fingerprints: Collection[str]) -> None:
        """Forget every proxy's keys with one of these fingerprints."""
        ...

    def turn(self, fingerprint: str) -> threading.Lock:
        """The lock for a fingerprint, shared by all guards of a process."""
        ...


class _Held(msgspec.Struct, frozen=True):
    """A refused key as this process knows it: a ``RefusedKey`` with times of the monotonic clock.

    ``refused`` means nothing if ``count`` is 0. ``ban_seconds`` is the length of the ban that ends or has ended at
    ``blocked_until``, 0 if there was none.
    """

    names: frozenset[str]
    count: int
    refused: float
    blocked_until: float
    ban_seconds: float = 0.0

    @property
    def given_up(self) -> bool:
        return self.count >= MAX_TRIES


class KeyGuard:
    """Allows or forbids each call to one proxy, and learns its result.

    The caller makes one call at a time: ``check``, the call, then exactly one of ``accepted``, ``refused``, ``banned``,
    ``not_judged`` and ``unknown``. Any thread may call ``status`` at any time; it reads only memory. Creating a guard
    reads the store, and raises LedgerError if that fails.
    """

    def __init__(
        self,
        *,
        proxy: str,
        url: str,
        key: str,
        keyed_hash: Callable[[bytes], str],
        store: RefusalStore,
        clock: Clock,
        resolve: Resolve = addresses_of,
    ) -> None:
        self._proxy = proxy
        self._url = url
        self._resolve = resolve
        self._key = key.encode()
        self._keyed_hash = keyed_hash
        self._fingerprints = self._known_as()
        self._turn: threading.Lock | None = None
        self._is_accepted = False
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._held: _Held | None = None
        self._stored = RefusedKey("", 0, 0)
        """What the store has of it, or should have."""
        self._unsaved = False
        self._before_try: _Held | None = None
        self._asked = False
        # Not at the first check: the monotonic clock has to watch over a stored refusal from now on.
        self._recall()

    def ask(self) -> None:
        """A person asks for a try: the next call need not wait if the budget allows one more."""
        self._asked = True

    def check(self) -> None:
        """Return if the next call may go out now.

        Raises KeyRefusedError or BannedError if it may not, and LedgerError if the store fails.
        """
        self._take_turn()
        try:
            with self._lock:
                asked, self._asked = self._asked, False
                held = self._recall()
                if held is not None:
                    self._begin_repeated_try(held, asked=asked)
        except BaseException:
            self._end_turn()
            raise

    def _known_as(self) -> list[str]:
        return [self._keyed_hash(name.encode() + b"\n" + self._key) for name in server_names(self._url, self._resolve)]

    def _take_turn(self) -> None:
        """Look the server's names up again until it accepts the key: a name may lead elsewhere by now."""
        if self._is_accepted or self._turn is not None:
            return
        self._fingerprints = self._known_as()
        turn = self._store.turn(self._fingerprints[-1])
        if turn.acquire(timeout=_TURN_SECONDS):
            self._turn = turn

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.release()

    def _begin_repeated_try(self, held: _Held, *, asked: bool) -> None:
        now = self._clock.monotonic()
        if (asked or not held.given_up) and held.blocked_until > now:
            raise BannedError(self._sentence(held), retry_after_seconds=held.blocked_until - now)
        if held.count == 0:
            return
        has_rested = now - held.refused >= RETRY_SECONDS
        # The proxy has forgotten failures from before the rest, so a person has one more try, given up or not.
        if not (has_rested and asked if held.given_up else has_rested or asked):
            raise KeyRefusedError(self._sentence(held))
        self._before_try = held
        self._count_refusal(held)

    def accepted(self) -> None:
        """The proxy took the key: forget its refusal."""
        with self._judged():
            self._is_accepted = True
            if self._held is not None:
                self._store.clear(self._fingerprints)
                self._held = None
                self._unsaved = False

    def refused(self) -> None:
        """The proxy answered 401. The refusal is stored when this returns."""
        with self._judged() as before:
            self._is_accepted = False
            self._count_refusal(before)

    def banned(self, seconds: float) -> None:
        """The proxy banned this address and stated a waiting time. It did not look at the key."""
        with self._judged() as before:
            now, wait = self._clock.monotonic(), seconds + _BAN_MARGIN_SECONDS
            known = before or _Held(frozenset(), 0, now, now)
            self._hold(msgspec.structs.replace(known, blocked_until=now + wait, ban_seconds=wait))

    def not_judged(self) -> None:
        """The proxy never saw the key: the call did not get there, or something else answered."""
        with self._judged() as before:
            if before is not None and before is not self._held:
                self._hold(before)

    def unknown(self) -> None:
        """The call went out and its result is unknown: a repeated try counts."""
        with self._judged():
            pass

    @contextmanager
    def _judged(self) -> Iterator[_Held | None]:
        """What was held before this try. Lets the server's other proxies go on once its result is stored."""
        try:
            with self._lock:
                before, self._before_try = self._before_try or self._held, None
                yield before
        finally:
            self._end_turn()

    def before_first_call(self) -> str | None:
        """A sentence about the remaining tries, None if there will be none or only a ban is known."""
        held = self._held
        if held is None:
            known = "no failed login there is known here"
        elif held.count and not held.given_up:
            known = f"{held.count} failed here so far"
        else:
            return None
        left = BAN_TRIES - (held.count if held else 0)
        return (
            f"{known}, so at most {left} of {BAN_TRIES} tries are left, and a wrong key takes one. Failures of other"
            " programs at this address, or with another data directory, count, too, and cannot be seen from here: after"
            f" {BAN_TRIES} CPA bans the address for 30 minutes."
        )

    def status(self) -> str | None:
        """A sentence for people about the refusal in force, or None."""
        held = self._held
        return None if held is None else self._sentence(held)

    def _recall(self) -> _Held | None:
        """The refusal as of now: another process may have met one, and somebody may have set the wall clock."""
        if not self._unsaved:
            stored = _joined([key for key in self._store.load() if key.is_of(self._fingerprints)])
            if stored is None:
                self._held = None
            elif self._held is None or stored != self._stored:
                self._held, self._stored = self._anchored(stored), stored
        if self._held is not None:
            now, stored = self._as_stored(self._held), self._stored
            moved_ms = now.refused_at_ms - stored.refused_at_ms, now.blocked_until_ms - stored.blocked_until_ms
            # A restart would misread the stored times if somebody has set the wall clock.
            if self._unsaved or max(map(abs, moved_ms)) > _TOLERATED_MS:
                self._hold(self._held)
        return self._held

    def _anchored(self, key: RefusedKey) -> _Held:
        """Put stored times on the monotonic clock. One in the future counts as now: somebody set the clock back."""
        now_ms, now = self._clock.now_ms(), self._clock.monotonic()
        ban_ms = key.blocked_until_ms - key.banned_at_ms
        return _Held(
            names=frozenset({key.fingerprint, *key.also}),
            count=key.count,
            refused=now - max(0, now_ms - key.refused_at_ms) / 1000,
            blocked_until=now + (ban_ms - max(0, now_ms - key.banned_at_ms)) / 1000,
            ban_seconds=ban_ms / 1000,
        )

    def _as_stored(self, held: _Held) -> RefusedKey:
        """``held`` with times of the wall clock as it is set now."""
        now_ms, now = self._clock.now_ms(), self._clock.monotonic()
        blocked_until_ms = now_ms + round((held.blocked_until - now) * 1000) if held.ban_seconds else 0
        return RefusedKey(
            self._fingerprints[0],
            held.count,
            now_ms - round((now - held.refused) * 1000) if held.count else 0,
            blocked_until_ms - round(held.ban_seconds * 1000),
            blocked_until_ms,
            tuple(sorted({*self._fingerprints[1:], *held.names})),
        )

    def _count_refusal(self, before: _Held | None) -> None:
        names, now = self._held.names if self._held else frozenset(), self._clock.monotonic()
        self._hold(_Held(names, (before.count if before else 0) + 1, now, now))

    def _hold(self, held: _Held) -> None:
        """Remember first, then store: if the store fails, this process still makes no further call."""
        self._held, self._stored = held, self._as_stored(held)
        self._unsaved = True
        self._store.save(self._proxy, self._stored)
        self._unsaved = False

    def _sentence(self, held: _Held) -> str:
        left = held.blocked_until - self._clock.monotonic()
        if left > 0 and not held.given_up:
            return say(
                "Proxy {proxy!r} has banned this address after too many failed logins, of this or of another program."
                " No call is made before {moment}.",
                proxy=self._proxy,
                moment=self._time_in(left),
            )
        if held.count == 0:
            return say(
                "The ban of this address by proxy {proxy!r} has ended; the next call will show.", proxy=self._proxy
            )
        told = counted(
            "The management key of proxy {proxy!r} was refused once, last at {last}.",
            "The management key of proxy {proxy!r} was refused {number} times, last at {last}.",
            held.count,
            proxy=self._proxy,
            last=self._time_in(held.refused - self._clock.monotonic()),
        )
        left = held.refused + RETRY_SECONDS - self._clock.monotonic()
        if held.given_up:
            once = say("once") if left <= 0 else say("once, from {moment} on", moment=self._time_in(left))
            advice = say(
                "It will not be tried again: set a new key. If it was mended at CPA's side, the command"
                " cliproxy-exporter try-key tries it {once}.",
                once=once,
            )
            return joined(told, advice)
        when = say("with the next call") if left <= 0 else say("at {moment}", moment=self._time_in(left))
        advice = say(
            "Five failed logins would ban this address, other tools included, so this key is tried again {when}; a"
            " new key is tried at once. If it was mended at CPA's side, the command cliproxy-exporter try-key"
            " tries this one now.",
            when=when,
        )
        return joined(told, advice)

    def _time_in(self, seconds: float) -> str:
        moment = datetime.fromtimestamp(self._clock.now() + seconds, tz=UTC)
        return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def _joined(keys: list[RefusedKey]) -> RefusedKey | None:
    """One key, joined from what is stored under several names of its server."""
    if len(keys) < 2:
        return keys[0] if keys else None
    banned = max(keys, key=lambda key: key.blocked_until_ms)
    return RefusedKey(
        keys[0].fingerprint,
        sum(key.count for key in keys),
        max(key.refused_at_ms for key in keys),
        banned.banned_at_ms,
        banned.blocked_until_ms,
        tuple(sorted({name for key in keys for name in (key.fingerprint, *key.also)})),
    )
