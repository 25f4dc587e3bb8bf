"""A ledger with many entries, filled by SQL statements, because booking them would take an hour."""

import sqlite3
import time
from pathlib import Path

from benchmarks.program import Program
from benchmarks.records import SECONDS_BETWEEN_RECORDS, Stream, every_label_set
from exporter.ledger.database import FILE_NAME
from exporter.ledger.store.booking import roll_up, sum_all
from exporter.ledger.store.checksums import number_of_row
from exporter.ledger.store.day_sums import forget_all_days

_CHUNK = 500_000
_SUMS = ("total", "failed_total", "unpriced_total", "latency_histogram", "ttft_histogram", "rollup")
_GENERATE = """
insert into entry (ts_ms, fingerprint, series, price, basis, billing, live, counted, code, unpriced, latency_ms,
                   ttft_ms, uncached, cache_read, cache_write, output, reasoning, unclassified, nano_usd)
with recursive numbers (n) as (values (?) union all select n + 1 from numbers where n + 1 < ?)
select ? + n * ?, n, series, 1, 0, 1 + series % 2, 1, 1, iif(n % 20, '', '429'), '', 1500, 300,
       100 + n % 1000, 10000 + n % 5000, n % 300, 200 + n % 900, n % 100, 0, 12345678 + n % 987654
from (select n, 1 + (n * 2654435761 % 4294967296 >> 8) % ? as series from numbers)
"""


def fill(folder: Path, entries: int, label_sets: int, *, with_totals: bool = False) -> None:
    """Make a ledger with this many entries up to now, spread at random over this many label sets.

    Without totals it has only a roll-up, which takes half the time.
    """
    program = Program(folder)
    program.take(Stream(every_label_set(label_sets), records=label_sets).body(label_sets))
    series = len(program.ledger.name_store.series)
    program.close()
    connection = sqlite3.connect(folder / FILE_NAME, isolation_level=None)
    connection.create_function("number_of_row", -1, number_of_row, deterministic=True)
    connection.execute("pragma synchronous = off")
    connection.execute("pragma cache_size = -200000")
    step_ms = round(SECONDS_BETWEEN_RECORDS * 1000)
    first_ms = int(time.time() * 1000) - entries * step_ms
    for table in ("entry", "birth", *_SUMS):
        connection.execute(f"delete from {table}")  # noqa: S608 - our own names
    for start in range(0, entries, _CHUNK):
        end = min(start + _CHUNK, entries)
        connection.execute("begin")
        connection.execute(_GENERATE, (start, end, first_ms, step_ms, series))
        if not with_totals:
            (last,) = connection.execute("select max(id) from entry").fetchone()
            roll_up(connection, last - (end - start) + 1, last)
        connection.execute("commit")
    connection.execute("begin")
    if with_totals:
        sum_all(connection)
    forget_all_days(connection)
    connection.execute("update proxy set received = ?1, booked = ?1", (entries,))
    connection.execute("commit")
    connection.close()
