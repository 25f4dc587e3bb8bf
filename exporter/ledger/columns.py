"""The columns of an entry and of its sums, each listed once: statements and rows are built from here.

A new column of an entry takes a line in ``Entry`` and a migration. Booking fills it from the field of the same name of
a record, its tokens or its cost; the history stores it only after a migration of its own.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from exporter.records import Tokens


class Entry(NamedTuple):
    """A row of the table ``entry``."""

    id: int
    ts_ms: int
    fingerprint: int
    series: int
    price: int
    basis: int
    billing: int
    live: int
    counted: int
    code: str
    unpriced: str
    latency_ms: int
    ttft_ms: int
    uncached: int
    cache_read: int
    cache_write: int
    output: int
    reasoning: int
    unclassified: int
    nano_usd: int


class Rollup(NamedTuple):
    """A row of the table ``rollup``, without ``dearest``, which depends on the entries still here."""

    bucket: int
    series: int
    basis: int
    billing: int
    requests: int
    uncached: int
    cache_read: int
    cache_write: int
    output: int
    reasoning: int
    unclassified: int
    nano_usd: int
    failed: int
    unpriced: int


AMOUNTS = (*Tokens.__struct_fields__, "nano_usd")
"""The columns of an entry that are summed as they are."""
SUMS = ("requests", *AMOUNTS)
"""The sums in both ``total`` and ``rollup``; ``requests`` is the sum of ``counted``."""
TOTAL = ("series", "basis", "billing", *SUMS)
"""The columns of the table ``total``."""

_INPUT = "uncached + cache_read + cache_write"
DAY_SUMS = {
    "requests": "requests",
    "failed": "failed",
    "input": _INPUT,
    "cache_read": "cache_read",
    "cache_write": "cache_write",
    "output": "output",
    "unclassified": "unclassified",
    "nano_usd": "nano_usd",
}
"""The sums in ``day_rollup``, each as an expression over ``rollup``; ``input`` includes cache."""


def listed(columns: Iterable[str], prefix: str = "") -> str:
    """Columns as part of a statement."""
    return ", ".join(prefix + column for column in columns)


def insert(table: str, columns: Sequence[str], *, replace: bool = False) -> str:
    """The statement that inserts a row of ``columns``, in this order, or replaces the one with its key."""
    verb = "insert or replace" if replace else "insert"
    return f"{verb} into {table} ({listed(columns)}) values ({listed('?' * len(columns))})"
