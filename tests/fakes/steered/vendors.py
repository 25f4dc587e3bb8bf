"""The providers behind ``api-call``: their pages and limits, answers on order, counts, and a plugin that may ask them.

Public reports about Claude set the rules for all providers: a call gets 429 if it follows too soon after the last one
about the same account, or after any call to the same provider. A caller that ignores three waiting times is banned and
gets nothing but 403.
"""

import json
import threading
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

from exporter.clock import Clock
from exporter.simulator.quotas import vendor_answer
from exporter.simulator.world import Credential

VendorAnswer = tuple[int, dict[str, list[str]], str]
"""A vendor's status, headers and body."""

_WINDOWS = ("/usage", "/usages", ":retrieveUserQuotaSummary", "/billing?format=credits")
_BUCKETS = "https://daily-cloudcode-pa.googleapis.com/v1internal:retrieveUserQuotaSummary"
_SOONEST_SECONDS = {"claude": 300.0}
"""The pause between two calls of one page about one account."""
_SOONEST_ANY_SECONDS = {"claude": 120.0}
"""The pause between any two calls to one provider."""
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

    def answer(self, credential: Credential | None, call: dict[str, Any]) -> VendorAnswer | None:
        """The answer to ``call``, the body of an ``api-call``; ``None`` for an unreachable host.

        Without a ``credential``, which the proxy lacks, the provider sees the text ``$TOKEN$`` and answers 401.
        """
        headers = {str(name).lower(): str(value) for name, value in (call.get("header") or {}).items()}
        if "$TOKEN$" not in headers.get("authorization", ""):
            credential = None
        now = self._clock.now()
        page = vendor_answer(credential, call["url"], now)
        answer = None if page is None else (page[0], {"Content-Type": ["application/json"]}, page[1])
        if answer is None or credential is None:
            return answer
        with self._lock:
            return self._refusal(credential, call["url"], headers.get("user-agent", ""), now) or answer

    def _refusal(self, credential: Credential, url: str, user_agent: str, now: float) -> VendorAnswer | None:
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


_TOO_MANY = '{"type": "error", "error": {"type": "rate_limit_error", "message": "the demo vendor says 429"}}'


@dataclass(slots=True)
class VendorCounts:
    """``calls`` counts calls by account; ``pages`` counts those about windows."""

    calls: Counter[str] = field(default_factory=Counter)
    pages: Counter[str] = field(default_factory=Counter)
    refused: int = 0


class SteeredVendors(Vendors):
    """All providers. ``plugin_for`` is the one whose windows a plugin in the proxy knows, if any."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.counts = VendorCounts()
        self.plugin_for = ""
        self._ordered: defaultdict[str, deque[tuple[VendorAnswer, float]]] = defaultdict(deque)

    @property
    def violations(self) -> int:
        """The number of calls that came during a waiting time."""
        return sum(limit.violations for limit in self._limits.values())

    def order(
        self, name: str, status: int, *, body: str = "{}", retry_after: str | None = None, wait: float = 0.0
    ) -> None:
        """Answer the account's next call like this, and allow no more for ``wait`` seconds."""
        headers = {} if retry_after is None else {"Retry-After": [retry_after]}
        with self._lock:
            self._ordered[name].append(((status, headers, body), wait))

    def quota_plugins(self) -> list[dict[str, Any]]:
        """The plugins that answer ``quota/fetch``."""
        if not self.plugin_for:
            return []
        plugin = {"plugin_id": "demo", "provider": self.plugin_for, "supported_providers": [self.plugin_for]}
        return [plugin | {"display_name": "Demo", "supports_reset": False}]

    def fetched_by_plugin(self, credential: Credential) -> dict[str, Any] | None:
        """The answer of ``quota/fetch`` about an account; ``None`` if no plugin knows its provider."""
        if credential.provider != self.plugin_for:
            return None
        with self._lock:
            self.counts.calls[credential.name] += 1
        return _plugin_answer(credential, self._clock.now())

    def _refusal(self, credential: Credential, url: str, user_agent: str, now: float) -> VendorAnswer | None:
        self.counts.calls[credential.name] += 1
        self.counts.pages[credential.name] += url.endswith(_WINDOWS)
        refusal = super()._refusal(credential, url, user_agent, now)
        if refusal is None and self._ordered[credential.name]:
            refusal, wait = self._ordered[credential.name].popleft()
            self._limits[credential.name, ""].blocked_until = now + wait
        self.counts.refused += refusal is not None
        return refusal


def _plugin_answer(credential: Credential, at: float) -> dict[str, Any]:
    """A plugin's report about the account, in the form of ``quota/fetch``."""
    answer = vendor_answer(replace(credential, provider="antigravity"), _BUCKETS, at)
    assert answer is not None
    summary = {"key": "credits", "value": 12, "unit": "usd", "format": "currency", "currency": "USD"}
    buckets: dict[str, Any] = json.loads(answer[1])
    return buckets | {"subscription": {"plan": "pro"}, "summary": [summary]}
