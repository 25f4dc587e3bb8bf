"""The file of cpa-usage-keeper ("Keeper"), as its source defines it from the schema 20260605 to 20261002. Pure.

Keeper normalizes each provider's tokens: ``input_tokens`` includes cache reads and writes, ``output_tokens`` includes
reasoning. ``api_group_key`` holds a client's raw key or, without one, the provider or endpoint; ``source`` holds the
account as the proxy names it.
"""

from typing import Any

from exporter.imports.peer_files import PeerRow
from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.snapshot import client_of, model_family


class KeeperRow(PeerRow, kw_only=True):
    program = "cpa-usage-keeper"
    tables = ("usage_events", "usage_events_archive")
    order = "timestamp"
    steps = ("20260601_backfill_claude_usage_tokens", "20260605_backfill_gemini_codex_token_format")

    event_key: Any
    api_group_key: str | None
    source: str | None
    executor_type: str | None
    cache_read_tokens: int | None
    cache_creation_tokens: int | None
    model_alias: str | None = None
    generate: int | None = None
    status_code: int | None = None

    def wire(self, pseudonym: Pseudonym) -> dict[str, Any]:
        key = self.api_group_key or ""
        return self.fields(
            "cache_read_tokens",
            "cache_creation_tokens",
            status=self.status_code,
            # Older Keepers wrote a blank before the zone, which no RFC 3339 parser accepts.
            timestamp=self.timestamp and self.timestamp.replace(" +", "+").replace(" -", "-"),
            source=self.source and pseudonym(self.source),
            generate=None if self.generate is None else bool(self.generate),
            token_breakdown=_breakdown(self),
            alias=self.model_alias,
            api_key=None if key in (self.provider, self.endpoint) else client_of(key, pseudonym) or None,
        )


def _breakdown(row: KeeperRow) -> dict[str, Any]:
    prompt, answer, reasoning = row.input_tokens or 0, row.output_tokens or 0, row.reasoning_tokens or 0
    write = row.cache_creation_tokens or 0
    # Before the schema 20260710, rows have a single number for the cache.
    read = row.cache_read_tokens or (0 if write else row.cached_tokens or 0)
    # For Claude with a single number, Keeper leaves the cache beside the input. The same holds wherever the input is
    # too small to include the cache.
    # It has one if it came from ``/usage``, which has no endpoint, or was not completed with a second number.
    has_one = not write and (not row.endpoint or not row.cache_read_tokens)
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


def _is_claude(row: KeeperRow) -> bool:
    if row.executor_type or row.provider:
        return row.executor_type == "ClaudeExecutor" or (not row.executor_type and row.provider == "claude")
    return model_family(row.model or "")[0] == "claude"
