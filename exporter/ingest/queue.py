"""Turns the body of a pop into entries in the ledger. Its records are redacted, normalized, priced and booked.

A body without anything odd is booked in the first commit after it arrives. Any other body, and one that fails on the
way, is stored first and then booked from disk, record by record, so that no record holds up another.
"""

import threading
from collections.abc import Iterable
from functools import partial
from typing import Any

import msgspec
import structlog

from exporter.ingest.parts import IngestParts, LookUp
from exporter.ledger.changes import CommittedError
from exporter.ledger.store.batches import Interpreted, StoredBatch
from exporter.logs import TellOnce
from exporter.normalize.batch import Batch, read_batch
from exporter.normalize.fingerprint import queue_fingerprint
from exporter.normalize.snapshot import attributed, snapshot_fingerprint
from exporter.normalize.usage_record import normalize
from exporter.normalize.wire_record import NO_HEADERS, Wire, decode_line
from exporter.quotas.headers import read_headers
from exporter.quotas.reading import Reading
from exporter.records import Cost, Rejected, UsageRecord

_MOST_RESPONSES = 2_000
"""Retries follow each other within minutes; this is hours of failures."""

_decode_headers = msgspec.json.Decoder(dict[str, Any]).decode
_log = structlog.get_logger("exporter.ingest")


class QueueIngest:
    """Stores and books the records of one proxy. Any thread may call; calls wait for one another."""

    def __init__(self, proxy: str, parts: IngestParts, look_up: LookUp = lambda _handles: False) -> None:
        self._proxy = proxy
        self._parts = parts
        self._ledger = parts.ledger
        self._look_up = look_up
        self._lock = threading.Lock()
        self._facts = partial(parts.ledger.name_store.facts, proxy)
        self._responses: dict[str, str] = {}  # response → the credential under which it was first seen
        # The proxy has forgotten these, so they are held until they are on disk.
        self._unsaved: list[tuple[Batch, int]] = []
        # Repeats show only in ``cliproxy_exporter_records_rejected_total``.
        self._tell_once = TellOnce(_log, proxy=proxy)

    @property
    def unsaved(self) -> int:
        """The number of records held in memory because they could not be written."""
        return sum(batch.received for batch, _ in self._unsaved)

    def take(self, body: bytes | bytearray) -> int:
        """Book the records of ``body``; returns their number. Raises LedgerError.

        If the look-up of a credential comes later, ``work_off`` books them then. After an error they are still held,
        here or on disk: call ``work_off`` before popping more.
        """
        with self._lock:
            received_ms, batch = self._parts.clock.now_ms(), read_batch(body, pseudonym=self._parts.pseudonym)
            self._unsaved.append((batch, received_ms))
            received, found = batch.received, None
            try:
                found = self._understood(batch, received_ms)
                if found is not None:
                    if received:
                        lines = batch.lines if found.rejected else []
                        self._ledger.book_at_once(self._proxy, found, lines=lines, received_ms=received_ms)
                    del self._unsaved[-1]
                    return received
            except CommittedError:
                del self._unsaved[-1]
                raise
            except Exception:  # noqa: BLE001, S110 - a lasting failure comes back when the stored batch is booked
                pass
            for unreadable in batch.unreadable:
                reason = unreadable.why.reason
                self._tell_once("record_unreadable", reason=reason, bytes=unreadable.length, kept="length and hash")
            stored = self._store_unsaved()
            if stored is not None:
                if found is None:
                    if self._look_up(batch.handles):
                        return received
                    found = self._interpreted(batch.wires, received_ms)
                self._ledger.book(stored, found)
            return received

    def work_off(self) -> None:
        """Store and book what an earlier call or process could not. Raises LedgerError."""
        with self._lock:
            self._store_unsaved()
            for stored in self._ledger.pending(self._proxy):
                self._ledger.book(stored, self._interpreted(map(decode_line, stored.lines), stored.received_ms))

    def _understood(self, batch: Batch, received_ms: int) -> Interpreted | None:
        """The records of a body without anything odd; None for any other body."""
        knows = partial(self._ledger.name_store.is_listed, self._proxy)
        if batch.salvaged is not None or not all(map(knows, batch.handles)):
            return None
        found = self._interpreted(batch.wires, received_ms)
        return None if any(why.reason == "internal_error" for _, why in found.rejected) else found

    def _store_unsaved(self) -> StoredBatch | None:
        """Write what is held to disk, oldest first; returns the last of it. After an error the rest is still held."""
        stored = None
        while self._unsaved:
            batch, received_ms = self._unsaved[0]
            try:
                stored = self._ledger.store(self._proxy, batch, received_ms=received_ms)
            except CommittedError:
                del self._unsaved[0]
                raise
            del self._unsaved[0]
        return stored

    def _interpreted(self, wires: Iterable[Wire | Rejected], received_ms: int) -> Interpreted:
        found = Interpreted()
        for place, wire in enumerate(wires):
            outcome = wire if isinstance(wire, Rejected) else self._interpret(wire, received_ms, found.readings)
            if isinstance(outcome, Rejected):
                found.rejected.append((place, outcome))
                self._tell_once("record_rejected", reason=outcome.reason, detail=outcome.detail)
            elif isinstance(wire, Wire):
                (found.details if wire.of_snapshot else found.records).append(outcome)
        return found

    def _interpret(
        self, wire: Wire, received_ms: int, readings: list[tuple[UsageRecord, Reading]]
    ) -> tuple[UsageRecord, Cost] | Rejected:
        """The record with its cost, or why there is none. Adds what it says about windows to ``readings``."""
        try:
            identify = queue_fingerprint
            if wire.of_snapshot:
                wire, identify = attributed(wire, self._facts), snapshot_fingerprint
            fingerprint = identify(self._proxy, wire)
            record = normalize(wire, fingerprint, received_ms=received_ms, facts=self._facts)
            if isinstance(record, Rejected):
                return record
            if not record.known_family:
                self._tell_once(
                    "unknown_provider",
                    reason=record.provider,
                    meaning="its token counts are read as an OpenAI-compatible provider's; please report it",
                )
            cost = self._parts.pricer.price(record)
            if wire.response_headers is not NO_HEADERS or wire.response:
                readings += [(record, reading) for reading in self._windows(wire, record, received_ms)]
        except Exception as exc:  # noqa: BLE001 - a bug that one record hits must not hold up all others for ever
            _log.exception("record_failed", proxy=self._proxy)
            return Rejected(reason="internal_error", detail=f"{type(exc).__name__} in the exporter: please report it")
        return record, cost

    def _windows(self, wire: Wire, record: UsageRecord, received_ms: int) -> list[Reading]:
        """The windows that the provider reported with ``record``; empty if it reported none.

        The trap: if an attempt dies before an answer arrives, its record has the headers of the attempt before it,
        which may have been another account's. So a response seen under one credential says nothing about another.
        """
        if wire.response:
            first = self._responses.setdefault(wire.response, record.auth_index)
            if len(self._responses) > _MOST_RESPONSES:
                del self._responses[next(iter(self._responses))]
            if first != record.auth_index:
                return []
        if wire.response_headers is NO_HEADERS:
            return []
        return read_headers(
            _decode_headers(wire.response_headers),
            provider=record.provider,
            model=record.model,
            answered_ms=record.ts_ms + (record.ttft_ms or record.latency_ms),
            received_ms=received_ms,
        )
