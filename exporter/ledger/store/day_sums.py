"""The roll-up summed by local days, so that a month of many series is read quickly.

The sums are made from the roll-up later, in transactions of their own, so booking pays nothing for them. The current
day is summed up to an hour ago. Booking into a summed day invalidates its sums in the same transaction; until they are
made again, and for everything not summed, readers use the roll-up itself. So no reader depends on the sums, nor on the
zone they were made for: see ``exporter/ledger/views/usage.py``.
"""

import sqlite3
from collections.abc import Callable, Iterator
from datetime import tzinfo

from exporter.clock import Clock
from exporter.days import day_start_ms, local_date, next_day
from exporter.ledger.amounts import DAY_SUMS
from exporter.ledger.database import Database
from exporter.ledger.schema import BUCKET_MS

ALL_SERIES = 0
"""In place of a series in ``day_rollup``: the sums over all of them."""

_LONGEST_DAY = 25 * 4
_HOUR = 4
_SUM = (
    f"insert into day_rollup (day, series, billing, {', '.join(DAY_SUMS)})"
    f" select :day, {{series}}, billing, {', '.join(f'sum({column})' for column in DAY_SUMS.values())}"
    " from rollup where bucket >= :since and bucket < :until group by 2, 3"
    f" on conflict do update set {', '.join(f'{column} = {column} + excluded.{column}' for column in DAY_SUMS)}"
)


def forget_days(connection: sqlite3.Connection, first: int, last: int) -> None:
    """Forget the sums of days with buckets from ``first`` to ``last``, in the transaction that changes these."""
    connection.execute(
        "delete from summed_day where day > ? and day <= ? and until_bucket > ?", (first - _LONGEST_DAY, last, first)
    )


def forget_all_days(connection: sqlite3.Connection) -> None:
    """Forget the sums of all days, inside the caller's transaction."""
    connection.execute("delete from summed_day")


class DaySums:
    """Makes the sums; call ``refresh`` at its interval."""

    interval_seconds = 60.0

    def __init__(self, database: Database, *, clock: Clock, zone: tzinfo) -> None:
        self._database = database
        self._clock = clock
        self._zone = zone

    def refresh(self, stopping: Callable[[], bool] = lambda: False) -> None:
        """Sum what has no sums yet, a transaction for each day. Raises LedgerError."""
        settled = self._clock.now_ms() // BUCKET_MS // _HOUR * _HOUR - _HOUR
        with self._database.reading() as connection:
            wanted = dict(self._used_days(connection, settled))
            summed = dict(connection.execute("select day, until_bucket from summed_day"))
        # Days of an earlier TIMEZONE, or of a clock that was ahead.
        strange = [day for day, until in summed.items() if until > wanted.get(day, -1)]
        if strange:
            with self._database.transaction() as connection:
                for table in ("summed_day", "day_rollup"):
                    connection.executemany(f"delete from {table} where day = ?", [(day,) for day in strange])
        for day, until in wanted.items():
            if stopping():
                return
            if day in strange or summed.get(day) != until:
                self._sum(day, until)

    def _used_days(self, connection: sqlite3.Connection, settled: int) -> Iterator[tuple[int, int]]:
        """First bucket and end of each local day before ``settled`` with any usage."""
        bucket = 0
        while True:
            (found,) = connection.execute(
                "select min(bucket) from rollup where bucket >= ? and bucket < ?", (bucket, settled)
            ).fetchone()
            if found is None:
                return
            day = local_date(found * BUCKET_MS, self._zone)
            bucket = day_start_ms(next_day(day), self._zone) // BUCKET_MS
            yield day_start_ms(day, self._zone) // BUCKET_MS, min(bucket, settled)

    def _sum(self, day: int, until: int) -> None:
        with self._database.transaction() as connection:
            row = connection.execute("select until_bucket from summed_day where day = ?", (day,)).fetchone()
            if row is None:
                connection.execute("delete from day_rollup where day = ?", (day,))
            part = {"day": day, "since": day if row is None else row[0], "until": until}
            for series in ("series", str(ALL_SERIES)):
                connection.execute(_SUM.format(series=series), part)
            connection.execute("insert or replace into summed_day (day, until_bucket) values (?, ?)", (day, until))
