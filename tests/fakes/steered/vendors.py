"""Providers that answer as ordered, that count their calls, and that a plugin in the proxy may ask."""

import json
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field, replace
from typing import Any

from exporter.clock import Clock
from exporter.simulator.quotas import vendor_answer
from exporter.simulator.vendors import Answered, Vendors
from exporter.simulator.world import Credential

_WINDOWS = ("/usage", "/usages", ":retrieveUserQuotaSummary", "/billing?format=credits")
_BUCKETS = "https://daily-cloudcode-pa.googleapis.com/v1internal:retrieveUserQuotaSummary"


@dataclass(slots=True)
class VendorCounts:
    """``calls`` are by account, ``pages`` those about windows."""

    calls: Counter[str] = field(default_factory=Counter)
    pages: Counter[str] = field(default_factory=Counter)
    refused: int = 0


class SteeredVendors(Vendors):
    """All providers. ``plugin_for`` is the one whose windows a plugin in the proxy knows, if any."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.counts = VendorCounts()
        self.plugin_for = ""
        self._ordered: defaultdict[str, deque[tuple[Answered, float]]] = defaultdict(deque)

    @property
    def violations(self) -> int:
        """How many calls came during a waiting time."""
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

    def _refusal(self, credential: Credential, url: str, user_agent: str, now: float) -> Answered | None:
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
