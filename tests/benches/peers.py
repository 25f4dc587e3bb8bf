"""Files as cpa-usage-keeper and CPA-Manager-Plus write them, filled with a proxy's records."""

import hashlib
import json
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any

from exporter.days import epoch_ms
from exporter.ledger.ledger import Ledger
from exporter.normalize.tokens import Family, family_of

KEEPER_STEPS = (
    "20260503_add_usage_event_redis_fields",
    "20260601_backfill_claude_usage_tokens",
    "20260605_backfill_gemini_codex_token_format",
    "20261002_pricing_storage_structure",
)
_KEEPER_EVENTS = """(
    id integer primary key, event_key text, api_group_key text, provider text, endpoint text, auth_type text,
    request_id text, model text, model_alias text, reasoning_effort text not null default '',
    service_tier text not null default '', response_service_tier text not null default '',
    executor_type text not null default '', timestamp datetime, source text, auth_index text, failed numeric,
    status_code integer, generate numeric not null default true, latency_ms integer, ttft_ms integer,
    input_tokens integer, output_tokens integer, reasoning_tokens integer, cached_tokens integer,
    cache_read_tokens integer not null default 0, cache_creation_tokens integer not null default 0,
    total_tokens integer, cost_usd real, cost_available boolean, client_ip text, user_agent text, created_at datetime
)"""
_KEEPER = f"""
create table schema_migrations (version text primary key, applied_at datetime not null);
create table usage_events {_KEEPER_EVENTS};
create table usage_events_archive {_KEEPER_EVENTS};
create table usage_identities (id integer primary key, identity text, name text);
"""
_CPAMP = """
create table usage_events (
    id integer primary key autoincrement, request_id text, event_hash text not null unique,
    timestamp_ms integer not null, timestamp text not null, provider text, executor_type text, model text not null,
    endpoint text, method text, path text, client_ip text, auth_type text, auth_index text, source text,
    source_hash text, api_key_hash text, account_snapshot text, requested_model text, resolved_model text,
    service_tier text, request_service_tier text, response_service_tier text, cache_input_mode text,
    input_tokens integer not null default 0, output_tokens integer not null default 0,
    reasoning_tokens integer not null default 0, cached_tokens integer not null default 0,
    cache_tokens integer not null default 0, cache_read_tokens integer not null default 0,
    cache_creation_tokens integer not null default 0, total_tokens integer not null default 0,
    latency_ms integer, ttft_ms integer, failed integer not null default 0, fail_status_code integer,
    raw_json text, created_at_ms integer not null
);
create table api_key_aliases (api_key_hash text primary key, alias text not null, updated_at_ms integer not null);
"""


def keeper_file(
    path: Path, records: Iterable[Mapping[str, Any]], *, archived: int = 0, steps: Sequence[str] = KEEPER_STEPS
) -> Path:
    """The file of a Keeper that has read ``records`` and archived the first ``archived`` of them."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(_KEEPER)
        connection.executemany("insert into schema_migrations values (?, '2026-10-01')", [(step,) for step in steps])
        for number, record in enumerate(records, 1):
            table = "usage_events_archive" if number <= archived else "usage_events"
            insert(connection, table, {"id": number, **_keeper_row(record)})
    return path


def cpamp_file(path: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    """The file of a CPAMP that has read ``records``."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(_CPAMP)
        for number, record in enumerate(records, 1):
            insert(connection, "usage_events", {"event_hash": sha256(str(number)), **_cpamp_row(record)})
    return path


def cpa_export_file(path: Path, usage: Mapping[str, Any]) -> Path:
    """CPA's answer to ``/usage/export``, with these statistics."""
    path.write_text(json.dumps({"version": 1, "exported_at": "2026-11-01T00:00:00Z", "usage": usage}), "utf-8")
    return path


