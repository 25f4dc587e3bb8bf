"""Rows as the exporter sends them to ``exporter_book``."""

from datetime import UTC, datetime
from typing import Any

from exporter.ledger.labels import OF_ROUTE

Row = dict[str, Any]

OWNER = "5f0c7a1e"
DAY = "2026-11-24"


def at(text: str) -> int:
    """An ISO time in UTC as ms since the epoch."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def record(n: int = 0, **changes: Any) -> Row:
    """A record of 150 tokens that costs 0.0015 USD, ``n`` seconds after noon of ``DAY``."""
    return {
        **dict.fromkeys(OF_ROUTE, ""),
        "ts_ms": at(f"{DAY} 12:00") + n * 1000,
        "fingerprint": str(7_000_000_000_000_000_000 + n),
        "day": DAY,
        "provider": "openai",
        "model": "gpt-4o",
        "credential": "openai-0123456789",
        "client": "client-0a1b2c3d4e",
        "price": '{"input": 2.5, "output": 10}',
        "basis": "exact",
        "billing": "metered",
        "live": True,
        "requests": 1,
        "code": "",
        "unpriced": "",
        "latency_ms": 1200,
        "ttft_ms": 300,
        "uncached": 90,
        "cache_read": 10,
        "cache_write": 0,
        "output": 50,
        "reasoning": 20,
        "unclassified": 0,
        "nano_usd": 1_500_000,
    } | changes
