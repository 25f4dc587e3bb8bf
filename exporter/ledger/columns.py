"""The columns of an entry and of its sums, each listed once. The labels that split these are in ``labels.py``.

A new column of an entry takes a word in ``OF_RECORD`` or ``OF_COST``, or a field of ``Tokens``
(``exporter/records.py``), and a file in ``exporter/ledger/migrations/``. The history sends and restores it without more
code: a file in ``supabase/migrations/`` adds it to ``usage_records``, ``exporter_book`` and ``exporter_records``, and
raises the version there and in ``exporter/history/preflight.py``, because functions that do not know it would drop it.
"""

from exporter.records import Tokens

LOOKED_UP = ("series", "price", "live", "counted", "billing", "basis")
"""The columns of an entry that booking finds or converts."""
OF_RECORD = ("ts_ms", "fingerprint", "code", "latency_ms", "ttft_ms")
OF_TOKENS = Tokens.__struct_fields__
OF_COST = ("nano_usd", "unpriced")
"""These columns hold fields of a record, of its tokens and of its cost, unchanged and under the same names."""
ENTRY = ("id", *LOOKED_UP, *OF_RECORD, *OF_TOKENS, *OF_COST)
"""The columns of the table ``entry``."""

OF_PROXY = "series in (select s.id from series s join route r on r.id = s.route where r.proxy = ?1)"
"""A condition that the entries and sums of a proxy meet. The proxy's id is the first parameter."""
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
