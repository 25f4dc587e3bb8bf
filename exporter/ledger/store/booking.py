"""Booking: one transaction that turns a stored batch into entries and their sums.

The sums are made by SQL over the entries that this transaction inserted (``id > :before``), so a record that was not
inserted cannot be counted, whatever the reason. The batch is deleted in the same transaction: after a crash it is
either booked or still there.
"""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from exporter.ledger.columns import AMOUNTS, SUMS, TOTAL, Entry, Rollup, insert, insert_named, listed
from exporter.ledger.label_store import LabelStore
from exporter.ledger.schema import BUCKET_MS, LATENCY_BOUNDS_MS, TTFT_BOUNDS_MS
from exporter.ledger.store.day_sums import forget_all_days, forget_days
from exporter.ledger.views.quota_points import QuotaKey
from exporter.ledger.views.quotas import QuotaWindow
from exporter.ledger.views.totals import Attempts, SeriesKey, Totals, encode_key
from exporter.records import Cost, Tokens, UsageRecord

_LOOKED_UP = ("series", "price", "live", "counted", "billing", "basis")
_OF_RECORD, _OF_TOKENS, _OF_COST = (
    tuple(name for name in Entry._fields if name in struct.__struct_fields__ and name not in _LOOKED_UP)
    for struct in (UsageRecord, Tokens, Cost)
)
"""What entries take unchanged from a record, its tokens and its cost."""
FILLED = (*_LOOKED_UP, *_OF_RECORD, *_OF_TOKENS, *_OF_COST)
"""The columns of an entry that booking fills: all but its id."""
_of_record, _of_tokens, _of_cost = attrgetter(*_OF_RECORD), attrgetter(*_OF_TOKENS), attrgetter(*_OF_COST)

# Not "or ignore", which would swallow every constraint.
_KNOWN_STAYS = "on conflict (ts_ms, fingerprint) do nothing"
_INSERT_ENTRY = f"{insert('entry', FILLED)} {_KNOWN_STAYS}"
_INSERT_RESTORED = f"{insert_named('entry', Entry._fields)} {_KNOWN_STAYS}"
_FIRST_ID, _LAST_ID = -(2**63), 2**63 - 1
_SUMS_OF_ENTRIES = f"sum(e.counted), {', '.join(f'sum(e.{column})' for column in AMOUNTS)}"


def _add(columns: tuple[str, ...]) -> str:
    return ", ".join(f"{column} = {column} + excluded.{column}" for column in columns)


_NEW_LIVE = "from entry e join series s on s.id = e.series where e.id > ? and e.live"
_SHOWN = "coalesce(s.shown, s.id)"
_NEW_LIVE_SHOWN = (
    "from entry e join series i on i.id = e.series join series s on s.id = coalesce(i.shown, i.id)"
    " where e.id > ? and e.live"
)

_ADD_TOTALS = (
    f"insert into total ({listed(TOTAL)}) select {_SHOWN}, e.basis, e.billing, {_SUMS_OF_ENTRIES} {_NEW_LIVE}"
    f" group by 1, 2, 3 on conflict do update set {_add(SUMS)} returning {listed(TOTAL)}"
)
_ADD_ROLLUP = (
    f"insert into rollup (bucket, series, basis, billing, {listed(SUMS)}, failed, unpriced, dearest)"
    f" select e.ts_ms / {BUCKET_MS}, e.series, e.basis, e.billing, {_SUMS_OF_ENTRIES},"
    " sum(e.counted * (e.code <> '')), sum(e.counted * (e.unpriced <> '')), max(iif(e.counted, e.nano_usd, 0))"
    " from entry e where e.id between ? and ? group by 1, 2, 3, 4"
    f" on conflict do update set {_add((*SUMS, 'failed', 'unpriced'))}, dearest = max(dearest, excluded.dearest)"
)
_ADD_ROLLUPS = (
    f"{insert_named('rollup', Rollup._fields)} on conflict do update set {_add((*SUMS, 'failed', 'unpriced'))}"
)
_ADD_FAILED = (
    f"insert into failed_total select s.route, s.credential, e.code, sum(e.counted) {_NEW_LIVE_SHOWN} and e.code <> ''"
    " group by 1, 2, 3 on conflict do update set requests = requests + excluded.requests returning *"
)
_ADD_UNPRICED = (
    f"insert into unpriced_total select s.route, e.unpriced, sum(e.counted) {_NEW_LIVE_SHOWN} and e.unpriced <> ''"
    " group by 1, 2 on conflict do update set requests = requests + excluded.requests returning *"
)


