"""The file of CPA-Manager-Plus ("CPAMP"), as its source defines it from the first version to commit 0261ac2. Pure.

CPAMP keeps the tokens as the proxy sends them, but not which cache counts were missing. It keeps only SHA-256 hashes of
keys and accounts, so a client is recognized only if the configuration has its key.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

from exporter.imports.peer_files import Peer, PeerRow
from exporter.normalize.pseudonyms import Pseudonym


class _Row(PeerRow, kw_only=True):
    """A row of ``usage_events``."""

    event_hash: Any
    timestamp_ms: Any
    source_hash: str | None
    api_key_hash: str | None
    resolved_model: str | None = None
    requested_model: str | None = None
    request_service_tier: str | None = None
    cache_read_tokens: int | None = None
    cache_creation_tokens: int | None = None
    fail_status_code: int | None = None


def cpamp(pseudonym: Pseudonym, keys: Iterable[str]) -> Peer:
    """How the file of a CPAMP is read. ``keys`` are the raw keys in the configuration."""
    known = {hashlib.sha256(key.strip().encode()).hexdigest(): key for key in keys}

    def of_hash(digest: str | None) -> str | None:
        return digest and pseudonym(known.get(digest, digest))

    def wire(row: _Row) -> dict[str, Any]:
        has_cache = row.cache_read_tokens or row.cache_creation_tokens
        return row.wire(
            *(("cache_read_tokens", "cache_creation_tokens") if has_cache else ()),
            status=row.fail_status_code,
            source=of_hash(row.source_hash),
            model=row.resolved_model or row.model,
            alias=row.requested_model,
            api_key=of_hash(row.api_key_hash),
            service_tier=row.request_service_tier or row.service_tier,
        )

    return Peer(
        name="CPA-Manager-Plus",
        tables=("usage_events",),
        row=_Row,
        order="timestamp_ms",
        wire=wire,
    )
