"""The ledger: everything received, booked once, and the sums of it.

A proxy forgets a record once it has handed it out, so the first commit after its arrival stores it. ``book_at_once``
makes entries right away; ``store`` keeps the redacted batch, and ``book`` deletes that batch in the transaction that
makes its entries. A crash leaves a stored batch behind, and booking it later is the same call.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import tzinfo
from pathlib import Path

from exporter.clock import Clock
from exporter.ledger.changes import Change, Changes
from exporter.ledger.database import Database
from exporter.ledger.history.backlog import Backlog
from exporter.ledger.history.restoring import Restoring
from exporter.ledger.name_store import NameStore
from exporter.ledger.store.batches import Interpreted, StoredBatch, insert_batch, queue_rejected, reject, take_stored
from exporter.ledger.store.booking import book_entries
from exporter.ledger.store.checksums import is_as_it_ended, note_end
from exporter.ledger.store.day_sums import DaySums
from exporter.ledger.store.inventory import take_inventory
from exporter.ledger.store.limits import LimitStore
from exporter.ledger.store.losses import Losses
from exporter.ledger.store.poll_times import PollTimes
from exporter.ledger.store.price_feed import LedgerPriceFeed
from exporter.ledger.store.quota_asks import QuotaAsks
from exporter.ledger.store.quota_points import QuotaPoints
from exporter.ledger.store.refusals import LedgerRefusals
from exporter.ledger.store.restarts import record_observation
from exporter.ledger.store.retention import Retention
from exporter.ledger.store.snapshots import Snapshots, known_details
from exporter.ledger.store.verification import examine
from exporter.ledger.views.births import Births
from exporter.ledger.views.limit_windows import Windows
from exporter.ledger.views.periods import Periods
from exporter.ledger.views.quotas import Quotas
from exporter.ledger.views.totals import Flow, Totals
from exporter.normalize.batch import Batch
from exporter.normalize.inventory import Account
from exporter.records import UsageRecord


class Ledger:
    """The embedded ledger. Safe to use from several threads; only one process writes records to it."""

    def __init__(
        self, path: Path, *, clock: Clock, zone: tzinfo, max_label_sets: int = 5000, alone: bool = False
    ) -> None:
        """Open or create the ledger; its days are those of ``zone``. Raises LedgerError and its subclasses.

        ``alone``: no other process has it open, so it is checked unless it is unchanged since its last clean end.
        """
        trusted = not alone or not path.exists() or is_as_it_ended(path)
        self._database = Database(path, alone=alone)
        self._alone = alone
        self.refusals = LedgerRefusals(self._database)
        self.price_feed = LedgerPriceFeed(self._database)
        self.periods = Periods(self._database, clock=clock, zone=zone)
        self.days = DaySums(self._database, clock=clock, zone=zone)
        self.windows = Windows(self._database)
        self.limits = LimitStore(self._database)
        self.quota_points = QuotaPoints(self._database)
        self.bytes_on_disk = 0
        self._poll_times = PollTimes(path)
        self._noted_sources: dict[str, tuple[str, int]] = {}
        self.totals = Totals()
        self.births = Births(self._database, clock, self.totals.lock)
        self.retention = Retention(self._database, self.totals)
        self.name_store = NameStore(max_label_sets=max_label_sets)
        self.quotas = Quotas(self._database, self.name_store)
        self.backlog = Backlog(self._database, self.name_store, zone)
        memory = (self.name_store, self.totals, self.births, self.quotas, self.periods, self.windows, self._poll_times)
        self._changes = changes = Changes(self._database, *memory, clock)
        self._changing = changes.changing
        self.losses = Losses(changes)
        self.snapshots = Snapshots(changes)
        try:
            if not trusted:
                examine(self._database, clock)
            with self._database.transaction() as connection:
                self.name_store.load(connection)
                self.totals.load(connection)
                self.births.load(connection)
                self.quotas.load(connection)
            self.quota_asks = QuotaAsks(self._database, self.quotas)
        except BaseException:
            self._database.close()
            raise
        self.measure()

    def measure(self) -> None:
        """Update ``bytes_on_disk``, the file's size, so that no scrape has to ask the disk for it."""
        self.bytes_on_disk = self._database.bytes_on_disk()

    def close(self) -> None:
        self._database.close()
        if self._alone:
            note_end(self._database.path)

    def register(self, proxy: str) -> int:
        """Return the id of a proxy, creating it if it is new. From then on its flow is in ``totals.flows``."""
        with self._changing(proxy) as change:
            return change.proxy

    def book_at_once(self, proxy: str, found: Interpreted, *, lines: Sequence[bytes], received_ms: int) -> None:
        """Receive and book the records of a body in one transaction. ``lines`` may be empty if none is rejected.

        Raises CommittedError if they are on disk but memory could not follow. After any other exception, none of the
        body is on disk.
        """
        with self._changing(proxy) as change:
            self._book(change, found, lines, live=True, at_ms=received_ms)
            self._pop(change, len(found.records) + len(found.rejected))

    def store(self, proxy: str, batch: Batch, *, received_ms: int) -> StoredBatch | None:
        """Write a redacted batch to disk; None if nothing in it can be booked. Raises like ``book_at_once``."""
        if not batch.received:
            return None
        with self._changing(proxy) as change:
            lines = batch.lines
            self._pop(change, batch.received)
            for what in batch.unreadable:  # there is nothing to try again
                reject(change, received_ms, what, what.why)
            if not lines:
                return None
            id_ = insert_batch(change.connection, change.proxy, received_ms, lines)
            return StoredBatch(id_, proxy, received_ms, lines)

    def _pop(self, change: Change, records: int) -> None:
        """Count records that the proxy has handed out.

        This also stores the last success, which is the previous poll's: the current one is not over.
        """
        change.received += records
        flow = self.totals.flows.get(change.proxy)
        # Another source has been read, so the last snapshot is no longer the last look.
        change.set("last_success_ms = ?, snapshot_ms = null", flow.last_success_ms if flow else None)

    def pending(self, proxy: str) -> list[StoredBatch]:
        """The stored batches of a proxy, oldest first. One that can no longer be unpacked is rejected as a whole."""
        # Asked before each pop; the answer is nearly always no.
        stored = "select 1 from batch where proxy = (select id from proxy where name = ?)"
        if self._database.value(stored, proxy) is None:
            return []
        with self._changing(proxy) as change:
            return take_stored(change, proxy)

    def book(self, batch: StoredBatch, found: Interpreted) -> None:
        """Book a stored batch. Raises LedgerError if the ledger cannot be written; the batch then stays stored."""
        with self._changing(batch.proxy) as change:
            connection = change.connection
            if not connection.execute("delete from batch where id = ?", (batch.id,)).rowcount:
                return  # booked already
            by_identity = {(record.ts_ms, record.fingerprint): (record, cost) for record, cost in found.details}
            known = known_details(connection, change.proxy, by_identity) if by_identity else set()
            new = [detail for identity, detail in by_identity.items() if identity not in known]
            change.duplicate, found = len(found.details) - len(new), replace(found, records=[*found.records, *new])
            self._book(change, found, batch.lines, live=not batch.replayed, at_ms=batch.received_ms)

    def _book(self, change: Change, found: Interpreted, lines: Sequence[bytes], *, live: bool, at_ms: int) -> None:
        book_entries(change, found.records, live=live)
        readings = [(self._credential_of(change, record), reading) for record, reading in found.readings]
        change.quotas.update(self.quotas.note(change.connection, readings, now_ms=change.now_ms))
        for place, why in found.rejected:
            reject(change, at_ms, lines[place], why)

    def _credential_of(self, change: Change, record: UsageRecord) -> int:
        series = self.name_store.series[self.name_store.series_of(change.connection, change.proxy, record)]
        return self.name_store.resolved(series.credential).id

    def polled(self, proxy: str, *, at_ms: int, store_every_ms: int = 60_000) -> None:
        """Remember that a poll of the registered ``proxy`` succeeded at ``at_ms``: see ``PollTimes``.

        The time on disk may lag by ``store_every_ms``; 0 writes it to the ledger itself.
        """
        proxy_id, before = self.name_store.proxies[proxy], self.flow(proxy).last_success_ms
        if before is None or at_ms < before or not store_every_ms:  # the first poll, or a clock set back
            with self._database.transaction() as connection:
                connection.execute("update proxy set last_success_ms = ? where id = ?", (at_ms, proxy_id))
        self._poll_times.note(proxy_id, at_ms, store_every_ms=store_every_ms)
        with self.totals.lock:
            self.totals.flows[proxy_id].last_success_ms = at_ms

    def flow(self, proxy: str) -> Flow:
        """What became of the records of the registered ``proxy``. Callers must not change it."""
        with self.totals.lock:
            return self.totals.flows[self.name_store.proxies[proxy]]

    def note_source(self, proxy: str, kind: str) -> str | None:
        """Note that usage was read from a source of this kind: see ``store.restarts``. Raises LedgerError.

        Returns the kind that was read before, None at the first read. A change of kind is a restart of the proxy.
        """
        if self._noted_sources.get(proxy) == (kind, self.flow(proxy).restarts):
            return kind
        with self._changing(proxy) as change:
            connection, id_ = change.connection, change.proxy
            before: str | None = connection.execute("select source from proxy where id = ?", (id_,)).fetchone()[0]
            if before != kind:
                # The watch over the queue's losses ends with the queue: whatever a snapshot counts is in the snapshot.
                change.set("source = ?, watch = null", kind)
            record_observation(connection, id_, "source", restarted=before not in (None, kind))
        self._noted_sources[proxy] = (kind, self.flow(proxy).restarts)
        return before

    def take_inventory(
        self, proxy: str, accounts: Sequence[Account], *, whole: bool = True, counts_restarts: bool = True
    ) -> list[tuple[int, Account]]:
        """Store what a proxy says about its credentials; ``whole`` is false if some of its lists are missing.

        Returns each account with the id of its credential. A restart that shows in the counts is counted, unless
        ``counts_restarts`` is false because the source itself is a better detector.
        """
        with self._changing(proxy) as change:
            connection = change.connection
            credentials, restarted = take_inventory(change, accounts, whole=whole)
            self.quotas.join(connection)
            readings = [(id_, reading) for id_, account in credentials for reading in account.readings]
            change.quotas.update(self.quotas.note(connection, readings, now_ms=change.now_ms))
            if whole:
                record_observation(connection, change.proxy, "inventory", restarted=restarted and counts_restarts)
        return credentials

    def note_aliases(self, aliases: Mapping[str, str], *, key_sign: str) -> None:
        """Note which clients have aliases: see ``NameStore``. Raises LedgerError."""
        with self._changes.changing_names() as connection:
            self.name_store.note_aliases(connection, aliases, key_sign=key_sign)

    @property
    def salt(self) -> bytes:
        """Random bytes that no other ledger has."""
        return bytes(self._database.value("select salt from installation"))

    def queue_rejected(self, *, reason: str | None, now_ms: int) -> dict[str, int]:
        """Queue rejected records for another try: see ``store.batches``. Raises LedgerError."""
        queued = queue_rejected(self._database, reason=reason, now_ms=now_ms)
        for proxy in queued:
            self.register(proxy)  # brings its flow in memory up to date
        return queued

    def restoring(self, proxy: str) -> Restoring:
        """Return the object that restores the registered ``proxy`` from the history."""
        return Restoring(self._changes, proxy)

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """A read-only connection, for exports and pages. Raises LedgerError."""
        return self._database.reading()
