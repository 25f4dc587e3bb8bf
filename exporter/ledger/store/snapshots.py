"""What the ledger remembers about a proxy's snapshots, and false starts.

A snapshot is read again and again, so booking one means finding what is new in it. The identity of each detail decides
that; the marks only say which details need no look.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from exporter.ledger.changes import Change, Changes
from exporter.ledger.schema import CLAIMED, RESTORED
from exporter.ledger.statements import insert, listed
from exporter.ledger.store.batches import not_kept, reject
from exporter.ledger.store.booking import book_entries
from exporter.ledger.store.restarts import record_observation
from exporter.normalize.snapshot import Mark, SnapshotSeries
from exporter.normalize.usage_record import EARLIEST_MS
from exporter.records import Cost, Rejected, UsageRecord

MarkKey = tuple[str, str]
"""Pseudonym of the name that the proxy lists a series under, and its model."""

Identity = tuple[int, int]
"""Time in ms and fingerprint."""

MARKS = ("proxy", "client", "model", *Mark.__struct_fields__)
"""The columns of a table of marks."""


@dataclass(frozen=True, slots=True)
class LastSnapshot:
    """The last good snapshot of a proxy.

    ``taken_ms`` is its time by the proxy's clock, None at the first contact; unless it ``is_last_look``, another source
    was read since, and ``taken_ms`` is the time of that read by our clock. ``counted_ms``: the span in which the proxy
    sent no details, so that its counts were booked instead. ``key_sign``: that of the hash key behind the names in
    ``marks``; empty if unknown.
    """

    taken_ms: int | None
    is_last_look: bool
    marks: Mapping[MarkKey, Mark]
    counted_ms: tuple[int, int]
    key_sign: str

    @property
    def is_first(self) -> bool:
        """Whether there is nothing that counts can have risen from."""
        return not (self.is_last_look or self.marks)

    @property
    def had_no_details(self) -> bool:
        """Whether it had only counts."""
        return bool(self.marks) and all(mark.length is None for mark in self.marks.values())


class FalseStart(NamedTuple):
    """A sudden first value that was not believed. ``client`` is a pseudonym, ``nano_usd`` what it would have cost."""

    at_ms: int
    client: str
    model: str
    requests: int
    tokens: int
    nano_usd: int


class Restored(NamedTuple):
    """The last snapshot that was restored from the history, with its ``marks``.

    ``first`` is what a proxy without details had counted at ``first_ms``, at this ledger's first contact with it; empty
    if there was none yet, or if the proxy sends details.
    """

    marks: Mapping[MarkKey, Mark]
    first: Sequence[SnapshotSeries]
    first_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotDeltas:
    """What a snapshot without details has counted since an earlier one."""

    increments: Sequence[tuple[UsageRecord, Cost]] = ()
    false_starts: Sequence[FalseStart] = ()
    restarted: bool = False


class Snapshots:
    """Books snapshots of registered proxies, and reads what is remembered of them. All methods raise LedgerError."""

    def __init__(self, changes: Changes) -> None:
        self._database, self._poll_times, self._changing = changes.database, changes.poll_times, changes.changing
        self._name_store = changes.name_store

    def last(self, proxy: str) -> LastSnapshot:
        id_ = self._name_store.proxies[proxy]
        with self._database.transaction() as connection:
            at_ms, is_last_look, from_ms, until_ms, key_sign = connection.execute(
                "select coalesce(snapshot_ms, last_success_ms), snapshot_ms is not null,"
                " coalesce(counted_from_ms, 0), coalesce(counted_until_ms, 0), coalesce(marks_key, '')"
                " from proxy where id = ?",
                (id_,),
            ).fetchone()
            marks = read_marks(connection, "snapshot_series", id_)
        taken_ms = at_ms if is_last_look else self._poll_times.latest(id_, at_ms)
        return LastSnapshot(taken_ms, bool(is_last_look), marks, (from_ms, until_ms), key_sign)

    def restored(self, proxy: str) -> Restored | None:
        """A proxy's last snapshot, if it was restored since the last look at one."""
        with self._database.transaction() as connection:
            return read_restored(connection, self._name_store.proxies[proxy])

    def known(self, proxy: str, identities: Iterable[Identity]) -> set[Identity]:
        """Those of the ``identities`` that are booked for the proxy, or were."""
        with self._database.transaction() as connection:
            return known_details(connection, self._name_store.proxies[proxy], identities)

    def false_starts(self) -> list[tuple[str, int, FalseStart]]:
        """All stored false starts, newest first, each with its proxy and its client's id."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "select p.name, f.client, f.at_ms, c.pseudonym, f.model, f.requests, f.tokens, f.nano_usd"
                " from false_start f join proxy p on p.id = f.proxy join client c on c.id = f.client order by f.id desc"
            ).fetchall()
        return [(proxy, client, FalseStart(*rest)) for proxy, client, *rest in rows]

    def book_details(
        self,
        proxy: str,
        records: Sequence[tuple[UsageRecord, Cost, bool]],
        *,
        rejected: Sequence[tuple[bytes, Rejected]] = (),
        duplicates: int = 0,
    ) -> set[Identity]:
        """Book details of a snapshot, each with its cost and whether it is live; those already known are duplicates.

        ``duplicates`` counts further ones, which were not looked up. Returns the identities already known. After an
        error none of them is booked.
        """
        with self._changing(proxy) as change:
            connection = change.connection
            identities = [(record.ts_ms, record.fingerprint) for record, _, _ in records]
            known = known_details(connection, change.proxy, identities)
            kept = not_kept(change, rejected)
            new = [each for each, identity in zip(records, identities, strict=True) if identity not in known]
            for live in (False, True):
                book_entries(change, [(record, cost) for record, cost, is_live in new if is_live is live], live=live)
            for line, why in kept:
                reject(change, change.now_ms, line, why)
            old = len(known) + len(rejected) - len(kept) + duplicates
            change.received, change.duplicate = len(new) + old + len(kept), old
        return known

    def close(
        self,
        proxy: str,
        before: LastSnapshot,
        marks: Mapping[MarkKey, Mark],
        *,
        taken_ms: int,
        deltas: SnapshotDeltas,
        missed: int = 0,
        without_details: Sequence[SnapshotSeries] = (),
    ) -> None:
        """End the booking of a snapshot, in one transaction: ``marks`` are remembered in place of the others.

        Their names are under the hash key of ``before``. ``missed`` is how many records its totals count that no detail
        shows. ``without_details`` is what it sent if it has no details: ``deltas`` are then what it has counted since.
        """
        with self._changing(proxy) as change:
            connection = change.connection
            _book_deltas(change, deltas)
            if before.is_first and without_details:
                # Once the history has been read, nothing can have been counted before.
                connection.executemany(
                    "insert or replace into first_series (proxy, key, client, model, requests, tokens, at_ms)"
                    f" select id, ?, ?, ?, ?, ?, ? from proxy where id = ? and history_stage < {RESTORED}",
                    [
                        (each.key, each.client, each.model, each.requests, each.tokens, taken_ms, change.proxy)
                        for each in without_details
                    ],
                )
            elif without_details:
                change.set(
                    "counted_from_ms = min(coalesce(counted_from_ms, ?1), coalesce(snapshot_ms, ?1)),"
                    " counted_until_ms = max(coalesce(counted_until_ms, 0), ?1)",
                    taken_ms,
                )
            elif not deltas.restarted:
                # The details show what those counts were.
                connection.execute("delete from first_series where proxy = ?", (change.proxy,))
            change.set("snapshot_ms = ?, marks_key = ?", taken_ms, before.key_sign)
            change.missed = missed
            stored = read_marks(connection, "snapshot_series", change.proxy)
            connection.executemany(
                "delete from snapshot_series where proxy = ? and client = ? and model = ?",
                [(change.proxy, *key) for key in stored.keys() - marks.keys()],
            )
            changed = {key: mark for key, mark in marks.items() if stored.get(key) != mark}
            save_marks(connection, "snapshot_series", change.proxy, changed)

    def forget(self, proxy: str) -> None:
        """Treat the next look at a proxy's snapshots as the first contact; the history has the last snapshot."""
        with self._changing(proxy) as change:
            for table in ("snapshot_series", "restored_series", "first_series"):
                change.connection.execute(f"delete from {table} where proxy = ?", (change.proxy,))
            change.connection.execute(
                "update proxy set snapshot_ms = null, restored_snapshot_ms = null, marks_key = null,"
                f" history_stage = min(history_stage, {CLAIMED}) where id = ?"
                " and coalesce(snapshot_ms, restored_snapshot_ms, counted_until_ms) is not null",
                (change.proxy,),
            )

    def join_restored(self, proxy: str, deltas: SnapshotDeltas, *, key_sign: str) -> None:
        """Continue from a proxy's restored last snapshot, and book the ``deltas`` since then.

        ``key_sign`` is that of the hash key in use, the only one from which marks are restored.
        """
        with self._changing(proxy) as change:
            _book_deltas(change, deltas)
            connection, of_proxy = change.connection, (change.proxy,)
            (has_own,) = connection.execute(
                "select snapshot_ms is not null or exists (select 1 from snapshot_series where proxy = ?1) from proxy"
                " where id = ?1",
                of_proxy,
            ).fetchone()
            if not has_own:
                columns = listed(MARKS)
                connection.execute(
                    f"insert into snapshot_series ({columns}) select {columns} from restored_series where proxy = ?",
                    of_proxy,
                )
                # If more than counts has already been received, another source was read in between.
                may_continue = "received = 0 or counted_until_ms is not null"
                change.set(f"snapshot_ms = iif({may_continue}, restored_snapshot_ms, null), marks_key = ?", key_sign)
            # What was counted up to the first contact is booked now: details of it must not be.
            connection.execute(
                "update proxy set counted_from_ms = min(coalesce(counted_from_ms, first_ms),"
                " coalesce(restored_snapshot_ms, first_ms)),"
                " counted_until_ms = max(coalesce(counted_until_ms, 0), first_ms)"
                " from (select max(at_ms) as first_ms from first_series where proxy = ?1)"
                " where id = ?1 and first_ms is not null",
                of_proxy,
            )
            connection.execute("delete from restored_series where proxy = ?", of_proxy)
            connection.execute("delete from first_series where proxy = ?", of_proxy)
            change.set("restored_snapshot_ms = null")


