"""Checks at a start whether names and states are as they were written.

After a clean end the file must have the digest noted then, and nothing else is read. After any other end, or if
somebody changed the file, each table with names or states must match its checksum: the sum of one number per row.
Triggers update it in the transaction that changes a row, so it holds whenever a process dies. Tables that change with
every record have none, as that would cost a tenth of booking: ``verification.py`` adds them up instead.
"""

import contextlib
import json
import sqlite3
import zlib
from pathlib import Path

from exporter.ledger.views.totals import TOTALS

_BLOCK_BYTES = 1024 * 1024
_SUMMED = {"entry", "rollup", "day_rollup", "summed_day", *TOTALS}
_PASSING = {"batch", "rejected", "birth", "quota_window", "quota_detail", "quota_point", "snapshot_series"}
_WITHOUT = {"checksum", *_SUMMED, *_PASSING}
_HOT = {
    "proxy": frozenset(
        ["received", "booked", "duplicate", "backfilled", "extra", "last_success_ms", "snapshot_ms", "watch"]
    ),
    "credential": frozenset({"records"}),
}
"""The columns of a table that change with every poll: its checksum leaves them out."""


def number_of_row(*values: object) -> int:
    """What a row adds to its table's checksum. SQL calls it, too."""
    return zlib.crc32(repr(values).encode())


def note_end(path: Path) -> None:
    """Note the digest of the closed ledger at ``path``. Without a whole note the next start checks everything."""
    with contextlib.suppress(OSError):  # a full disk, for example
        _note(path).write_text(json.dumps(_state(path)), encoding="ascii")


def is_as_it_ended(path: Path) -> bool:
    """Whether the ledger, which nobody has open, is byte for byte what it was at its last clean end."""
    try:
        noted = json.loads(_note(path).read_bytes())
        return noted is not None and noted == _state(path)
    except (OSError, ValueError):
        return False


def _note(path: Path) -> Path:
    return path.with_name(path.name + "-end")


def _state(path: Path) -> list[int] | None:
    """Size and CRC of the file, None if part of the ledger is still in its write-ahead log."""
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size:
        return None
    digest = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest = zlib.crc32(block, digest)
        return [file.tell(), digest]


def install(connection: sqlite3.Connection) -> None:
    """Bring the triggers in line with the tables, inside the caller's transaction; new ones start with a new sum."""
    stored = dict(connection.execute("select name, sql from sqlite_master where type = 'trigger'"))
    for table in _tables(connection):
        triggers = _triggers(connection, table)
        if all(stored.get(name) == sql for name, sql in triggers.items()):
            continue
        for name, sql in triggers.items():
            connection.execute(f"drop trigger if exists {name}")
            connection.execute(sql)
        computed = f"insert or replace into checksum (name, value) values (?, ({_sum(connection, table)}))"
        connection.execute(computed, (table,))


def changed_tables(connection: sqlite3.Connection) -> set[str]:
    """The tables that do not match their checksum."""
    sums = dict(connection.execute("select name, value from checksum"))
    tables = _tables(connection)
    return {
        table for table in tables if connection.execute(_sum(connection, table)).fetchone()[0] != sums.get(table)
    } | (sums.keys() - set(tables))


def _tables(connection: sqlite3.Connection) -> list[str]:
    names = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
    return [name for name in names if name not in _WITHOUT and not name.startswith("sqlite_")]


def _triggers(connection: sqlite3.Connection, table: str) -> dict[str, str]:
    columns = _columns(connection, table)
    new, old = _number(table, columns, "new."), _number(table, columns, "old.")
    changes = {
        "insert": ("insert", f"+ {new}"),
        "delete": ("delete", f"- {old}"),
        "update": (f"update of {', '.join(columns)}", f"+ {new} - {old}"),
    }
    return {
        f"{table}_{name}_sum": f"CREATE TRIGGER {table}_{name}_sum after {event} on {table} begin"
        f" update checksum set value = value {change} where name = '{table}'; end"
        for name, (event, change) in changes.items()
    }


def _sum(connection: sqlite3.Connection, table: str) -> str:
    return f"select coalesce(sum({_number(table, _columns(connection, table))}), 0) from {table}"


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    names = [name for (name,) in connection.execute("select name from pragma_table_info(?)", (table,))]
    return [name for name in names if name not in _HOT.get(table, ())]


def _number(table: str, columns: list[str], prefix: str = "") -> str:
    if table == "series":  # the largest table: no call of Python for each row
        weighed = (f"coalesce({prefix}{name}, 0) * {2 * place + 3}" for place, name in enumerate(columns))
        return f"({' + '.join(weighed)})"
    return f"number_of_row({', '.join(prefix + name for name in columns)})"
