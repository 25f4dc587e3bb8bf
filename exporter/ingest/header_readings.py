"""Reads providers' windows from the response headers of a proxy's usage records.

The trap: if an attempt dies before an answer arrives, its record has the headers of the attempt before it, which may
have been another account's. So a response seen under one credential says nothing about another.
"""

from typing import Any

import msgspec

from exporter.normalize.wire import NO_HEADERS, Wire
from exporter.quotas.headers import read_headers
from exporter.quotas.reading import Reading
from exporter.records import UsageRecord

_MOST_RESPONSES = 2_000
"""Retries follow each other within minutes; this is hours of failures."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class HeaderReadings:
    """Reads the windows in redacted records, in the order they were sent. For one thread at a time."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def of(self, wire: Wire, record: UsageRecord, *, received_ms: int) -> list[Reading]:
        """The windows that the provider reported with ``record``; empty if it reported none."""
        if self._is_stale(wire.response, record.auth_index) or wire.response_headers is NO_HEADERS:
            return []
        return read_headers(
            _decode(wire.response_headers),
            provider=record.provider,
            model=record.model,
            started_ms=record.ts_ms,
            ttft_ms=record.ttft_ms,
            latency_ms=record.latency_ms,
            received_ms=received_ms,
        )

    def _is_stale(self, response: str | None, auth_index: str) -> bool:
        if not response:
            return False
        first = self._seen.setdefault(response, auth_index)
        if len(self._seen) > _MOST_RESPONSES:
            del self._seen[next(iter(self._seen))]
        return first != auth_index