def read_marks(connection: sqlite3.Connection, table: str, proxy: int) -> dict[MarkKey, Mark]:
    """The marks of a proxy in ``snapshot_series`` or ``restored_series``."""
    rows = connection.execute(f"select {listed(MARKS[1:])} from {table} where proxy = ?", (proxy,))
    return {(client, model): Mark(*rest) for client, model, *rest in rows}


def read_restored(connection: sqlite3.Connection, proxy: int) -> Restored | None:
    """A proxy's last snapshot, if it was restored since the last look at one."""
    marks = read_marks(connection, "restored_series", proxy)
    (at_ms,) = connection.execute("select restored_snapshot_ms from proxy where id = ?", (proxy,)).fetchone()
    if at_ms is None and not marks:
        return None
    first = connection.execute(
        "select key, client, model, requests, tokens, null, at_ms from first_series where proxy = ?", (proxy,)
    ).fetchall()
    return Restored(marks, [SnapshotSeries(*series) for *series, _ in first], first[0][-1] if first else 0)


def save_marks(connection: sqlite3.Connection, table: str, proxy: int, marks: Mapping[MarkKey, Mark]) -> None:
    """Add to the marks that ``read_marks`` reads, or replace them."""
    connection.executemany(
        insert(table, MARKS, replace=True),
        [(proxy, *key, *msgspec.structs.astuple(mark)) for key, mark in marks.items()],
    )


def known_details(connection: sqlite3.Connection, proxy: int, identities: Iterable[Identity]) -> set[Identity]:
    """Those of the ``identities`` that are booked for a proxy, or were until pruning deleted them."""
    read = "select coalesce(pruned_before_ms, 0) from proxy where id = ?"
    (pruned_before_ms,) = connection.execute(read, (proxy,)).fetchone()
    pruned = range(EARLIEST_MS, pruned_before_ms)  # what is dated before was never booked
    statement = "select 1 from entry where ts_ms = ? and fingerprint = ?"
    return {
        each for each in identities if each[0] in pruned or connection.execute(statement, each).fetchone() is not None
    }


def _book_deltas(change: Change, deltas: SnapshotDeltas) -> None:
    book_entries(change, deltas.increments, live=True)
    change.connection.executemany(
        insert("false_start", ("proxy", *FalseStart._fields)),
        [
            (change.proxy, each.at_ms, change.name_store.client_id(change.connection, each.client), *each[2:])
            for each in deltas.false_starts
        ],
    )
    change.received = len(deltas.increments)
    record_observation(change.connection, change.proxy, "snapshot", restarted=deltas.restarted)