def _add_histogram(table: str, column: str, bounds: tuple[int, ...]) -> str:
    buckets = "".join(f", sum(e.{column} <= {bound})" for bound in bounds)
    names = ("observations", "sum_ms", *(f"le_{bound}" for bound in bounds))
    return (
        f"insert into {table} select s.route, count(*), sum(e.{column}){buckets} {_NEW_LIVE_SHOWN}"
        f" and e.code = '' and e.{column} > 0 and e.counted group by 1"
        f" on conflict do update set {_add(names)} returning *"
    )


_ADD_LATENCY = _add_histogram("latency_histogram", "latency_ms", LATENCY_BOUNDS_MS)
_ADD_TTFT = _add_histogram("ttft_histogram", "ttft_ms", TTFT_BOUNDS_MS)


@dataclass(slots=True)
class Booked:
    """What a booking did to the sums: rows as the ledger now has them, for memory to take over."""

    entries: int = 0
    oldest_bucket: int | None = None
    totals: list[tuple[int, ...]] = field(default_factory=list)
    failed: list[tuple[int, int, str, int]] = field(default_factory=list)
    unpriced: list[tuple[int, str, int]] = field(default_factory=list)
    latency: list[tuple[int, ...]] = field(default_factory=list)
    ttft: list[tuple[int, ...]] = field(default_factory=list)
    new_series: list[SeriesKey] = field(default_factory=list)
    extra: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """A transaction that changes a proxy. After the commit, memory takes over what the last four fields hold."""

    connection: sqlite3.Connection
    proxy: int
    dictionary: LabelStore
    totals: Totals
    booked: list[Booked] = field(default_factory=list)
    quotas: dict[QuotaKey, QuotaWindow] = field(default_factory=dict)
    attempts: dict[int, Attempts] = field(default_factory=dict)
    new_series: list[SeriesKey] = field(default_factory=list)

    def count_received(self, records: int, booked: Booked) -> None:
        """Count records that the proxy has handed out, and what of them is ``booked``.

        This also stores the last success, which is the previous poll's: the current one is not over.
        """
        flow = self.totals.flows.get(self.proxy)
        # Another source has been read, so the last snapshot is no longer the last look.
        self.connection.execute(
            "update proxy set received = received + ?, booked = booked + ?, extra = extra + ?, last_success_ms = ?,"
            " snapshot_ms = null where id = ?",
            (records, booked.entries, booked.extra, flow.last_success_ms if flow else None, self.proxy),
        )


