"""The providers behind ``api-call``: their pages, and their limits for callers.

Public reports about Claude set the rules for all: a call gets 429 too soon after the last one about the same account,
or after any call to the same provider. A caller that ignores three waiting times is banned and gets nothing but 403.
"""

import threading
from collections import defaultdict
from dataclasses import dataclass
from math import ceil
from typing import Any

from exporter.clock import Clock
from exporter.simulator.quotas import vendor_answer
from exporter.simulator.world import Credential

Answered = tuple[int, dict[str, list[str]], str]
"""Status, headers and body."""

_SOONEST_SECONDS = {"claude": 300.0}
"""Between two calls of one page about one account."""
_SOONEST_ANY_SECONDS = {"claude": 120.0}
"""Between any two calls to one provider."""
_MOST_VIOLATIONS = 3


@dataclass(slots=True)
class _Limit:
    """What a provider remembers about an account, a page or all calls."""

    last: float = 0.0
    blocked_until: float = 0.0
    violations: int = 0


class Vendors:
    """All providers. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self.banned: set[str] = set()
        self._clock = clock
        self._lock = threading.Lock()
        self._limits: defaultdict[tuple[str, str], _Limit] = defaultdict(_Limit)

    def answer(self, credential: Credential | None, call: dict[str, Any]) -> Answered | None:
        """The answer to ``call``, the body of an ``api-call``; ``None`` for an unreachable host.

        Without a ``credential``, which the proxy lacks, the provider sees the text ``$TOKEN$`` and answers 401.
        """
        headers = {str(name).lower(): str(value) for name, value in (call.get("header") or {}).items()}
        if "$TOKEN$" not in headers.get("authorization", ""):
            credential = None
        now = self._clock.now()
        page = vendor_answer(credential, call["url"], now)
        if page is None or credential is None:
            return None if page is None else (page[0], _HEADERS, page[1])
        with self._lock:
            refusal = self._refusal(credential, call["url"], headers.get("user-agent", ""), now)
            return refusal or (page[0], _HEADERS, page[1])

    def _refusal(self, credential: Credential, url: str, user_agent: str, now: float) -> Answered | None:
        provider = credential.provider
        if credential.name in self.banned:
            return 403, {}, '{"error": {"type": "permission_error", "message": "banned"}}'
        if provider == "claude" and not user_agent.startswith("claude-code/"):
            return 429, {}, _TOO_MANY
        account = self._limits[credential.name, ""]
        page = self._limits[credential.name, url]
        place = self._limits["", provider]
        blocked = [limit for limit in (account, page, place) if now < limit.blocked_until]
        for limit in blocked:
            limit.violations += 1
            if limit.violations >= _MOST_VIOLATIONS:
                self.banned.add(credential.name)
        soonest = ((page, _SOONEST_SECONDS.get(provider, 60.0)), (place, _SOONEST_ANY_SECONDS.get(provider, 20.0)))
        for limit, seconds in soonest if not blocked else ():
            if limit.last and now - limit.last < seconds:
                limit.blocked_until = now + 3 * seconds
                blocked.append(limit)
            limit.last = now
        if not blocked:
            return None
        wait = max(limit.blocked_until for limit in blocked) - now
        return 429, {"Retry-After": [str(ceil(wait))]}, _TOO_MANY


_HEADERS = {"Content-Type": ["application/json"]}
_TOO_MANY = '{"type": "error", "error": {"type": "rate_limit_error", "message": "the demo vendor says 429"}}'
