"""The file of cpa-usage-keeper ("Keeper"), as its source defines it from the schema 20260605 to 20261002. Pure.

Keeper normalizes each provider's tokens: ``input_tokens`` includes cache reads and writes, ``output_tokens`` includes
reasoning. ``api_group_key`` holds a client's raw key or, without one, the provider or endpoint; ``source`` holds the
account as the proxy names it.
"""

from typing import Any

from exporter.imports.peer_files import SAME, Peer, Row, text, texts, whole
from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.snapshot import client_of, model_family

_TOKENS = (
    "input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cached_tokens",
    "cache_read_tokens",
    "cache_creation_tokens",
    "total_tokens",
)
_COLUMNS = (
    "event_key",
    "api_group_key",
    "model",
    "timestamp",
    "source",
    "auth_index",
    "failed",
    "latency_ms",
    "provider",
    "endpoint",
    "auth_type",
    "request_id",
    "executor_type",
    *_TOKENS,
)
_NEWER = ("model_alias", "ttft_ms", "service_tier", "response_service_tier", "generate", "status_code")


def keeper(pseudonym: Pseudonym) -> Peer:
    """How the file of a Keeper is read."""

    def wire(row: Row) -> dict[str, Any]:
        source, key = text(row["source"]), text(row["api_group_key"]) or ""
        no_key = key in (text(row["provider"]), text(row["endpoint"]))
        status = whole(row["status_code"])
        return {
            "timestamp": _zoned(text(row["timestamp"])),
            "latency_ms": row["latency_ms"],
            "ttft_ms": row["ttft_ms"],
            "source": source and pseudonym(source),
            "failed": bool(whole(row["failed"])),
            "fail": {"status_code": status} if status else None,
            "generate": None if row["generate"] is None else bool(whole(row["generate"])),
            "tokens": {name: whole(row[name]) for name in _TOKENS},
            "token_breakdown": _breakdown(row),
            "alias": text(row["model_alias"]),
            "api_key": None if no_key else client_of(key, pseudonym) or None,
            **texts(row, *SAME, "model", "service_tier"),
        }

    return Peer(
        name="cpa-usage-keeper",
        tables=("usage_events", "usage_events_archive"),
        columns=_COLUMNS,
        newer=_NEWER,
        order="timestamp",
        wire=wire,
        steps=("20260601_backfill_claude_usage_tokens", "20260605_backfill_gemini_codex_token_format"),
    )


def _zoned(timestamp: str | None) -> str | None:
    """Older Keepers wrote a blank before the zone, which no RFC 3339 parser accepts."""
    return timestamp and timestamp.replace(" +", "+").replace(" -", "-")


def _breakdown(row: Row) -> dict[str, Any]:
    prompt, answer, reasoning = whole(row["input_tokens"]), whole(row["output_tokens"]), whole(row["reasoning_tokens"])
    write = whole(row["cache_creation_tokens"])
    # Before the schema 20260710, rows have a single number for the cache.
    read = whole(row["cache_read_tokens"]) or (0 if write else whole(row["cached_tokens"]))
    # For Claude with a single number, Keeper leaves the cache beside the input. The same holds wherever the input is
    # too small to include the cache.
    # It has one if it came from ``/usage``, which has no endpoint, or was not completed with a second number.
    has_one = not write and (not text(row["endpoint"]) or not whole(row["cache_read_tokens"]))
    beside = read + write > prompt or (_is_claude(row) and has_one)
    return {
        "quality": "complete",
        "input": {
            "uncached_tokens": prompt if beside else prompt - read - write,
            "cache_read_tokens": read,
            "cache_write_tokens": write,
        },
        "output": {"non_reasoning_tokens": max(0, answer - reasoning), "reasoning_tokens": min(reasoning, answer)},
    }


def _is_claude(row: Row) -> bool:
    executor, provider = text(row["executor_type"]), text(row["provider"])
    if executor or provider:
        return executor == "ClaudeExecutor" or (not executor and provider == "claude")
    return model_family(text(row["model"]) or "")[0] == "claude"
