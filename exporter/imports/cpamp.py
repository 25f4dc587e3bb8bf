"""The file of CPA-Manager-Plus ("CPAMP"), as its source defines it from the first version to commit 0261ac2. Pure.

CPAMP keeps the tokens as the proxy sends them, but not which cache counts were missing. It keeps only SHA-256 hashes of
keys and accounts, so a client is recognized only if the configuration has its key.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from exporter.imports.peer_files import Peer, same
from exporter.normalize.pseudonyms import Pseudonym

_TOKENS = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens", "total_tokens")


class _Row(msgspec.Struct):
    """A row of ``usage_events``. Newer versions have the columns with a default."""

    event_hash: str | None
    timestamp_ms: Any
    timestamp: str | None
    provider: str | None
    model: str | None
    endpoint: str | None
    auth_type: str | None
    auth_index: str | None
    source_hash: str | None
    api_key_hash: str | None
    latency_ms: Any
    failed: int | None
    request_id: str | None
    input_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    cached_tokens: int | None
    total_tokens: int | None
    resolved_model: str | None = None
    requested_model: str | None = None
    executor_type: str | None = None
    service_tier: str | None = None
    request_service_tier: str | None = None
    response_service_tier: str | None = None
    cache_read_tokens: int | None = None
    cache_creation_tokens: int | None = None
    ttft_ms: Any = None
    fail_status_code: int | None = None


def cpamp(pseudonym: Pseudonym, keys: Iterable[str]) -> Peer:
    """How the file of a CPAMP is read. ``keys`` are the raw keys in the configuration."""
    known = {hashlib.sha256(key.strip().encode()).hexdigest(): key for key in keys}

    def of_hash(digest: str | None) -> str | None:
        return digest and pseudonym(known.get(digest, digest))

    def wire(row: _Row) -> dict[str, Any]:
        tokens = {name: getattr(row, name) or 0 for name in _TOKENS}
        if row.cache_read_tokens or row.cache_creation_tokens:
            tokens["cache_read_tokens"] = row.cache_read_tokens or 0
            tokens["cache_creation_tokens"] = row.cache_creation_tokens or 0
        return same(row, "timestamp") | {
            "source": of_hash(row.source_hash),
            "fail": {"status_code": row.fail_status_code} if row.fail_status_code else None,
            "tokens": tokens,
            "model": row.resolved_model or row.model,
            "alias": row.requested_model,
            "api_key": of_hash(row.api_key_hash),
            "service_tier": row.request_service_tier or row.service_tier,
        }

    return Peer(
        name="CPA-Manager-Plus",
        tables=("usage_events",),
        row=_Row,
        order="timestamp_ms",
        wire=wire,
    )
