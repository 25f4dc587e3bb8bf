"""The file of cpa-usage-keeper ("Keeper"), as its source defines it from the schema 20260605 to 20261002. Pure.

Keeper puts each provider's tokens into one form: ``input_tokens`` holds what was read from and written to a cache, and
``output_tokens`` the reasoning. It keeps the raw key of a client in ``api_group_key``, or the provider or the endpoint
where there is none, and the account as the proxy names it in ``source``.
"""

from typing import Any

from exporter.imports.peer_files import Peer, Row, text, whole
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
        provider, endpoint, source = text(row["provider"]), text(row["endpoint"]), text(row["source"])
        key = text(row["api_group_key"]) or ""
        no_key = key in (provider, endpoint)
        status = whole(row["status_code"])
        return {
            "timestamp": _zoned(text(row["timestamp"])),
            "latency_ms": row["latency_ms"],
            "ttft_ms": row["ttft_ms"],
            "source": source and pseudonym(source),
            "auth_index": text(row["auth_index"]),
            "failed": bool(whole(row["failed"])),
            "fail": {"status_code": status} if status else None,
            "generate": None if row["generate"] is None else bool(whole(row["generate"])),
            "tokens": {name: whole(row[name]) for name in _TOKENS},
            "token_breakdown": _breakdown(row),
            "provider": provider,
            "executor_type": text(row["executor_type"]),
            "model": text(row["model"]),
            "alias": text(row["model_alias"]),
            "endpoint": endpoint,
            "auth_type": text(row["auth_type"]),
            "api_key": None if no_key else client_of(key, pseudonym) or None,
            "request_id": text(row["request_id"]),
            "service_tier": text(row["service_tier"]),
            "response_service_tier": text(row["response_service_tier"]),
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
    """Keeper once wrote a blank before the zone, which no reader of RFC 3339 takes."""
    return timestamp and timestamp.replace(" +", "+").replace(" -", "-")


def _breakdown(row: Row) -> dict[str, Any]:
    prompt, answer, reasoning = whole(row["input_tokens"]), whole(row["output_tokens"]), whole(row["reasoning_tokens"])
    write = whole(row["cache_creation_tokens"])
    # Before the schema 20260710 rows have one number for the cache alone.
    read = whole(row["cache_read_tokens"]) or (0 if write else whole(row["cached_tokens"]))
    # Keeper does not move what CPA told of Claude with one number: it stands beside the input. So it does wherever the
    # input is too small to hold it.
    beside = read + write > prompt or (_is_claude(row) and not write and _has_one_number(row))
    return {
        "quality": "complete",
        "input": {
            "uncached_tokens": prompt if beside else prompt - read - write,
            "cache_read_tokens": read,
            "cache_write_tokens": write,
        },
        "output": {"non_reasoning_tokens": max(0, answer - reasoning), "reasoning_tokens": min(reasoning, answer)},
    }


def _has_one_number(row: Row) -> bool:
    """Whether it came from ``/usage``, which tells no endpoint, or has not been filled up with a second number."""
    return not text(row["endpoint"]) or not whole(row["cache_read_tokens"])


def _is_claude(row: Row) -> bool:
    executor, provider = text(row["executor_type"]), text(row["provider"])
    if executor or provider:
        return executor == "ClaudeExecutor" or (not executor and provider == "claude")
    return model_family(text(row["model"]) or "")[0] == "claude"