def insert(connection: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> None:
    names = ", ".join(row)
    connection.execute(f"insert into {table} ({names}) values ({', '.join('?' * len(row))})", tuple(row.values()))


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def requests_in(ledger: Ledger) -> list[tuple[Any, ...]]:
    """What each entry says about its request and its cost, whatever its origin, in order of time."""
    with ledger.reading() as connection:
        return connection.execute(
            "select e.ts_ms, r.provider, r.model, e.code <> '', e.latency_ms, e.uncached, e.cache_read, e.cache_write,"
            " e.output, e.reasoning, e.nano_usd, e.basis, e.counted from entry e join series s on s.id = e.series"
            " join route r on r.id = s.route order by 1, 2, 3, 5, 6, 9"
        ).fetchall()


def _moment(record: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(record["timestamp"])


def _zoned(record: Mapping[str, Any], zone: tzinfo) -> str:
    """The record's time in another zone, with all its digits."""
    digits = re.search(r"\.\d+", record["timestamp"])
    moment = _moment(record).astimezone(zone).replace(microsecond=0).isoformat()
    seconds = len("2026-10-01T12:00:00")
    return moment[:seconds] + (digits[0] if digits else "") + moment[seconds:]


def _tokens(record: Mapping[str, Any]) -> dict[str, int]:
    names = ("input", "output", "reasoning", "cached", "cache_read", "cache_creation", "total")
    return {f"{name}_tokens": (record.get("tokens") or {}).get(f"{name}_tokens") or 0 for name in names}


def _family(record: Mapping[str, Any]) -> Family:
    return family_of(
        executor_type=record.get("executor_type") or "", provider=record["provider"], openai_compatible=False
    )


def _keeper_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """One form for all providers: the input includes the cache, the output includes the reasoning."""
    tokens, family = _tokens(record), _family(record)
    if family is Family.CLAUDE:
        tokens["input_tokens"] += tokens["cache_read_tokens"] + tokens["cache_creation_tokens"]
        tokens["cached_tokens"] = tokens["cache_read_tokens"]
    elif family is Family.GEMINI:
        tokens["output_tokens"] += tokens["reasoning_tokens"]
    if not tokens["cache_read_tokens"] and not (record.get("tokens") or {}).get("cache_read_tokens_present"):
        tokens["cache_read_tokens"] = tokens["cached_tokens"]
    return {
        **tokens,
        "event_key": record.get("request_id", ""),
        "api_group_key": record.get("api_key") or record["provider"],
        "provider": record["provider"],
        "endpoint": record.get("endpoint", ""),
        "auth_type": record.get("auth_type", ""),
        "request_id": record.get("request_id", ""),
        "model": record["model"],
        "model_alias": record.get("alias"),
        "service_tier": record.get("service_tier", ""),
        "response_service_tier": record.get("response_service_tier", ""),
        "executor_type": record.get("executor_type", ""),
        "timestamp": _zoned(record, timezone(timedelta(hours=8))),
        "source": record.get("source", ""),
        "auth_index": record.get("auth_index", ""),
        "failed": int(record.get("failed", False)),
        "status_code": (record.get("fail") or {}).get("status_code"),
        "generate": int(record.get("generate", True)),
        "latency_ms": record.get("latency_ms", 0),
        "ttft_ms": record.get("ttft_ms"),
        "client_ip": record.get("client_ip"),
        "user_agent": record.get("user_agent"),
    }


def _cpamp_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """Tokens stay unchanged, keys and accounts are hashes, and the requested name comes before the model's own."""
    moment = _moment(record)
    return {
        **_tokens(record),
        "request_id": record.get("request_id"),
        "timestamp_ms": epoch_ms(moment),
        "timestamp": _zoned(record, UTC).replace("+00:00", "Z"),
        "provider": record["provider"],
        "executor_type": record.get("executor_type"),
        "model": record.get("alias") or record["model"],
        "requested_model": record.get("alias"),
        "resolved_model": record["model"],
        "endpoint": record.get("endpoint"),
        "auth_type": record.get("auth_type"),
        "auth_index": record.get("auth_index"),
        "source": "dev***@example.com",
        "source_hash": sha256(record.get("source", "")),
        "api_key_hash": sha256(record.get("api_key", "")),
        "request_service_tier": record.get("service_tier"),
        "response_service_tier": record.get("response_service_tier"),
        "latency_ms": record.get("latency_ms"),
        "ttft_ms": record.get("ttft_ms"),
        "failed": int(record.get("failed", False)),
        "fail_status_code": (record.get("fail") or {}).get("status_code"),
        "client_ip": record.get("client_ip"),
        "created_at_ms": epoch_ms(moment),
    }
