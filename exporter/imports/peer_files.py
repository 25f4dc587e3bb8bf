"""The SQLite files of peers: other programs that keep a proxy's usage. They are read, never written.

A file is read only if its table has the columns of a known peer; any other is refused, because a wrong guess would
become wrong money.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec

from exporter.errors import ImportFileError
from exporter.imports.items import Item, misfit
from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.wire import Wire

_MOST_TABLES_TOLD = 20
_TOKENS = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens", "total_tokens")


class PeerRow(msgspec.Struct, kw_only=True):
    """A row of a peer, and what all peers keep of a record. Only newer versions have the columns with a default.

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
        """The fields of a redacted ``Wire``; ``pseudonym`` is of what the peer keeps of a key or account."""
        raise NotImplementedError

    def fields(self, *tokens: str, status: int | None, **fields: object) -> dict[str, Any]:
        """The fields of a wire record: those that a row has under the same name, counts of ``tokens``, and others."""
        same = {name: getattr(self, name) for name in PeerRow.__struct_fields__ if name in Wire.__struct_fields__}
        counts = {name: getattr(self, name) or 0 for name in (*_TOKENS, *tokens)}
        fail = {"status_code": status} if status else None
        return same | {"failed": bool(self.failed), "fail": fail, "tokens": counts, **fields}


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
            f"{path} cannot be read as an SQLite file ({exc}). If {peer.program} runs, stop it, or copy the file by"
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
        # A folder that cannot be written, such as a read-only mount. Without a WAL, no program has the file open.
        connection = sqlite3.connect(f"{uri}&immutable=1", uri=True)
    return connection


def _statement(connection: sqlite3.Connection, path: Path, peer: type[PeerRow]) -> str:
    found = {table: _columns(connection, table) for table in peer.tables}
    fields = msgspec.structs.fields(peer)
    needed = {field.name for field in fields if field.required}
    missing = sorted(needed - found[peer.tables[0]])
    if missing:
        named = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
        tables = ", ".join(sorted(named)[:_MOST_TABLES_TOLD]) or "none"
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
