"""Decides who may use a steered proxy's Management API: keys, addresses, and the ban after five failures.

Follows CPA: an address's failures add up until a success or two hours of silence; the fifth one bans it for 30 minutes.
The right key does not lift a ban, and further tries do not extend it.
"""

import threading
from dataclasses import dataclass

from werkzeug.datastructures import Headers

from exporter.clock import Clock

Refusal = tuple[int, str]
"""The status of a refused call, and CPA's own words."""

_LOCAL = {"127.0.0.1", "::1"}
_BAN_SECONDS = 1800.0
_MAX_FAILURES = 5
_FORGET_SECONDS = 7200.0


@dataclass(slots=True)
class _Address:
    failures: int = 0
    last_failure: float = 0.0
    banned_until: float | None = None


class SteeredLogins:
    """Decides about each call to the Management API. Thread-safe; forgets everything when the proxy restarts.

    ``bans_local``: whether it also bans callers on its own machine.
    """

    def __init__(self, *, key: str, clock: Clock) -> None:
        self.key = key
        self.allow_remote = False
        self.bans_local = True
        self.refused_logins = 0
        self._clock = clock
        self._addresses: dict[str, _Address] = {}
        self._lock = threading.Lock()

    def check(self, headers: Headers, peer: str) -> Refusal | None:
        """The refusal for a call with these headers from this TCP peer, or ``None`` if it may pass."""
        address = _client_address(headers, peer)
        with self._lock:
            now = self._clock.monotonic()
            state = self._addresses.setdefault(address, _Address())
            if state.banned_until is not None:
                left = state.banned_until - now
                if left > 0:
                    wait = _go_duration(left)
                    return 403, f"IP banned due to too many failed attempts. Try again in {wait}"
                self._addresses[address] = state = _Address()
            if now - state.last_failure > _FORGET_SECONDS:
                state.failures = 0
            if address not in _LOCAL and not self.allow_remote:
                return 403, "remote management disabled"
            if not self.key:
                return 403, "remote management key not set"
            offered = _offered_key(headers)
            if offered == self.key:
                del self._addresses[address]
                return None
            state.failures += 1
            state.last_failure = now
            self.refused_logins += 1
            if state.failures >= _MAX_FAILURES and (self.bans_local or address not in _LOCAL):
                state.banned_until = now + _BAN_SECONDS
            return 401, "invalid management key" if offered else "missing management key"

    def forget(self) -> None:
        """Lift all bans, as a restart of the proxy does."""
        with self._lock:
            self._addresses.clear()


def _client_address(headers: Headers, peer: str) -> str:
    """The address that CPA attributes a call to; CPA believes forwarding headers from anyone."""
    forwarded = headers.get("X-Forwarded-For", "").split(",")[0].strip()
    return forwarded or headers.get("X-Real-IP", "").strip() or peer


def _offered_key(headers: Headers) -> str:
    authorization = headers.get("Authorization", "").strip()
    if not authorization:
        return headers.get("X-Management-Key", "").strip()
    scheme, _, rest = authorization.partition(" ")
    # CPA takes any other scheme for the key, so a reverse proxy's Basic login hides the right one.
    return rest.strip() if scheme.lower() == "bearer" and rest else authorization


def _go_duration(seconds: float) -> str:
    whole = max(round(seconds), 0)
    minutes, rest = divmod(whole, 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
