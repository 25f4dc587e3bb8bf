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
_CLOCK_TOLERANCE_SECONDS = 0.1
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
    """A refused key with its times on the monotonic clock."""

    key: RefusedKey
    refused: float
    blocked_until: float


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
            self._check()
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

    def _check(self) -> None:
        with self._lock:
            asked, self._asked = self._asked, False
            held = self._recall()
            if held is None:
                return
            now = self._clock.monotonic()
            if (asked or not self._given_up(held)) and held.blocked_until > now:
                raise BannedError(self._sentence(held), retry_after_seconds=held.blocked_until - now)
            if held.key.count == 0:
                return
            has_rested = now - held.refused >= RETRY_SECONDS
            # The proxy has forgotten failures from before the rest, so a person has one more try, given up or not.
            if not (has_rested or asked) or (self._given_up(held) and not (has_rested and asked)):
                raise KeyRefusedError(self._sentence(held))
            self._before_try = held
            self._hold(self._refused_now(held.key.count + 1))

    def accepted(self) -> None:
        """The proxy took the key: forget its refusal."""
        with self._judged():
            self._is_accepted = True
            if self._held is None:
                return
            self._store.clear(self._fingerprints)
            self._held = None
            self._unsaved = False

    def refused(self) -> None:
        """The proxy answered 401. The refusal is stored when this returns."""
        with self._judged() as before_try:
            self._is_accepted = False
            before = before_try or self._held
            self._hold(self._refused_now((before.key.count if before else 0) + 1))

    def banned(self, seconds: float) -> None:
        """The proxy banned this address and stated a waiting time. It did not look at the key."""
        with self._judged() as before_try:
            before = before_try or self._held
            now_ms, now = self._clock.now_ms(), self._clock.monotonic()
            wait = seconds + _BAN_MARGIN_SECONDS
            key = before.key if before else self._refused_key(0, 0)
            self._hold(
                _Held(
                    key=msgspec.structs.replace(key, banned_at_ms=now_ms, blocked_until_ms=now_ms + round(wait * 1000)),
                    refused=before.refused if before else now,
                    blocked_until=now + wait,
                )
            )

    def not_judged(self) -> None:
        """The proxy never saw the key: the call did not get there, or something else answered."""
        with self._judged() as before_try:
            if before_try is not None:
                self._hold(before_try)

    def unknown(self) -> None:
        """The call went out and its result is unknown: a repeated try counts."""
        with self._judged():
            pass

    @contextmanager
    def _judged(self) -> Iterator[_Held | None]:
        """What was held before a repeated try. Lets the server's other proxies go on once its result is stored."""
        try:
            with self._lock:
                before, self._before_try = self._before_try, None
                yield before
        finally:
            self._end_turn()

    def before_first_call(self) -> str | None:
        """A sentence about the remaining tries, None if there will be none or only a ban is known."""
        held = self._held
        if held is None:
            known = "no failed login there is known here"
        elif held.key.count and not self._given_up(held):
            known = f"{held.key.count} failed here so far"
        else:
            return None
        left = BAN_TRIES - (held.key.count if held else 0)
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
        if self._unsaved and self._held is not None:
            self._hold(self._held)
        else:
            mine = _joined([key for key in self._store.load() if key.is_of(self._fingerprints)])
            if mine is None:
                self._held = None
            elif self._held is None or self._held.key != mine:
                self._held = self._anchor(mine)
        if self._held is not None:
            self._follow_wall_clock(self._held)
        return self._held

    def _anchor(self, key: RefusedKey) -> _Held:
        """Put stored times on the monotonic clock. One in the future counts as now: somebody set the clock back."""
        now_ms, now = self._clock.now_ms(), self._clock.monotonic()
        since_ban = max(0, now_ms - key.banned_at_ms)
        return _Held(
            key=key,
            refused=now - max(0, now_ms - key.refused_at_ms) / 1000,
            blocked_until=now + (key.blocked_until_ms - key.banned_at_ms - since_ban) / 1000,
        )

    def _follow_wall_clock(self, held: _Held) -> None:
        """Store new times if somebody set the wall clock, or a restart would misread them."""
        now_ms, now = self._clock.now_ms(), self._clock.monotonic()
        key = held.key
        if key.count:
            refused_at_ms = now_ms - round((now - held.refused) * 1000)
            drift = abs(refused_at_ms - key.refused_at_ms)
        else:
            refused_at_ms = 0
            drift = abs(now_ms + round((held.blocked_until - now) * 1000) - key.blocked_until_ms)
        if drift <= _CLOCK_TOLERANCE_SECONDS * 1000:
            return
        blocked_until_ms = now_ms + round((held.blocked_until - now) * 1000) if key.blocked_until_ms else 0
        moved = msgspec.structs.replace(
            key,
            refused_at_ms=refused_at_ms,
            banned_at_ms=blocked_until_ms - (key.blocked_until_ms - key.banned_at_ms),
            blocked_until_ms=blocked_until_ms,
        )
        self._hold(msgspec.structs.replace(held, key=moved))

    def _refused_now(self, count: int) -> _Held:
        now = self._clock.monotonic()
        key = self._refused_key(count, self._clock.now_ms())
        return _Held(key=key, refused=now, blocked_until=now)

    def _refused_key(self, count: int, refused_at_ms: int) -> RefusedKey:
        known = self._held.key if self._held else None
        also = {*self._fingerprints[1:], *((known.fingerprint, *known.also) if known else ())}
        return RefusedKey(self._fingerprints[0], count, refused_at_ms, also=tuple(sorted(also)))

    def _hold(self, held: _Held) -> None:
        """Remember first, then store: if the store fails, this process still makes no further call."""
        self._held = held
        self._unsaved = True
        self._store.save(self._proxy, held.key)
        self._unsaved = False

    @staticmethod
    def _given_up(held: _Held) -> bool:
        return held.key.count >= MAX_TRIES

    def _sentence(self, held: _Held) -> str:
        left = held.blocked_until - self._clock.monotonic()
        if left > 0 and not self._given_up(held):
            return say(
                "Proxy {proxy!r} has banned this address after too many failed logins, of this or of another program."
                " No call is made before {moment}.",
                proxy=self._proxy,
                moment=self._time_in(left),
            )
        if held.key.count == 0:
            return say(
                "The ban of this address by proxy {proxy!r} has ended; the next call will show.", proxy=self._proxy
            )
        told = counted(
            "The management key of proxy {proxy!r} was refused once, last at {last}.",
            "The management key of proxy {proxy!r} was refused {number} times, last at {last}.",
            held.key.count,
            proxy=self._proxy,
            last=self._time_in(held.refused - self._clock.monotonic()),
        )
        left = held.refused + RETRY_SECONDS - self._clock.monotonic()
        if self._given_up(held):
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
