"""The ledger's tables, as the steps from an empty file to today's schema.

Each step is a file in ``migrations/``, in the order of the names. A released step is never edited: ledgers in the field
have run it. Times are integers in ms since the epoch, money is in nano-USD, and enums are stored as their values.
"""

from functools import cache
from pathlib import Path

APPLICATION_ID = 0x43504C45
"""``PRAGMA application_id`` of a ledger ("CPLE"), which no other SQLite file has."""

BUCKET_MS = 900_000
"""Length of a roll-up bucket: every time zone's offset from UTC is a multiple of it."""

LATENCY_BOUNDS_MS = (500, 1000, 2500, 5000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000)
TTFT_BOUNDS_MS = (100, 250, 500, 1000, 2000, 4000, 8000, 15_000, 30_000, 60_000)
"""Upper bounds of the histograms' buckets, each a column ``le_BOUND``."""
HISTOGRAMS = {"latency": LATENCY_BOUNDS_MS, "ttft": TTFT_BOUNDS_MS}
"""What is measured: the column ``WHAT_ms`` of an entry, summed in the table ``WHAT_histogram``."""

NEVER_CLAIMED, CLAIMED, RESTORED = 0, 1, 2
"""Stages of a proxy's history, in ``history_stage``."""


@cache
def migrations() -> tuple[str, ...]:
    """The steps; ``migrations()[n]`` leads from schema version n to n + 1."""
    files = sorted(Path(__file__).with_name("migrations").glob("*.sql"))
    return tuple(file.read_text(encoding="utf-8") for file in files)
