"""The columns of an entry and of its sums, each listed once: the ledger and Supabase take them from here.

A new column of an entry takes a word in ``OF_RECORD`` or ``OF_COST``, or a field of ``Tokens``
(``exporter/records.py``), and a file in ``exporter/ledger/migrations/``. The history sends and restores it without more
code: a file in ``supabase/migrations/`` adds it to ``usage_records``, ``exporter_book`` and ``exporter_records``, and
raises the version there and in ``exporter/history/history.py``, because functions that do not know it would drop it.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from exporter.records import Tokens

LOOKED_UP = ("series", "price", "live", "counted", "billing", "basis")
"""The columns of an entry that booking finds or converts."""
OF_RECORD = ("ts_ms", "fingerprint", "code", "latency_ms", "ttft_ms")
OF_TOKENS = Tokens.__struct_fields__
OF_COST = ("nano_usd", "unpriced")
"""The columns that take the field of that name of a record, its tokens and its cost unchanged."""
ENTRY = ("id", *LOOKED_UP, *OF_RECORD, *OF_TOKENS, *OF_COST)
"""The columns of the table ``entry``."""

OF_PROXY = "series in (select s.id from series s join route r on r.id = s.route where r.proxy = ?1)"
"""A condition that entries and sums of a proxy meet, whose id is the first parameter."""
AMOUNTS = (*OF_TOKENS, "nano_usd")
"""The columns of an entry that are summed as they are."""
TOKENS = "uncached + cache_read + cache_write + output + unclassified"
"""All tokens of an entry or sum, each counted once."""
SUMS = ("requests", *AMOUNTS)
"""The sums in both ``total`` and ``rollup``; ``requests`` is the sum of ``counted``."""
TOTAL = ("series", "basis", "billing", *SUMS)
"""The columns of the table ``total``."""
ROLLUP = ("bucket", *TOTAL, "failed", "unpriced")
"""The columns of the table ``rollup``, without ``dearest``, which depends on the entries still here."""


class Amounts(NamedTuple):
    """The sums in ``day_rollup``: ``requests`` and ``failed`` are requests, the rest tokens and nano-USD.

    ``input`` includes cache, ``output`` reasoning.
    """

    requests: int = 0
    failed: int = 0
    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    unclassified: int = 0
    nano_usd: int = 0

    @classmethod
    def total(cls, parts: Sequence[Sequence[int]]) -> "Amounts":
        """The sum of any number of them."""
        if len(parts) == 1:
            return cls._make(parts[0])
        return cls._make(map(sum, zip(*parts, strict=True))) if parts else cls()

    @property
    def tokens(self) -> int:
        return self.input + self.output + self.unclassified

    @property
    def failed_share(self) -> float | None:
        """Between 0 and 1, None without requests; also if all tokens are unclassified: such counts tell no failures."""
        is_unknown = self.unclassified and not (self.failed or self.input or self.output)
        return None if is_unknown or not self.requests else self.failed / self.requests

    @property
    def cache_share(self) -> float | None:
        """The share of input tokens that came from a cache, None without input."""
        return self.cache_read / self.input if self.input else None

    @property
    def cost_per_request(self) -> int | None:
        """In nano-USD, None without requests."""
        return round(self.nano_usd / self.requests) if self.requests else None


DAY_SUMS = {name: name for name in Amounts._fields} | {"input": "uncached + cache_read + cache_write"}
"""The sums in ``day_rollup``, each as an expression over ``rollup``."""
ALL_SERIES = 0
"""In place of a series in ``day_rollup``: the sums over all of them."""


def listed(columns: Iterable[str], prefix: str = "") -> str:
    """Columns as part of a statement."""
    return ", ".join(prefix + column for column in columns)


def insert(table: str, columns: Sequence[str], *, replace: bool = False) -> str:
    """The statement that inserts a row of ``columns``, in this order, or replaces the one with its key."""
    verb = "insert or replace" if replace else "insert"
    return f"{verb} into {table} ({listed(columns)}) values ({listed('?' * len(columns))})"


def insert_named(table: str, columns: Sequence[str]) -> str:
    """The statement that inserts a mapping, of which it takes the values of ``columns``."""
    return f"insert into {table} ({listed(columns)}) values ({listed(columns, ':')})"
