"""Parts of SQL statements that are made from a list of columns."""

from collections.abc import Iterable, Sequence


def listed(columns: Iterable[str], prefix: str = "") -> str:
    """Columns as part of a statement."""
    return ", ".join(prefix + column for column in columns)


def insert(table: str, columns: Sequence[str], *, rows: int = 1, replace: bool = False) -> str:
    """The statement that inserts ``rows`` of ``columns``, in this order, or replaces those with their keys."""
    verb = "insert or replace" if replace else "insert"
    row = f"({listed('?' * len(columns))})"
    return f"{verb} into {table} ({listed(columns)}) values {listed([row] * rows)}"


def insert_named(table: str, columns: Sequence[str]) -> str:
    """The statement that inserts a mapping, of which it takes the values of ``columns``."""
    return f"insert into {table} ({listed(columns)}) values ({listed(columns, ':')})"
