"""Decides who may use the Management API: keys, local and remote addresses, and the ban after five failures.

Follows CPA: an address's failures add up until a success or two hours of silence; the fifth one bans it for 30 minutes.
The right key does not lift a ban, and further tries do not extend it.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from exporter.clock import Clock

BAN_SECONDS = 1800.0
_MAX_FAILURES = 5
_FORGET_SECONDS = 7200.0


@dataclass(slots=True)
class _Address:
    failures: int = 0
    last_failure: float = 0.0
    banned_until: float | None = None


@dataclass(frozen=True, slots=True)
class FailedCall:
    """A refused call: its status and CPA's own words."""

    status: int
    error: str


class Door:
    """Decides about each call to the Management API. Thread-safe; forgets everything when the proxy restarts."""

    def __init__(self, *, key: str, clock: Clock) -> None:
        self.key = key
        self.allow_remote = False
        # Up to v6.9.37 CPA banned only other machines.
        self.bans_local = True
        self.refused_logins = 0
        self._clock = clock
        self._addresses: dict[str, _Address] = {}
        self._lock = threading.Lock()

    def check(self, headers: Mapping[str, str], peer: str) -> FailedCall | None:
        """The refusal for a call with these headers from this TCP peer, or ``None`` if it may pass."""
        address = client_address(headers, peer)
        with self._lock:
            now = self._clock.monotonic()
            state = self._addresses.setdefault(address, _Address())
            if state.banned_until is not None:
                left = state.banned_until - now
                if left > 0:
                    wait = _go_duration(left)
                    return FailedCall(403, f"IP banned due to too many failed attempts. Try again in {wait}")
                self._addresses[address] = state = _Address()
            if now - state.last_failure > _FORGET_SECONDS:
                state.failures = 0
            local = address in {"127.0.0.1", "::1"}
            if not local and not self.allow_remote:
                return FailedCall(403, "remote management disabled")
            if not self.key:
                return FailedCall(403, "remote management key not set")
            offered = _offered_key(headers)
            if offered == self.key:
                del self._addresses[address]
                return None
            self.refused_logins += 1
            state.failures += 1
            state.last_failure = now
            if state.failures >= _MAX_FAILURES and (self.bans_local or not local):
                state.banned_until = now + BAN_SECONDS
            return FailedCall(401, "invalid management key" if offered else "missing management key")

    def forget(self) -> None:
        """Lift all bans, as a restart of the proxy does."""
        with self._lock:
            self._addresses.clear()


def client_address(headers: Mapping[str, str], peer: str) -> str:
    """The address that CPA attributes a call to; it believes forwarding headers from anyone."""
    forwarded = headers.get("X-Forwarded-For", "").split(",")[0].strip()
    return forwarded or headers.get("X-Real-IP", "").strip() or peer


def _offered_key(headers: Mapping[str, str]) -> str:
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