def book_entries(change: Change, records: Sequence[tuple[UsageRecord, Cost]], *, live: bool) -> Booked:
    """Insert ``records`` of a queue and add them to all sums.

    A record popped from a queue is new by definition: if its identity is taken, it gets the next free one. Records that
    are not ``live`` are from the past: they count in the roll-up and in periods, but not in the totals behind the
    counters.
    """
    if not records:
        return Booked()
    connection, dictionary = change.connection, change.dictionary
    before = connection.execute("select coalesce(max(id), 0) from entry").fetchone()[0]
    series = [dictionary.series_of(connection, change.proxy, record) for record, _ in records]
    _insert_entries(
        connection,
        [
            (
                *(id_, dictionary.price_id(connection, cost.price), int(live)),
                *(int(record.counted), int(record.billing), int(cost.basis)),
                *_of_record(record),
                *_of_tokens(record.tokens),
                *_of_cost(cost),
            )
            for id_, (record, cost) in zip(series, records, strict=True)
        ],
        before=before,
    )
    if live:
        _count_by_credential(change, series, records)
    has_failed = any(record.code for record, _ in records)
    has_unpriced = any(cost.unpriced for _, cost in records)
    buckets = [record.ts_ms // BUCKET_MS for record, _ in records]
    booked = Booked(
        entries=len(records),
        oldest_bucket=min(buckets),
        totals=connection.execute(_ADD_TOTALS, (before,)).fetchall(),
        failed=connection.execute(_ADD_FAILED, (before,)).fetchall() if has_failed else [],
        unpriced=connection.execute(_ADD_UNPRICED, (before,)).fetchall() if has_unpriced else [],
        latency=connection.execute(_ADD_LATENCY, (before,)).fetchall(),
        ttft=connection.execute(_ADD_TTFT, (before,)).fetchall(),
        extra=sum(record.extra for record, _ in records) if live else 0,
    )
    roll_up(connection, before + 1, _LAST_ID)
    forget_days(connection, min(buckets), max(buckets))
    if new := _new_series(booked, change.totals):
        booked.new_series = new
        store_pending_zero(connection, new)
    change.booked.append(booked)
    return booked


def insert_restored(connection: sqlite3.Connection, entries: Sequence[dict[str, Any]]) -> int:
    """Insert entries that another ledger booked, inside the caller's transaction; return how many were new.

    They are values by column. Their ids are negative, so every cursor of the backlog is past them. They count only in
    the roll-up.
    """
    (lowest,) = connection.execute("select min(coalesce(min(id), 0), 0) from entry").fetchone()
    numbered = [entry | {"id": lowest - place} for place, entry in enumerate(entries, 1)]
    inserted = connection.executemany(_INSERT_RESTORED, numbered).rowcount if numbered else 0
    roll_up(connection, lowest - len(numbered), lowest - 1)
    forget_all_days(connection)
    count_unbooked(connection, inserted)
    return inserted


def count_unbooked(connection: sqlite3.Connection, entries: int) -> None:
    """Count entries that were added (if negative, removed) without a booking, inside the caller's transaction."""
    connection.execute("update installation set unbooked_entries = unbooked_entries + ?", (entries,))


def sum_all(connection: sqlite3.Connection) -> None:
    """Add all entries to all sums, inside the caller's transaction."""
    for statement in (_ADD_TOTALS, _ADD_FAILED, _ADD_UNPRICED, _ADD_LATENCY, _ADD_TTFT):
        connection.execute(statement, (_FIRST_ID,)).fetchall()
    roll_up(connection, _FIRST_ID, _LAST_ID)
    forget_all_days(connection)


def roll_up(connection: sqlite3.Connection, first_id: int, last_id: int) -> None:
    """Add the entries with these ids to the roll-up, inside the caller's transaction."""
    connection.execute(_ADD_ROLLUP, (first_id, last_id))


def add_rollups(connection: sqlite3.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Add rows, values by column, to the roll-up, inside the caller's transaction."""
    connection.executemany(_ADD_ROLLUPS, rows)
    forget_all_days(connection)


def _count_by_credential(change: Change, series: Sequence[int], records: Sequence[tuple[UsageRecord, Cost]]) -> None:
    """Count the records that arrived for each credential, to compare with the proxy's own count of attempts."""
    known = change.dictionary.series
    arrived = Counter(
        known[id_].credential for id_, (record, _) in zip(series, records, strict=True) if not record.extra
    )
    change.connection.executemany(
        "update credential set records = records + ? where id = ?", [(n, id_) for id_, n in arrived.items()]
    )


def store_pending_zero(connection: sqlite3.Connection, new: list[SeriesKey]) -> None:
    """Remember that these series have not been shown at 0 yet, inside the caller's transaction."""
    connection.executemany(
        "insert into birth (key) values (?) on conflict do nothing", [(encode_key(key),) for key in new]
    )


def take_over(booked: Booked, totals: Totals) -> None:
    """Show what was booked. Call it after the commit, holding ``totals.lock``."""
    totals.register(booked.new_series)
    totals.set_totals(booked.totals)
    totals.failed.update({(route, credential, code): requests for route, credential, code, requests in booked.failed})
    totals.unpriced.update({(route, reason): requests for route, reason, requests in booked.unpriced})
    totals.latency.update({row[0]: row[1:] for row in booked.latency})
    totals.ttft.update({row[0]: row[1:] for row in booked.ttft})
    totals.entries += booked.entries


def _new_series(booked: Booked, known: Totals) -> list[SeriesKey]:
    """The exported series that have not been exported before."""
    new: list[SeriesKey] = [("s", series) for series in {row[0] for row in booked.totals} - known.series.keys()]
    new += [("c", *row[:3]) for row in booked.totals if row[:3] not in known.costs]
    new += [("f", *row[:3]) for row in booked.failed if row[:3] not in known.failed]
    new += [("u", *row[:2]) for row in booked.unpriced if row[:2] not in known.unpriced]
    new += [("l", row[0]) for row in booked.latency if row[0] not in known.latency]
    new += [("t", row[0]) for row in booked.ttft if row[0] not in known.ttft]
    return new


def _insert_entries(connection: sqlite3.Connection, rows: list[tuple[int | str, ...]], *, before: int) -> None:
    """Insert ``rows``, in a transaction that has inserted nothing else after the entry with the id ``before``."""
    if connection.executemany(_INSERT_ENTRY, rows).rowcount == len(rows):
        return
    # Equal records: none among 20,000 recorded ones, but CPA does not rule them out. Rare enough to go one by one.
    connection.execute("delete from entry where id > ?", (before,))
    for row in rows:
        values = dict(zip(FILLED, row, strict=True))
        while connection.execute(_INSERT_ENTRY, tuple(values.values())).rowcount == 0:
            fingerprint = int(values["fingerprint"])
            values["fingerprint"] = -(2**63) if fingerprint == 2**63 - 1 else fingerprint + 1
