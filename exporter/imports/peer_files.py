"""The SQLite files of peers: other programs that keep a proxy's usage. They are read, never written.

A file is read only if its table has the columns of a known peer; any other is refused, because a wrong guess would
become wrong money.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec

from exporter.errors import ImportFileError
from exporter.imports.items import Item, misfit
from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.snapshot import client_of, model_family
from exporter.normalize.wire_record import Wire

_MOST_TABLES_NAMED = 20
_TOKENS = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens", "total_tokens")


class PeerRow(msgspec.Struct, kw_only=True):
    """A row of a peer, with the columns that all peers have. Only newer versions have the columns with a default.

    Texts are stripped; None stands for empty ones. Each row of ``tables`` is a record; the first table must exist, with
    the columns that have no default. ``steps`` are the schema changes that give rows their present meaning.
    """

    program: ClassVar[str]
    tables: ClassVar[tuple[str, ...]]
    order: ClassVar[str]
    steps: ClassVar[tuple[str, ...]] = ()

    timestamp: str | None
    provider: str | None
    model: str | None
    endpoint: str | None
    auth_type: str | None
    auth_index: str | None
    request_id: str | None
    failed: int | None
    latency_ms: Any
    input_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    cached_tokens: int | None
    total_tokens: int | None
    executor_type: str | None = None
    service_tier: str | None = None
    response_service_tier: str | None = None
    ttft_ms: Any = None

    def wire(self, pseudonym: Pseudonym) -> dict[str, Any]:
        """The fields of a redacted ``Wire``. ``pseudonym`` is applied to what the peer keeps of a key or account."""
        raise NotImplementedError

    def fields(self, *tokens: str, status: int | None, **fields: object) -> dict[str, Any]:
        """The fields of a wire record: the row's of the same name, token counts (``tokens``, too), and ``fields``."""
        same = {name: getattr(self, name) for name in PeerRow.__struct_fields__ if name in Wire.__struct_fields__}
        counts = {name: getattr(self, name) or 0 for name in (*_TOKENS, *tokens)}
        fail = {"status_code": status} if status else None
        return same | {"failed": bool(self.failed), "fail": fail, "tokens": counts, **fields}


class KeeperRow(PeerRow, kw_only=True):
    """A row of cpa-usage-keeper ("Keeper"), as its source defines it from schema 20260605 to 20261002.

    Keeper normalizes each provider's tokens: ``input_tokens`` includes cache reads and writes, ``output_tokens``
    includes reasoning. ``api_group_key`` holds a client's raw key or, without one, the provider or endpoint; ``source``
    holds the account as the proxy names it.
    """

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
    # Before schema 20260710, rows have a single number for the cache.
    read = row.cache_read_tokens or (0 if write else row.cached_tokens or 0)
    # For Claude, where a row has a single number, Keeper does not include the cache in the input. A row has a single
    # number if it came from ``/usage``, which names no endpoint, or if the second number was never added. Nor is the
    # cache included where the input is too small for it.
    has_single_number = not write and (not row.endpoint or not row.cache_read_tokens)
    beside = read + write > prompt or (_is_claude(row) and has_single_number)
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


class CpampRow(PeerRow, kw_only=True):
    """A row of CPA-Manager-Plus ("CPAMP"), as its source defines it from the first version to commit 0261ac2.

    CPAMP keeps the tokens as the proxy sends them, but not which cache counts were missing. It keeps only SHA-256
    hashes of keys and accounts, so a client is recognized only if the configuration has its key.
    """

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
    """Pseudonyms for SHA-256 hashes. A hash of one of ``keys``, the raw keys in the configuration, gets that key's."""
    known = {hashlib.sha256(key.strip().encode()).hexdigest(): key for key in keys}
    return lambda digest: pseudonym(known.get(digest, digest))


# --- files ------------------------------------------------------------------------------------------------------------


def read_peer(path: Path, peer: type[PeerRow], pseudonym: Pseudonym) -> Iterator[Item]:
    """The records of the file, oldest first. Raises ImportFileError if it is not a file of this peer."""
    try:
        with closing(_connect(path)) as connection:
            connection.text_factory = lambda text: text.decode("utf-8", "replace")
            connection.row_factory = sqlite3.Row
            for row in connection.execute(_statement(connection, path, peer)):
                yield _item(peer, row, pseudonym)
    except sqlite3.Error as exc:
        raise ImportFileError(
            f"{path} cannot be read as an SQLite file ({exc}). If {peer.program} runs, stop it, or copy the file with"
            " sqlite3's .backup; a copy needs its -wal file beside it and a folder that can be written."
        ) from exc


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"file:{quote(str(path))}?mode=ro"
    connection = sqlite3.connect(uri, uri=True)
    try:
        connection.execute("select 1 from sqlite_master")
    except sqlite3.DatabaseError:
        connection.close()
        if path.with_name(f"{path.name}-wal").exists():
            raise
        # The folder cannot be written, as on a read-only mount. Without a WAL, no program has the file open.
        connection = sqlite3.connect(f"{uri}&immutable=1", uri=True)
    return connection


def _statement(connection: sqlite3.Connection, path: Path, peer: type[PeerRow]) -> str:
    found = {table: _columns(connection, table) for table in peer.tables}
    fields = msgspec.structs.fields(peer)
    needed = {field.name for field in fields if field.required}
    missing = sorted(needed - found[peer.tables[0]])
    if missing:
        named = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
        tables = ", ".join(sorted(named)[:_MOST_TABLES_NAMED]) or "none"
        table = peer.tables[0]
        lacks = f"{table} lacks {', '.join(missing)}" if found[table] else f"it has no table {table}"
        raise ImportFileError(
            f"{path} is not a {peer.program} database that this version knows: {lacks}."
            f" Its tables: {tables}. Nothing was imported."
        )
    done = _steps(connection)
    undone = [step for step in peer.steps if step not in done]
    if undone:
        raise ImportFileError(
            f"{path} comes from a {peer.program} that counted tokens differently: the change {undone[0]} of its schema"
            f" is missing. Start a newer {peer.program} once with this file, which updates it, and then import it."
        )
    selects = []
    for table, columns in found.items():
        if columns >= needed:
            names = [field.name if field.name in columns else f"null as {field.name}" for field in fields]
            # All names in the statement are declared in this program.
            selects.append(f"select {', '.join(names)} from {table}")  # noqa: S608
    return f"{' union all '.join(selects)} order by {peer.order}"


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row["name"] for row in connection.execute(f"pragma table_info({table})")}


def _steps(connection: sqlite3.Connection) -> set[str]:
    if not _columns(connection, "schema_migrations"):
        return set()
    return {row["version"] for row in connection.execute("select version from schema_migrations")}


def _item(peer: type[PeerRow], row: sqlite3.Row, pseudonym: Pseudonym) -> Item:
    values = dict(row)
    try:
        known = msgspec.convert({name: _clean(value) for name, value in values.items()}, peer)
        return msgspec.convert(known.wire(pseudonym), Wire, strict=False)
    except (msgspec.ValidationError, TypeError, ValueError):
        return misfit(peer.program, sorted(values.items()))


def _clean(value: object) -> object:
    if not isinstance(value, str):
        return value
    return value.strip().replace("\0", "\N{REPLACEMENT CHARACTER}") or None
