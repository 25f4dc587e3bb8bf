"""A stand-in for another exporter of the same queue, to compare with: everything in memory, nothing on disk.

It has the usual shape of such exporters: ``json.loads``, each record parsed into a dataclass, the exporter's families
as counters and histograms of prometheus_client, labels given by name. It does less than real ones, which cost more: one
price for everything, no rules of providers, no redaction beyond a hash of the key, no entries, no periods, nothing that
survives a restart.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from exporter.metrics.usage import LATENCY_BOUNDS, TTFT_BOUNDS

_ROUTE = ("provider", "model")
_SERIES = (*_ROUTE, "credential", "client")
_INPUT_PRICE, _OUTPUT_PRICE = 3e-6, 15e-6


@dataclass(slots=True)  # not frozen, because that would cost it a microsecond for each record
class _Usage:
    at: datetime
    provider: str
    model: str
    credential: str
    client: str
    failed: bool
    status: int
    auth_type: str
    latency_seconds: float
    ttft_seconds: float
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int


class Peer:
    """An exporter right after its start."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._clients: dict[str, str] = {}
        self._requests = Counter("requests", "Requests.", _SERIES, registry=registry)
        self._cost = Counter("cost_usd", "Cost.", (*_SERIES, "basis", "billing"), registry=registry)
        self._failed = Counter(
            "failed_requests", "Failed requests.", (*_ROUTE, "credential", "code"), registry=registry
        )
        self._tokens = [
            Counter(f"{kind}_tokens", "Tokens.", _SERIES, registry=registry)
            for kind in ("input", "output", "cache_read", "cache_write", "reasoning")
        ]
        self._latency = Histogram(
            "duration_seconds", "Duration.", _ROUTE, buckets=[float(b) for b in LATENCY_BOUNDS], registry=registry
        )
        self._ttft = Histogram(
            "ttft_seconds", "First token.", _ROUTE, buckets=[float(b) for b in TTFT_BOUNDS], registry=registry
        )

    def take(self, body: bytes) -> None:
        """Count the records of ``body``."""
        for record in json.loads(body):
            self._count(self._parse(record))

    def _parse(self, record: dict[str, Any]) -> _Usage:
        tokens = record["tokens"]
        return _Usage(
            at=datetime.fromisoformat(record["timestamp"]),
            provider=record["provider"],
            model=record["model"],
            credential=record["auth_index"],
            client=self._client(record["api_key"]),
            failed=record["failed"],
            status=record["fail"]["status_code"],
            auth_type=record["auth_type"],
            latency_seconds=record["latency_ms"] / 1000,
            ttft_seconds=record["ttft_ms"] / 1000,
            input_tokens=tokens["input_tokens"],
            output_tokens=tokens["output_tokens"],
            cache_read_tokens=tokens["cache_read_tokens"],
            cache_write_tokens=tokens["cache_creation_tokens"],
            reasoning_tokens=tokens["reasoning_tokens"],
        )

    def _client(self, key: str) -> str:
        known = self._clients.get(key)
        if known is None:
            known = self._clients[key] = hashlib.sha256(key.encode()).hexdigest()[:16]
        return known

    def _count(self, usage: _Usage) -> None:
        route = {"provider": usage.provider, "model": usage.model}
        series = {**route, "credential": usage.credential, "client": usage.client}
        self._requests.labels(**series).inc()
        numbers = (
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
            usage.reasoning_tokens,
        )
        for counter, number in zip(self._tokens, numbers, strict=True):
            counter.labels(**series).inc(number)
        cost = usage.input_tokens * _INPUT_PRICE + usage.output_tokens * _OUTPUT_PRICE
        self._cost.labels(**series, basis="exact", billing=usage.auth_type).inc(cost)
        if usage.failed:
            self._failed.labels(**route, credential=usage.credential, code=str(usage.status)).inc()
            return
        self._latency.labels(**route).observe(usage.latency_seconds)
        if usage.ttft_seconds:
            self._ttft.labels(**route).observe(usage.ttft_seconds)
