"""From the body of a snapshot to entries in the ledger: what of it is new, normalized, priced, booked.

With details: a detail is new if its identity is not booked. So a restart, an import of an old export, an import twice,
another order of details need no care. Details that only follow what is known are all that is decoded.

Without details (forks that strip them): arithmetic on counts that only rise while the proxy lives. A count that falls,
or a series that vanishes, means that the whole proxy restarted, so every count is new. A first value that is too dear
to be true is a false start: it is kept apart, and what comes after it counts.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec
import structlog

from exporter.clock import Clock
from exporter.ledger.ledger import Ledger
from exporter.ledger.snapshots import Checkpoint, Counted, FalseStart, Identity, MarkKey, SnapshotEnd
from exporter.logs import TellOnce
from exporter.normalize.identity import fingerprint_of
from exporter.normalize.queue import milliseconds
from exporter.normalize.snapshot import (
    Mark,
    SnapshotSeries,
    compare,
    has_restarted,
    model_family,
    normalize_detail,
    read_details,
    read_snapshot,
    rejected_line,
    snapshot_fingerprint,
)
from exporter.normalize.wire import Wire
from exporter.pricing.engine import Pricer
from exporter.pseudonyms import Pseudonym
from exporter.records import Billing, Cost, Rejected, Tokens, UsageRecord

BACKFILL_AFTER_MS = 300_000
"""A record that ended so long before the last good poll is of the past: an import, or the first contact."""

_PER_TRANSACTION = 5_000
_NOTHING_IS_LIVE = 2**62

_log = structlog.get_logger("exporter.intake")


@dataclass(slots=True)
class _Part:
    """A series, and those of its details that may be new: the tail behind what is known, or all (then it is None)."""

    series: SnapshotSeries
    mark: Mark | None
    tail: list[Wire | bytes] | None
    details: int = 0
    new: int = 0


@dataclass(frozen=True, slots=True)
class _Times:
    """Which details count, and how.

    What ended in the span ``counted_ms`` was counted while the proxy sent no details; what ended from ``live_from_ms``
    on is live, the rest of the past.
    """

    counted_ms: tuple[int, int]
    live_from_ms: int

    @classmethod
    def of(cls, before: Checkpoint, *, taken_ms: int) -> "_Times":
        return cls(
            counted_ms=before.counted_ms,
            # The earlier of both: the proxy's clock may have been set back in between.
            live_from_ms=_NOTHING_IS_LIVE
            if before.taken_ms is None
            else min(before.taken_ms, taken_ms) - BACKFILL_AFTER_MS,
        )


@dataclass(slots=True)
class _Chunk:
    """What is booked in one transaction."""

    records: list[tuple[UsageRecord, Cost, bool]] = field(default_factory=list)
    parts: list[_Part] = field(default_factory=list)
    rejected: list[tuple[bytes, Rejected]] = field(default_factory=list)
    duplicates: int = 0

    def __len__(self) -> int:
        return len(self.records) + len(self.rejected)


class SnapshotIntake:
    """Takes in the snapshots of one proxy. For one thread at a time."""

    def __init__(
        self,
        proxy: str,
        *,
        ledger: Ledger,
        pricer: Pricer,
        pseudonym: Pseudonym,
        clock: Clock,
        false_start_usd: float,
    ) -> None:
        """``false_start_usd``: what a sudden first value without details may cost and still be believed."""
        self._proxy = proxy
        self._ledger = ledger
        self._pricer = pricer
        self._pseudonym = pseudonym
        self._clock = clock
        self._facts = partial(ledger.facts, proxy)
        self._false_start_nano = round(false_start_usd * 1e9)
        self._tell_once = TellOnce(_log, proxy=proxy)

    def take(
        self,
        body: bytes | bytearray,
        *,
        taken_ms: int,
        before_booking: Callable[[set[str]], None] = lambda _handles: None,
    ) -> None:
        """Book what is new in ``body``, which the proxy sent at ``taken_ms`` by its own clock.

        ``before_booking`` gets the ``auth_index`` of what may be new, but not at the first contact, when all is: the
        moment to look up unknown credentials.

        Raises BadAnswerError if it is no snapshot, and LedgerError; what was booked until then is not booked again.
        """
        snapshot = read_snapshot(body, self._pseudonym)
        self._join_restored()
        before = self._ledger.snapshots.checkpoint(self._proxy)
        restarted = has_restarted(snapshot, before.marks) or (bool(before.marks) and not before.continues)
        if any(series.details is not None for series in snapshot) or not any(each.requests for each in snapshot):
            self._take_details(snapshot, before, taken_ms=taken_ms, restarted=restarted, before_booking=before_booking)
        else:
            self._take_counts(snapshot, before, taken_ms=taken_ms, restarted=restarted)

    # --- with details -------------------------------------------------------------------------------------------------

    def _take_details(
        self,
        snapshot: Sequence[SnapshotSeries],
        before: Checkpoint,
        *,
        taken_ms: int,
        restarted: bool,
        before_booking: Callable[[set[str]], None],
    ) -> None:
        parts: list[_Part] = []
        marks: dict[MarkKey, Mark] = {}
        for series in snapshot:
            key = (series.key, series.model)
            known = before.marks.get(key)
            marks[key], tail = compare(series, known)
            # A tail is short and looked at several times; all details of a series can be too many to be kept.
            items = None if tail is None else list(read_details(tail, series, self._pseudonym))
            parts.append(_Part(series, known, items))
        if any(part.tail is not None for part in parts) and self._meets_known(parts):
            # Equal details are told apart by counting them in the whole body.
            parts = [_Part(part.series, part.mark, None) for part in parts]
        if before.taken_ms is not None:
            before_booking(self._handles(parts))
        self._book(parts, _Times.of(before, taken_ms=taken_ms))
        self._ledger.close_snapshot(
            self._proxy,
            SnapshotEnd(
                taken_ms=taken_ms,
                before=before.marks,
                marks=marks,
                restarted=restarted,
                missed=sum(_missed(part, restarted=restarted) for part in parts),
            ),
        )

    def _meets_known(self, parts: Sequence[_Part]) -> bool:
        identities = (
            identity for part in parts for item in self._read(part) if (identity := self._identity(item)) is not None
        )
        return bool(self._ledger.snapshots.known(identities))

    def _handles(self, parts: Sequence[_Part]) -> set[str]:
        return {
            item.auth_index
            for part in parts
            for item in self._read(part)
            if isinstance(item, Wire) and isinstance(item.auth_index, str)
        }

    def _read(self, part: _Part) -> Iterator[Wire | bytes]:
        if part.tail is not None:
            return iter(part.tail)
        details = part.series.details
        return iter(()) if details is None else read_details(details, part.series, self._pseudonym)

    def _identity(self, item: Wire | bytes) -> Identity | None:
        if isinstance(item, bytes):
            return None
        ts_ms = milliseconds(item.timestamp)
        return None if isinstance(ts_ms, Rejected) else (ts_ms, snapshot_fingerprint(self._proxy, item))

    def _normalize(self, wire: Wire) -> UsageRecord | Rejected:
        return normalize_detail(wire, proxy=self._proxy, received_ms=int(self._clock.now() * 1000), facts=self._facts)

    def _book(self, parts: Sequence[_Part], times: _Times) -> None:
        equal: Counter[Identity] = Counter()
        chunk = _Chunk()
        for part in parts:
            for item in self._read(part):
                part.details += 1
                self._add(chunk, part, item, equal=equal, times=times)
                if len(chunk) >= _PER_TRANSACTION:
                    self._book_chunk(chunk)
                    chunk = _Chunk()
        self._book_chunk(chunk)

    def _add(
        self,
        chunk: _Chunk,
        part: _Part,
        item: Wire | bytes,
        *,
        equal: Counter[Identity],
        times: _Times,
    ) -> None:
        if isinstance(item, bytes):
            self._reject(chunk, part, item, Rejected(reason="malformed_record", detail="a detail of another shape"))
            return
        record = self._normalize(item)
        if isinstance(record, Rejected):
            self._reject(chunk, part, rejected_line(item), record)
            return
        ended_ms = record.ts_ms + record.latency_ms
        counted_from_ms, counted_until_ms = times.counted_ms
        if counted_from_ms <= ended_ms <= counted_until_ms:
            chunk.duplicates += 1
            return
        identity = (record.ts_ms, record.fingerprint)
        fingerprint = record.fingerprint + equal[identity]
        equal[identity] += 1
        if fingerprint >= 2**63:
            fingerprint -= 2**64
        if fingerprint != record.fingerprint:
            record = msgspec.structs.replace(record, fingerprint=fingerprint)
        chunk.records.append((record, self._pricer.price(record), ended_ms >= times.live_from_ms))
        chunk.parts.append(part)

    def _reject(self, chunk: _Chunk, part: _Part, line: bytes, why: Rejected) -> None:
        chunk.rejected.append((line, why))
        part.new += 1
        self._tell_once("record_rejected", reason=why.reason, detail=why.detail)

    def _book_chunk(self, chunk: _Chunk) -> None:
        if not len(chunk) and not chunk.duplicates:
            return
        known = self._ledger.book_details(
            self._proxy, chunk.records, rejected=chunk.rejected, duplicates=chunk.duplicates
        )
        for (record, _, _), part in zip(chunk.records, chunk.parts, strict=True):
            part.new += (record.ts_ms, record.fingerprint) not in known

    # --- without details ----------------------------------------------------------------------------------------------

    def _take_counts(
        self,
        snapshot: Sequence[SnapshotSeries],
        before: Checkpoint,
        *,
        taken_ms: int,
        restarted: bool,
    ) -> None:
        # The first snapshot is a baseline: when what is counted there was used, nobody knows.
        is_first = not (before.continues or before.marks)
        now_ms = int(self._clock.now() * 1000)
        counted = Counted() if is_first else self._count(snapshot, before.marks, restarted=restarted, at_ms=now_ms)
        self._ledger.close_snapshot(
            self._proxy,
            SnapshotEnd(
                taken_ms=taken_ms,
                before=before.marks,
                marks={(series.key, series.model): compare(series, None)[0] for series in snapshot},
                restarted=restarted,
                counted=True,
                increments=counted.increments,
                false_starts=counted.false_starts,
                first=snapshot if is_first else (),
            ),
        )
        self._tell_false_starts(counted.false_starts)

    def _join_restored(self) -> None:
        """Go on from what was restored of the last snapshot, if anything was since the last look."""
        restored = self._ledger.snapshots.restored(self._proxy)
        if restored is None:
            return
        counted = Counted()
        if restored.first:
            # What was counted since it must not be lost, and this ledger began to count later.
            restarted = has_restarted(restored.first, restored.marks)
            counted = self._count(restored.first, restored.marks, restarted=restarted, at_ms=restored.first_ms)
        self._ledger.join_restored(self._proxy, counted)
        self._tell_false_starts(counted.false_starts)

    def _count(
        self, snapshot: Sequence[SnapshotSeries], marks: Mapping[MarkKey, Mark], *, restarted: bool, at_ms: int
    ) -> Counted:
        """What was counted between ``marks`` and ``snapshot``, which was taken at ``at_ms``."""
        increments: list[tuple[UsageRecord, Cost]] = []
        false_starts: list[FalseStart] = []
        for series in snapshot:
            mark = None if restarted else marks.get((series.key, series.model))
            requests = series.requests - (mark.requests if mark else 0)
            tokens = series.tokens - (mark.tokens if mark else 0)
            if requests <= 0 and tokens <= 0:
                continue
            record = self._increment(series, requests, tokens, at_ms)
            worth = self._worth(record)
            if mark is None and not restarted and worth > self._false_start_nano:
                false_starts.append(FalseStart(at_ms, series.client, record.model, requests, tokens, nano_usd=worth))
            else:
                increments.append((record, self._pricer.price(record)))
        return Counted(increments=increments, false_starts=false_starts, restarted=restarted)

    def _tell_false_starts(self, false_starts: Sequence[FalseStart]) -> None:
        for each in false_starts:
            _log.warning(
                "false_start",
                proxy=self._proxy,
                message=f"False Start detected: {each.requests} requests worth {each.nano_usd / 1e9:.2f} USD appeared"
                " at once. They are kept apart, see cliproxy-exporter false-starts; what follows counts.",
                model=each.model,
            )

    def _increment(self, series: SnapshotSeries, requests: int, tokens: int, at_ms: int) -> UsageRecord:
        provider, _ = model_family(series.model)
        return UsageRecord(
            ts_ms=at_ms,
            fingerprint=fingerprint_of(("increment/1", self._proxy, series.key, series.model, at_ms)),
            provider=provider,
            model=series.model[:200],
            alias="",
            auth_index="",
            source="",
            client=series.client,
            billing=Billing.UNKNOWN,
            tokens=Tokens(unclassified=max(0, tokens)),
            counted=max(0, requests),
        )

    def _worth(self, record: UsageRecord) -> int:
        """What an increment would cost in nano-USD if all its tokens were input: nobody told what they were."""
        as_input = msgspec.structs.replace(record, tokens=Tokens(uncached=record.tokens.unclassified))
        return self._pricer.price(as_input).nano_usd


def _missed(part: _Part, *, restarted: bool) -> int:
    """How many requests the totals of a series count since the last snapshot that were in no detail."""
    # Behind a tail stand the details that its mark remembers, whatever became of the other series.
    mark = None if restarted and part.tail is None else part.mark
    risen = part.series.requests - (mark.requests if mark else 0)
    if part.tail is None:
        # What a server hides, because it caps its details, cannot be more than what it counts and does not show.
        risen = min(risen - part.new, part.series.requests - part.details)
    else:
        risen -= part.details
    return max(0, risen)
