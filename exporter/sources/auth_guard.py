"""Decides whether the exporter may call a proxy with its key, and remembers refusals.

After five failed logins CPA bans an address for 30 minutes, including every other tool behind it; failures add up until
the address has rested for two hours. So the guard promises: it tries one key at one proxy at most once per 150 minutes
and three times in all, across restarts, and it waits as long as the proxy demands. A person who has fixed the key in
CPA may ask for an immediate try: it counts like the others, and there are never more than three within 150 minutes.

Fingerprints of the key at its server (see ``addresses.py``) identify a key. So another key or another server starts
afresh, another spelling does not, and a key that was given up stays given up when it comes back. Proxies
of one server take turns until it has accepted the key.

The guard stores a repeated try before the call, so a crash or a lost answer cannot turn it into two. Within a process
time passes as on the monotonic clock; when somebody sets the wall clock, the stored times move along. Nobody can know
about a clock that was set while no exporter ran.
"""

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from exporter.clock import Clock
from exporter.errors import BannedError, KeyRefusedError, LedgerError, ProxyError, ProxyServerError
from exporter.sentences import counted, joined, say

RETRY_SECONDS = 150 * 60.0
"""CPA forgets an address's failures after two hours of rest; half an hour more allows for clocks that differ."""
_RETRY_MS = round(RETRY_SECONDS * 1000)
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

    @property
    def given_up(self) -> bool:
        """Whether it is not tried again unless a person asks."""
        return self.count >= MAX_TRIES

    def at(self, now_ms: int, *, clock_set_by: int) -> "RefusedKey":
        """The same key after the wall clock was moved by ``clock_set_by`` ms. A time in the future counts as now."""
        refused_at_ms = min(self.refused_at_ms + clock_set_by, now_ms) if self.count else 0
        banned_at_ms = min(self.banned_at_ms + clock_set_by, now_ms) if self.blocked_until_ms else 0
        blocked_until_ms = banned_at_ms + self.blocked_until_ms - self.banned_at_ms
        return RefusedKey(self.fingerprint, self.count, refused_at_ms, banned_at_ms, blocked_until_ms, self.also)


class RefusalStore(Protocol):
    """Keeps refusals across restarts. Called from worker threads; a change is durable when the call returns."""

    def load(self) -> tuple[RefusedKey, ...]:
        """The kept keys of all proxies."""
        ...

    def replace(self, fingerprints: Collection[str], proxy: str, *new: RefusedKey) -> object:
        """Forget every proxy's keys with one of these fingerprints, and keep the ``new`` ones for this proxy."""
        ...

    def turn(self, fingerprint: str) -> threading.Lock:
        """The lock for a fingerprint, shared by all guards of a process."""
        ...


