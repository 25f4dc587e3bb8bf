"""The file of CPA-Manager-Plus ("CPAMP"), as its source defines it from the first version to commit 0261ac2. Pure.

CPAMP keeps the tokens as the proxy sends them, but not which cache counts were missing. It keeps only SHA-256 hashes of
keys and accounts, so a client is recognized only if the configuration has its key.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

from exporter.imports.peer_files import PeerRow
from exporter.normalize.pseudonyms import Pseudonym


class CpampRow(PeerRow, kw_only=True):
    program = "CPA-Manager-Plus"
    tables = ("usage_events",)
    order = "timestamp_ms"

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

    def wire(self, pseudonym: Pseudonym) -> dict[str, Any]:
        has_cache = self.cache_read_tokens or self.cache_creation_tokens
        return self.fields(
            *(("cache_read_tokens", "cache_creation_tokens") if has_cache else ()),
            status=self.fail_status_code,
            source=self.source_hash and pseudonym(self.source_hash),
            model=self.resolved_model or self.model,
            alias=self.requested_model,
            api_key=self.api_key_hash and pseudonym(self.api_key_hash),
            service_tier=self.request_service_tier or self.service_tier,
        )


def of_hashes(pseudonym: Pseudonym, keys: Iterable[str]) -> Pseudonym:
    """The pseudonym of a hash; ``keys`` are the raw keys in the configuration, which have their own."""
    known = {hashlib.sha256(key.strip().encode()).hexdigest(): key for key in keys}
    return lambda digest: pseudonym(known.get(digest, digest))
