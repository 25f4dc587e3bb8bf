"""Decides whether a proxy's Management API may be called with the configured key, and remembers refusals.

CPA bans an address for 30 minutes after five failed logins, every other tool behind that address included, and failures
add up until they have rested for two hours. So the guard promises: one key is tried at one proxy at most once per
150 minutes and three times in all, across restarts; a waiting time that the proxy states is waited for. A key is known
by a keyed hash over it and the proxy's URL, so another key or another URL starts afresh, and one that was given up
stays given up when it comes back.

A repeated try is written down before the call, so a crash or a lost answer cannot turn it into two. Within a process
the monotonic clock counts; when somebody sets the wall clock, the stored times are moved along with it. Nothing can be
known of a clock that was set while no exporter ran.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from exporter.clock import Clock
from exporter.errors import BannedError, KeyRefusedError

RETRY_SECONDS = 150 * 60.0
"""Failures of an address are forgotten by CPA after two hours of rest; half an hour more is for clocks that differ."""
MAX_TRIES = 3

_BAN_MARGIN_SECONDS = 5.0
_CLOCK_TOLERANCE_SECONDS = 0.1


class RefusedKey(msgspec.Struct, frozen=True):
    """What happened to one key at one URL. Times are ms since the epoch, 0 for "never".

    ``count`` is how often the key was tried and refused; 0 if only a ban of the address is known. ``banned_at_ms`` is
    when the proxy stated a waiting time, ``blocked_until_ms`` when that will have passed.
    """

    fingerprint: str
    count: int
    refused_at_ms: int
    banned_at_ms: int = 0
    blocked_until_ms: int = 0


class Refusal(msgspec.Struct, frozen=True):
    """All that is remembered of a proxy: one element per key and URL that it did not accept."""

    keys: tuple[RefusedKey, ...]


class RefusalStore(Protocol):
    """Where refusals survive a restart. Called from worker threads; a save is durable when it returns."""

    def load(self, proxy: str) -> Refusal | None:
        """What was saved for the proxy of this name, or None."""
        ...

    def save(self, proxy: str, refusal: Refusal) -> None:
        """Replace what is saved for the proxy of this name."""
        ...

    def clear(self, proxy: str) -> None:
        """Forget what is saved for the proxy of this name."""
        ...


class _Held(msgspec.Struct, frozen=True):
    """A refused key with its times on the monotonic clock."""

    key: RefusedKey
    refused: float
    blocked_until: float


class KeyGuard:
    """Says yes or no before each call to one proxy, and is told what came of it.

    The caller makes one call at a time: ``check``, the call, then exactly one of ``accepted``, ``refused``, ``banned``,
    ``not_judged`` and ``unknown``. ``status`` may be asked by any thread at any time; it reads memory only. Making a
    guard reads the store, and raises LedgerError if that fails.
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
    ) -> None:
        self._proxy = proxy
        self._fingerprint = keyed_hash(url.rstrip("/").encode() + b"\n" + key.encode())
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._held: _Held | None = None
        self._others: tuple[RefusedKey, ...] = ()
        self._unsaved = False
        self._before_try: _Held | None = None
        # Now and not at the first check: from here on the monotonic clock watches over a stored refusal.
        self._recall()

    def check(self) -> None:
        """Return if the next call may be made now.

        Raises KeyRefusedError or BannedError without any call if it may not, and LedgerError if the store fails.
        """
        with self._lock:
            held = self._recall()
            if held is None:
                return
            now = self._clock.monotonic()
            if not self._given_up(held) and held.blocked_until > now:
                raise BannedError(self._sentence(held), retry_after_seconds=held.blocked_until - now)
            if held.key.count == 0:
                return
            if self._given_up(held) or now - held.refused < RETRY_SECONDS:
                raise KeyRefusedError(self._sentence(held))
            self._before_try = held
            self._hold(self._refused_now(held.key.count + 1))

    def accepted(self) -> None:
        """The proxy took the key: forget its refusal."""
        with self._lock:
            self._before_try = None
            if self._held is None:
                return
            if self._others:
                self._store.save(self._proxy, Refusal(keys=self._others))
            else:
                self._store.clear(self._proxy)
            self._held = None
            self._unsaved = False

    def refused(self) -> None:
        """The proxy answered 401: stored when this returns."""
        with self._lock:
            before = self._before_try or self._held
            self._before_try = None
            self._hold(self._refused_now((before.key.count if before else 0) + 1))

    def banned(self, seconds: float) -> None:
        """The proxy banned this address and stated a waiting time. It did not look at the key."""
        with self._lock:
            before = self._before_try or self._held
            self._before_try = None
            now_ms, now = self._now_ms(), self._clock.monotonic()
            wait = seconds + _BAN_MARGIN_SECONDS
            key = before.key if before else RefusedKey(fingerprint=self._fingerprint, count=0, refused_at_ms=0)
            self._hold(
                _Held(
                    key=msgspec.structs.replace(key, banned_at_ms=now_ms, blocked_until_ms=now_ms + round(wait * 1000)),
                    refused=before.refused if before else now,
                    blocked_until=now + wait,
                )
            )

    def not_judged(self) -> None:
        """The proxy never looked at the key: the call did not get there, or something else answered."""
        with self._lock:
            before, self._before_try = self._before_try, None
            if before is not None:
                self._hold(before)

    def unknown(self) -> None:
        """The call was sent and nobody knows what came of it: a repeated try counts."""
        with self._lock:
            self._before_try = None

    def status(self) -> str | None:
        """A sentence for people about the refusal in force, or None."""
        held = self._held
        return None if held is None else self._sentence(held)

    def _recall(self) -> _Held | None:
        """What is known now: another process may have met a refusal, and the wall clock may have been set."""
        if self._unsaved and self._held is not None:
            self._hold(self._held)
        else:
            stored = self._store.load(self._proxy)
            keys = stored.keys if stored else ()
            self._others = tuple(key for key in keys if key.fingerprint != self._fingerprint)
            mine = next((key for key in keys if key.fingerprint == self._fingerprint), None)
            if mine is None:
                self._held = None
            elif self._held is None or self._held.key != mine:
                self._held = self._anchor(mine)
        if self._held is not None:
            self._follow_wall_clock(self._held)
        return self._held

    def _anchor(self, key: RefusedKey) -> _Held:
        """Put stored times on the monotonic clock. One in the future means that the clock was set back: it is now."""
        now_ms, now = self._now_ms(), self._clock.monotonic()
        since_ban = max(0, now_ms - key.banned_at_ms)
        return _Held(
            key=key,
            refused=now - max(0, now_ms - key.refused_at_ms) / 1000,
            blocked_until=now + (key.blocked_until_ms - key.banned_at_ms - since_ban) / 1000,
        )

    def _follow_wall_clock(self, held: _Held) -> None:
        """Store the times anew if the wall clock was set, or a restart would read them wrongly."""
        now_ms, now = self._now_ms(), self._clock.monotonic()
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
        key = RefusedKey(fingerprint=self._fingerprint, count=count, refused_at_ms=self._now_ms())
        return _Held(key=key, refused=now, blocked_until=now)

    def _hold(self, held: _Held) -> None:
        """Remember first, then store: if the store fails, this process still makes no further call."""
        self._held = held
        self._unsaved = True
        self._store.save(self._proxy, Refusal(keys=(*self._others, held.key)))
        self._unsaved = False

    def _now_ms(self) -> int:
        return round(self._clock.now() * 1000)

    @staticmethod
    def _given_up(held: _Held) -> bool:
        return held.key.count >= MAX_TRIES

    def _sentence(self, held: _Held) -> str:
        left = held.blocked_until - self._clock.monotonic()
        if left > 0 and not self._given_up(held):
            return (
                f"Proxy {self._proxy!r} has banned this address after too many failed logins, of this or of another "
                f"program. No call is made before {self._time_in(left)}."
            )
        if held.key.count == 0:
            return f"The ban of this address by proxy {self._proxy!r} has ended; the next call will show."
        tries = "once" if held.key.count == 1 else f"{held.key.count} times"
        last = self._time_in(held.refused - self._clock.monotonic())
        told = f"The management key of proxy {self._proxy!r} was refused {tries}, last at {last}. "
        if self._given_up(held):
            return told + "It will not be tried again: set a new key."
        left = held.refused + RETRY_SECONDS - self._clock.monotonic()
        when = "with the next call" if left <= 0 else f"at {self._time_in(left)}"
        return (
            told
            + f"Five failed logins would ban this address, other tools included, so this key is tried again {when}; "
            "a new key is tried at once."
        )

    def _time_in(self, seconds: float) -> str:
        moment = datetime.fromtimestamp(self._clock.now() + seconds, tz=UTC)
        return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
