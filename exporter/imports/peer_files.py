"""The SQLite files of peers: other programs that keep a proxy's usage. They are read, never written.

A file is read only if its table has the columns of a known peer; any other is refused, because a wrong guess would
become wrong money.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from exporter.errors import ImportFileError
from exporter.imports.items import Item, misfit
from exporter.normalize.wire import Wire

_MOST_TABLES_TOLD = 20

Row = Mapping[str, Any]

SAME = ("auth_index", "provider", "executor_type", "endpoint", "auth_type", "request_id", "response_service_tier")
"""Texts of a wire record that all peers keep under their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A program, and how its file is read.

    Each row of ``tables`` is a record; the first table must exist. ``columns`` must exist in it; ``newer`` columns are
    None if an older version lacks them. ``steps`` are the schema changes that give rows their present meaning. ``wire``
    turns a row into the fields of a redacted ``Wire``.
    """

    name: str
    tables: Sequence[str]
    columns: Sequence[str]
    newer: Sequence[str]
    order: str
    wire: Callable[[Row], dict[str, Any]]
    steps: Sequence[str] = ()


def read_peer(path: Path, peer: Peer) -> Iterator[Item]:
    """The records of the file, oldest first. Raises ImportFileError if it is not a file of this peer."""
    try:
        with closing(_connect(path)) as connection:
            connection.text_factory = lambda text: text.decode("utf-8", "replace")
            connection.row_factory = sqlite3.Row
            for row in connection.execute(_statement(connection, path, peer)):
                yield _item(peer, row)
    except sqlite3.Error as exc:
        raise ImportFileError(
            f"{path} cannot be read as an SQLite file ({exc}). If {peer.name} runs, stop it, or copy the file by"
            " sqlite3's .backup; a copy needs its -wal file beside it and a folder that can be written."
        ) from exc


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"file:{quote(str(path))}?mode=ro"
    connection = sqlite3.connect(uri, uri=True)
    try:
        connection.execute("select 1 from sqlite_master")
    except sqlite3.OperationalError:
        connection.close()
        if path.with_name(f"{path.name}-wal").exists():
            raise
        # A folder that cannot be written, such as a read-only mount. Without a WAL, no program has the file open.
        connection = sqlite3.connect(f"{uri}&immutable=1", uri=True)
    return connection


def _statement(connection: sqlite3.Connection, path: Path, peer: Peer) -> str:
    found = {table: _columns(connection, table) for table in peer.tables}
    missing = sorted(set(peer.columns) - found[peer.tables[0]])
    if missing:
        named = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
        tables = ", ".join(sorted(named)[:_MOST_TABLES_TOLD]) or "none"
        table = peer.tables[0]
        lacks = f"{table} lacks {', '.join(missing)}" if found[table] else f"it has no table {table}"
        raise ImportFileError(
            f"{path} is not a {peer.name} database that this version knows: {lacks}."
            f" Its tables: {tables}. Nothing was imported."
        )
    done = _steps(connection) if peer.steps else set()
    undone = [step for step in peer.steps if step not in done]
    if undone:
        raise ImportFileError(
            f"{path} comes from a {peer.name} that counted tokens differently: the change {undone[0]} of its schema is"
            f" missing. Start a newer {peer.name} once with this file, which updates it, and then import it."
        )
    selects = []
    for table, columns in found.items():
        if columns >= set(peer.columns):
            newer = [name if name in columns else f"null as {name}" for name in peer.newer]
            # All names in the statement are declared in this program.
            selects.append(f"select {', '.join([*peer.columns, *newer])} from {table}")  # noqa: S608
    return f"{' union all '.join(selects)} order by {peer.order}"


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row["name"] for row in connection.execute(f"pragma table_info({table})")}


def _steps(connection: sqlite3.Connection) -> set[str]:
    if not _columns(connection, "schema_migrations"):
        return set()
    return {row["version"] for row in connection.execute("select version from schema_migrations")}


def _item(peer: Peer, row: sqlite3.Row) -> Item:
    values = dict(row)
    try:
        return msgspec.convert(peer.wire(values), Wire, strict=False)
    except (msgspec.ValidationError, TypeError, ValueError):
        return misfit(peer.name, sorted(values.items()))


def text(value: object) -> str | None:
    """A stripped text from a row, None if empty. Raises TypeError for anything else."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError
    return value.strip().replace("\0", "\N{REPLACEMENT CHARACTER}") or None


def texts(row: Row, *columns: str) -> dict[str, Any]:
    """The texts in these columns, by column."""
    return {column: text(row[column]) for column in columns}


def whole(value: object) -> int:
    """A count from a row, 0 if missing. Raises TypeError for anything else."""
    if value is None:
        return 0
    if not isinstance(value, int):
        raise TypeError
    return value