class KeyGuard:
    """Allows or forbids each call to one proxy, and learns its result.

    The caller makes one call at a time, each in a block of ``trying``. Any thread may call ``status`` at any time; it
    reads only memory. Creating a guard reads the store, and raises LedgerError if that fails.
    """

    def __init__(
        self,
        *,
        proxy: str,
        known_as: Callable[[], list[str]],
        store: RefusalStore,
        clock: Clock,
    ) -> None:
        """``known_as`` returns the key's fingerprints at its server now."""
        self._proxy = proxy
        self._known_as = known_as
        self._fingerprints = known_as()
        self._is_accepted = False
        self._store = store
        self._clock = clock
        self._began_ms, self._began = clock.now_ms(), clock.monotonic()
        self._held: RefusedKey | None = None
        self._unsaved = False
        self._before_try: RefusedKey | None = None
        """What was held before the call in progress; None once the proxy has accepted it."""
        self._asked = False
        # Now, not at the first call: from here on the monotonic clock measures the age of a stored refusal.
        self._recall()

    def ask(self) -> None:
        """A person asks for a try: the next call need not wait if the budget allows one more."""
        self._asked = True

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Guard a call to the proxy, made in this block. The block calls ``accepted`` if the proxy took the key.

        It raises the ProxyError in which the call ends. If it does neither, the answer may have come without a login. A
        refusal or ban is stored when the block ends. A repeated try counts even if nobody knows its result.

        Raises KeyRefusedError or BannedError if no call may go out now, and LedgerError if the store fails.
        """
        with self._turn():
            asked, self._asked = self._asked, False
            self._before_try = self._recall()
            if self._before_try is not None:
                self._begin_repeated_try(self._before_try, asked=asked)
            try:
                yield
            except ProxyError as exc:
                self._learn(exc)
                if isinstance(exc, KeyRefusedError):
                    raise KeyRefusedError(joined(str(exc), self.status())) from None
                raise
            self._learn(None)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Keep the server's other proxies waiting during this block, unless the server has accepted the key."""
        if self._is_accepted:
            yield
            return
        self._fingerprints = self._known_as()  # a name may lead elsewhere by now
        turn = self._store.turn(self._fingerprints[-1])
        is_taken = turn.acquire(timeout=_TURN_SECONDS)
        try:
            yield
        finally:
            if is_taken:
                turn.release()

    def _begin_repeated_try(self, held: RefusedKey, *, asked: bool) -> None:
        blocked_ms = held.blocked_until_ms - self._now_ms()
        if (asked or not held.given_up) and blocked_ms > 0:
            raise BannedError(self._sentence(held), retry_after_seconds=blocked_ms / 1000)
        if held.count == 0:
            return
        has_rested = self._now_ms() - held.refused_at_ms >= _RETRY_MS
        # The proxy has forgotten failures from before the rest, so a person has one more try, given up or not.
        if not (has_rested and asked if held.given_up else has_rested or asked):
            raise KeyRefusedError(self._sentence(held))
        self._count_refusal(held)

    def accepted(self) -> None:
        """The proxy took the key: forget its refusal. If the store fails, a later answer tries again.

        That raises nothing: a pop's records exist nowhere else, and an error would lose them.
        """
        self._is_accepted, self._before_try = True, None
        if self._held is not None:
            with suppress(LedgerError):
                self._store.replace(self._fingerprints, self._proxy)
                self._held = None
                self._unsaved = False

    def _learn(self, error: ProxyError | None) -> None:
        before = self._before_try
        if isinstance(error, KeyRefusedError):
            self._is_accepted = False
            self._count_refusal(before)
        elif isinstance(error, BannedError):  # the proxy did not look at the key
            now_ms, wait_ms = self._now_ms(), round((error.retry_after_seconds + _BAN_MARGIN_SECONDS) * 1000)
            known = before or RefusedKey(self._fingerprints[0], 0, 0, also=tuple(self._fingerprints[1:]))
            self._hold(msgspec.structs.replace(known, banned_at_ms=now_ms, blocked_until_ms=now_ms + wait_ms))
        elif error is not None and (error.answer_lost or isinstance(error, ProxyServerError)):
            pass  # its result is unknown
        elif before is not None and before is not self._held:
            self._hold(before)

    def before_first_call(self) -> str | None:
        """A sentence about the remaining tries; None if the key was given up or only a ban is known."""
        held = self._held
        if held is None:
            known = "this key has never been refused here"
        elif held.count and not held.given_up:
            known = f"{held.count} failed here so far"
        else:
            return None
        left = BAN_TRIES - (held.count if held else 0)
        return (
            f"{known}, so at most {left} of {BAN_TRIES} tries are left, and a wrong key takes one. After {BAN_TRIES}"
            " failures CPA bans this address for 30 minutes. It also counts failures with other keys, of other programs"
            " and of other data directories."
        )

    def status(self) -> str | None:
        """A sentence for people about the refusal in force, or None."""
        held = self._held
        return None if held is None else self._sentence(held)

    def _now_ms(self) -> int:
        """The time on a wall clock that only ``_recall`` sets."""
        return self._began_ms + round((self._clock.monotonic() - self._began) * 1000)

    def _recall(self) -> RefusedKey | None:
        """The refusal as of now: another process may have met one, and somebody may have set the wall clock."""
        set_by = self._clock.now_ms() - self._now_ms()
        if abs(set_by) <= _TOLERATED_MS:
            set_by = 0
        self._began_ms += set_by
        keys = [self._held] if self._unsaved else self._store.load()
        stored = _joined([key for key in keys if key is not None and key.is_of(self._fingerprints)])
        held, self._held = self._held, stored
        if stored is not None:
            key = stored.at(self._now_ms(), clock_set_by=set_by if stored == held else 0)
            if self._unsaved or key != stored:  # a restart would misread times of another clock
                self._hold(key)
        return self._held

    def _count_refusal(self, before: RefusedKey | None) -> None:
        known = self._held
        also = {*self._fingerprints[1:], *((known.fingerprint, *known.also) if known else ())}
        count = before.count if before else 0
        self._hold(RefusedKey(self._fingerprints[0], count + 1, self._now_ms(), also=tuple(sorted(also))))

    def _hold(self, key: RefusedKey) -> None:
        """Remember first, then store: if the store fails, this process still makes no further call."""
        self._held = key
        self._unsaved = True
        self._store.replace((key.fingerprint, *key.also), self._proxy, key)
        self._unsaved = False

    def _sentence(self, held: RefusedKey) -> str:
        if held.blocked_until_ms > self._now_ms() and not held.given_up:
            return say(
                "Proxy {proxy!r} has banned this address after too many failed logins, of this or of another program."
                " No call is made before {moment}.",
                proxy=self._proxy,
                moment=_moment(held.blocked_until_ms),
            )
        if held.count == 0:
            return say(
                "The ban of this address by proxy {proxy!r} should be over; the next call will show.", proxy=self._proxy
            )
        refusals = counted(
            "The management key of proxy {proxy!r} was refused once at {last}.",
            "The management key of proxy {proxy!r} was refused {number} times, last at {last}.",
            held.count,
            proxy=self._proxy,
            last=_moment(held.refused_at_ms),
        )
        again_ms = held.refused_at_ms + _RETRY_MS
        has_rested = again_ms <= self._now_ms()
        if held.given_up:
            once = say("once") if has_rested else say("once, from {moment} on", moment=_moment(again_ms))
            advice = say(
                "It will not be tried again: set a new key, and restart the exporter. If it was corrected in CPA, the"
                " command cliproxy-exporter try-key tries it {once}.",
                once=once,
            )
            return joined(refusals, advice)
        when = say("with the next call") if has_rested else say("at {moment}", moment=_moment(again_ms))
        advice = say(
            "Five failed logins would ban this address, other tools included, so this key is tried again {when}; a"
            " new key is tried when the exporter restarts. If it was corrected in CPA, the command"
            " cliproxy-exporter try-key tries this one now.",
            when=when,
        )
        return joined(refusals, advice)


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


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
