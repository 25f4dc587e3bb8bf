"""The file of CPA-Manager-Plus ("CPAMP"), as its source defines it from the first version to commit 0261ac2. Pure.

CPAMP keeps the tokens as the proxy sends them, but not which cache counts were missing. It keeps only SHA-256 hashes of
keys and accounts, so a client is recognized only if the configuration has its key.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

from exporter.imports.peer_files import SAME, Peer, Row, text, texts, whole
from exporter.normalize.pseudonyms import Pseudonym

_TOKENS = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens", "total_tokens")
_COLUMNS = (
    "event_hash",
    "timestamp_ms",
    "timestamp",
    "provider",
    "model",
    "endpoint",
    "auth_type",
    "auth_index",
    "source_hash",
    "api_key_hash",
    "latency_ms",
    "failed",
    "request_id",
    *_TOKENS,
)
_NEWER = (
    "resolved_model",
    "requested_model",
    "executor_type",
    "service_tier",
    "request_service_tier",
    "response_service_tier",
    "cache_read_tokens",
    "cache_creation_tokens",
    "ttft_ms",
    "fail_status_code",
)


def cpamp(pseudonym: Pseudonym, keys: Iterable[str]) -> Peer:
    """How the file of a CPAMP is read. ``keys`` are the raw keys in the configuration."""
    known = {hashlib.sha256(key.strip().encode()).hexdigest(): key for key in keys}

    def of_hash(digest: str | None) -> str | None:
        return digest and pseudonym(known.get(digest, digest))

    def wire(row: Row) -> dict[str, Any]:
        read, write = whole(row["cache_read_tokens"]), whole(row["cache_creation_tokens"])
        tokens = {name: whole(row[name]) for name in _TOKENS}
        if read or write:
            tokens |= {"cache_read_tokens": read, "cache_creation_tokens": write}
        status = whole(row["fail_status_code"])
        return {
            "timestamp": text(row["timestamp"]),
            "latency_ms": row["latency_ms"],
            "ttft_ms": row["ttft_ms"],
            "source": of_hash(text(row["source_hash"])),
            "failed": bool(whole(row["failed"])),
            "fail": {"status_code": status} if status else None,
            "tokens": tokens,
            "model": text(row["resolved_model"]) or text(row["model"]),
            "alias": text(row["requested_model"]),
            "api_key": of_hash(text(row["api_key_hash"])),
            "service_tier": text(row["request_service_tier"]) or text(row["service_tier"]),
            **texts(row, *SAME),
        }

    return Peer(
        name="CPA-Manager-Plus",
        tables=("usage_events",),
        columns=_COLUMNS,
        newer=_NEWER,
        order="timestamp_ms",
        wire=wire,
    )
