"""From the body of a pop to entries in the ledger: read and redact, store, normalize, price, book.

One proxy's records, in the order in which nothing can be lost: on disk before anything is interpreted, and interpreted
record by record, so that none holds up another.
"""

from collections.abc import Callable, Sequence
from functools import partial

import structlog

from exporter.clock import Clock
from exporter.errors import LedgerError
from exporter.ingest.header_readings import HeaderReadings
from exporter.ledger.ledger import Ledger
from exporter.ledger.store.batches import StoredBatch
from exporter.logs import TellOnce
from exporter.normalize.batch import Batch, read_batch
from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.queue import normalize
from exporter.normalize.snapshot import normalize_detail
from exporter.normalize.wire import NO_HEADERS, LineError, Wire, decode_line
from exporter.pricing.engine import Pricer
from exporter.quotas.reading import Reading
from exporter.records import Cost, Rejected, UsageRecord

_log = structlog.get_logger("exporter.ingest")


class QueueIngest:
    """Stores and books the records of one proxy. For one thread at a time."""

    def __init__(self, proxy: str, *, ledger: Ledger, pricer: Pricer, pseudonym: Pseudonym, clock: Clock) -> None:
        self._proxy = proxy
        self._ledger = ledger
        self._pricer = pricer
        self._pseudonym = pseudonym
        self._clock = clock
        self._facts = partial(ledger.facts, proxy)
        self._header_readings = HeaderReadings()
        self._unsaved: list[tuple[Batch, int]] = []
        # The others are in ``cliproxy_exporter_records_rejected_total``.
        self._tell_once = TellOnce(_log, proxy=proxy)

    @property
    def unsaved(self) -> int:
        """The number of records that are only in memory, because the ledger could not be written."""
        return sum(batch.received for batch, _ in self._unsaved)

    def take(self, body: bytes, *, before_booking: Callable[[set[str]], bool | None]) -> int:
        """Store and book the records of ``body``; returns their number. Raises LedgerError.

        ``before_booking`` gets the ``auth_index`` of the stored records: the moment to look up unknown credentials. If
        it returns True, that is still to come: they stay stored, and ``work_off`` books them.
        After an error the records are still held, here or on disk: call ``work_off`` before popping more.
        """
        batch, received_ms = read_batch(body, pseudonym=self._pseudonym), int(self._clock.now() * 1000)
        for unreadable in batch.unreadable:
            self._tell_once(
                "record_unreadable", reason=unreadable.reason, bytes=unreadable.length, kept="length and hash"
            )
        try:
            stored = self._ledger.store(self._proxy, batch, received_ms=received_ms)
        except LedgerError:
            # The proxy has forgotten it, so it is kept here and nothing more is popped until it is on disk.
            self._unsaved.append((batch, received_ms))
            raise
        if stored is not None:
            handles = {wire.auth_index for wire in batch.wires if wire and isinstance(wire.auth_index, str)}
            if not before_booking(handles):
                self._book(stored, batch.wires)
        return batch.received

    def work_off(self) -> None:
        """Store and book what an earlier call, or an earlier process, could not. Raises LedgerError."""
        while self._unsaved:
            batch, received_ms = self._unsaved[0]
            self._ledger.store(self._proxy, batch, received_ms=received_ms)
            del self._unsaved[0]
        for stored in self._ledger.pending(self._proxy):
            self._book(stored, [None] * len(stored.lines))

    def _book(self, stored: StoredBatch, wires: Sequence[Wire | None]) -> None:
        records: list[tuple[UsageRecord, Cost]] = []
        details: list[tuple[UsageRecord, Cost]] = []
        rejected: list[tuple[bytes, Rejected]] = []
        readings: list[tuple[UsageRecord, Reading]] = []
        for line, wire in zip(stored.lines, wires, strict=True):
            try:
                read = wire or decode_line(line)
            except LineError as exc:
                outcome: tuple[UsageRecord, Cost] | Rejected = Rejected(reason="malformed_record", detail=str(exc))
            else:
                outcome = self._interpret(read, stored.received_ms, readings)
            if isinstance(outcome, Rejected):
                rejected.append((line, outcome))
                self._tell_once("record_rejected", reason=outcome.reason, detail=outcome.detail)
            else:
                (details if read.of_snapshot else records).append(outcome)
        self._ledger.book(stored, records=records, rejected=rejected, readings=readings, details=details)

    def _interpret(
        self, wire: Wire, received_ms: int, readings: list[tuple[UsageRecord, Reading]]
    ) -> tuple[UsageRecord, Cost] | Rejected:
        """The record with its cost, or why there is none; what it tells of the provider's windows is added to
        ``readings``."""
        try:
            normalized = normalize_detail if wire.of_snapshot else normalize
            record = normalized(wire, proxy=self._proxy, received_ms=received_ms, facts=self._facts)
            if isinstance(record, Rejected):
                return record
            if not record.known_family:
                self._tell_once(
                    "unknown_provider",
                    reason=record.provider,
                    meaning="its token counts are read as an OpenAI-compatible provider's; please report it",
                )
            cost = self._pricer.price(record)
            if wire.response_headers is not NO_HEADERS or wire.response:
                found = self._header_readings.of(wire, record, received_ms=received_ms)
                readings += [(record, reading) for reading in found]
        except Exception as exc:  # noqa: BLE001 - a fault of ours in one record must not hold up all others for ever
            _log.exception("record_failed", proxy=self._proxy)
            return Rejected(reason="internal_error", detail=f"{type(exc).__name__} in the exporter: please report it")
        return record, cost
