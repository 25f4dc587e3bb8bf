"""Turns the body of a snapshot into entries in the ledger: only what is new is booked.

A detail is new if its identity is not booked. So restarts, imports of old exports, repeated imports and another order
of details need no care. Where a series only grew, only the added details are decoded. What ended while the proxy sent
no details was counted then, and is not booked again when the details appear.

If a snapshot has no details (forks strip them), the growth of its counts is booked: see ``false_starts.py``.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import NamedTuple

import structlog

from exporter.ingest.false_starts import CountDeltas
from exporter.ingest.parts import IngestParts, LookUp
from exporter.ledger.store.snapshots import Identity, LastSnapshot, MarkKey, SnapshotDeltas
from exporter.logs import TellOnce
from exporter.normalize.fingerprint import fingerprint_of_equal
from exporter.normalize.pseudonyms import sign_of_key
from exporter.normalize.snapshot import (
    OTHER_SHAPE,
    Mark,
    SnapshotSeries,
    attributed,
    compare,
    has_restarted,
    identity_model,
    may_have_moments,
    read_details,
    read_snapshot,
    rejected_line,
    renamed,
    snapshot_fingerprint,
)
from exporter.normalize.usage_record import duration, milliseconds, normalize
from exporter.normalize.wire_record import Wire
from exporter.records import Rejected, UsageRecord

BACKFILL_AFTER_MS = 300_000
"""A record that ended this long before the last good poll is from the past: an import, or the first contact."""

_PER_TRANSACTION = 5_000
_NOTHING_IS_LIVE = 2**62
_DATE_MS = 1000
"""The header Date says when a snapshot was taken: in whole seconds, and a moment too late."""

_log = structlog.get_logger("exporter.ingest")


@dataclass(slots=True)
class _Part:
    """A series, and those of its details that may be new: what was ``added`` to the known ones; None means all.

    ``counted_ends`` are the ends, in ms, of the details that were counted at about the time of the last snapshot; None
    if that is unknown.
    """

    series: SnapshotSeries
    mark: Mark | None
    added: bytes | None
    counted_ends: Counter[int] | None = None
    details: int = 0
    booked: int = 0
    rejected: int = 0

    @property
    def risen(self) -> int:
        """How many requests were counted since the last snapshot, if the proxy has not restarted in between."""
        return self.series.requests - (self.mark.requests if self.mark else 0)

    @property
    def had_details(self) -> bool:
        return self.mark is not None and self.mark.requests > 0 and self.mark.length is not None


class _Times:
    """Which details count after the snapshot ``before``, and how.

    What ended in the span ``counted_ms`` was counted while the proxy sent no details; what ended from ``live_from_ms``
    on is live, the rest is from the past.
    """

    def __init__(self, before: LastSnapshot, *, taken_ms: int) -> None:
        self.counted_ms = range(before.counted_ms[0] - _DATE_MS, before.counted_ms[1] + _DATE_MS)
        self.end_of_counting_ms = self.counted_ms[-2 * _DATE_MS :]
        """The span around the last snapshot without details: what ended in it was either counted or not."""
        if before.taken_ms is None:
            self.live_from_ms = _NOTHING_IS_LIVE
        elif before.is_last_look and before.had_no_details and before.taken_ms <= taken_ms:
            # What ended before its counts were first read is from the past; what ended since was counted, or is live.
            was_counted = before.taken_ms in self.counted_ms
            self.live_from_ms = self.counted_ms.start if was_counted else before.taken_ms + _DATE_MS
        else:
            # The earlier of the two: the proxy's clock may have been set back in between.
            self.live_from_ms = min(before.taken_ms, taken_ms) - BACKFILL_AFTER_MS

    def was_counted(self, part: _Part, ended_ms: int) -> bool:
        """Whether a detail of ``part`` was counted while the proxy sent none. Ask once for each detail."""
        if part.counted_ends is None or ended_ms not in self.end_of_counting_ms:
            return ended_ms in self.counted_ms
        if not part.counted_ends[ended_ms]:
            return False
        part.counted_ends[ended_ms] -= 1
        return True


class _Found(NamedTuple):
    """A detail that may be new. ``ts_ms`` and ``ended_ms`` are its beginning and its end."""

    part: _Part
    wire: Wire
    ts_ms: int
    ended_ms: int


class _Rejected(NamedTuple):
    part: _Part
    line: bytes
    why: Rejected


class SnapshotIngest:
    """Books the snapshots of one proxy. For one thread at a time."""

    def __init__(self, proxy: str, parts: IngestParts, look_up: LookUp, *, false_start_usd: float) -> None:
        """``false_start_usd``: the most that a sudden first value without details may cost to be believed."""
        self._proxy = proxy
        self._pricer = parts.pricer
        self._pseudonym = parts.pseudonym
        self._clock = parts.clock
        self._snapshots = parts.ledger.snapshots
        self._look_up = look_up
        self._facts = partial(parts.ledger.name_store.facts, proxy)
        self._tell_once = TellOnce(_log, proxy=proxy)
        self._counts = CountDeltas(proxy, parts.pricer, false_start_usd=false_start_usd)

    def take(self, body: bytes | bytearray, taken_ms: int) -> None:
        """Book what is new in ``body``, which the proxy sent at ``taken_ms`` by its own clock.

        Raises BadAnswerError if it is no snapshot, and LedgerError; what was booked before is not booked again.
        """
        snapshot = read_snapshot(body, self._pseudonym)
        self._join_restored()
        before = self._snapshots.last(self._proxy)
        # An older version kept no sign: after it, a snapshot without any known name means another key.
        may_be_another_key = before.key_sign or not any((each.key, each.model) in before.marks for each in snapshot)
        key_sign = sign_of_key(self._pseudonym)
        if may_be_another_key and before.key_sign != key_sign:
            before = replace(before, marks=renamed(before.marks, snapshot))
        before = replace(before, key_sign=key_sign)
        if any(series.details is not None for series in snapshot) or not any(each.requests for each in snapshot):
            self._take_details(snapshot, before, taken_ms=taken_ms)
        else:
            self._take_counts(snapshot, before, taken_ms=taken_ms)

    # --- details ------------------------------------------------------------------------------------------------------

    def _take_details(self, snapshot: Sequence[SnapshotSeries], before: LastSnapshot, *, taken_ms: int) -> None:
        restarted = has_restarted(snapshot, before.marks)
        parts: list[_Part] = []
        marks: dict[MarkKey, Mark] = {}
        for series in snapshot:
            key = (series.key, series.model)
            known = before.marks.get(key)
            marks[key], added = compare(series, known)
            parts.append(_Part(series, known, added))
        if before.taken_ms is not None or before.marks:  # else everything is new
            self._look_up(self._handles_in(parts))
        times = _Times(before, taken_ms=taken_ms)
        if before.had_no_details and not restarted:
            for part in parts:
                part.counted_ends = self._counted_ends(part, times)
        equal: Counter[int] = Counter()
        for chunk in self._chunks(parts):
            self._book_chunk(chunk, times, equal)
        restarted = restarted or _began_anew(parts)
        self._snapshots.close(
            self._proxy,
            before,
            marks,
            taken_ms=taken_ms,
            deltas=SnapshotDeltas(restarted=restarted),
            # What a proxy hid before the first contact is no loss: nobody could have read it.
            missed=0 if before.taken_ms is None else sum(_missed(part, restarted=restarted) for part in parts),
        )

    def _handles_in(self, parts: Sequence[_Part]) -> set[str]:
        """The credentials of the details that may be new.

        Only counting equal details in the whole body tells them apart, so a part that may hold the twin of a known
        detail is read whole.
        """
        some_unread = any(part.added is not None for part in parts)
        handles: set[str] = set()
        moments: defaultdict[str, set[int]] = defaultdict(set)
        for chunk in self._chunks(parts):
            found = [item for item in chunk if isinstance(item, _Found)]
            handles.update(item.wire.auth_index for item in found if isinstance(item.wire.auth_index, str))
            if some_unread:
                models = {
                    (item.ts_ms, snapshot_fingerprint(self._proxy, item.wire)): identity_model(item.part.series)
                    for item in found
                }
                for identity in self._snapshots.known(self._proxy, models):
                    moments[models[identity]].add(identity[0])
        for part in parts:
            of_model, details = moments[identity_model(part.series)], part.series.details
            if part.added is not None and of_model and details and may_have_moments(details, of_model):
                part.added = None
        return handles

    def _counted_ends(self, part: _Part, times: _Times) -> Counter[int]:
        """See ``_Part``. As many details as ``risen`` says are new, so the last snapshot counted none of those."""
        ends = sorted(each.ended_ms for each in self._items([part]) if isinstance(each, _Found))
        doubtful = [ended_ms for ended_ms in ends if ended_ms in times.end_of_counting_ms]
        others = sum(ended_ms >= times.live_from_ms and ended_ms not in times.counted_ms for ended_ms in ends)
        new = max(0, part.risen - others)
        return Counter(doubtful[: max(0, len(doubtful) - new)])

    def _items(self, parts: Iterable[_Part]) -> Iterator[_Found | _Rejected]:
        """The details that may be new."""
        for part in parts:
            details = part.series.details if part.added is None else part.added
            for item in read_details(details, part.series, self._pseudonym) if details is not None else ():
                if isinstance(item, bytes):
                    yield _Rejected(part, item, OTHER_SHAPE)
                elif isinstance(ts_ms := milliseconds(item.timestamp), Rejected):
                    yield _Rejected(part, rejected_line(item), ts_ms)
                else:
                    yield _Found(part, item, ts_ms, ts_ms + duration(item.latency_ms))

    def _chunks(self, parts: Iterable[_Part]) -> Iterator[list[_Found | _Rejected]]:
        """The details that may be new, in pieces for one transaction each."""
        items = self._items(parts)
        while chunk := list(islice(items, _PER_TRANSACTION)):
            yield chunk

    def _book_chunk(self, chunk: Sequence[_Found | _Rejected], times: _Times, equal: Counter[int]) -> None:
        """Book what is new in ``chunk``. ``equal`` counts how often each fingerprint has come up."""
        found: dict[Identity, _Found] = {}
        rejected: list[_Rejected] = []
        duplicates = 0
        for item in chunk:
            item.part.details += 1
            if isinstance(item, _Rejected):
                rejected.append(item)
            elif times.was_counted(item.part, item.ended_ms):
                duplicates += 1
            else:
                fingerprint = snapshot_fingerprint(self._proxy, item.wire)
                found[item.ts_ms, fingerprint_of_equal(fingerprint, equal[fingerprint])] = item
                equal[fingerprint] += 1
        # Interpreting a record costs more than looking it up.
        known = self._snapshots.known(self._proxy, found)
        records: list[tuple[_Found, UsageRecord]] = []
        for identity, each in found.items():
            if identity in known:
                continue
            wire = attributed(each.wire, self._facts)
            record = normalize(wire, identity[1], received_ms=self._clock.now_ms(), facts=self._facts)
            if isinstance(record, Rejected):
                rejected.append(_Rejected(each.part, rejected_line(each.wire), record))
            else:
                records.append((each, record))
        booked_before = self._snapshots.book_details(
            self._proxy,
            [(record, self._pricer.price(record), each.ended_ms >= times.live_from_ms) for each, record in records],
            rejected=[(line, why) for _, line, why in rejected],
            duplicates=duplicates + len(known),
        )
        for each, record in records:
            each.part.booked += (record.ts_ms, record.fingerprint) not in booked_before
        for part, _, why in rejected:
            part.rejected += 1
            self._tell_once("record_rejected", reason=why.reason, detail=why.detail)

    # --- counts without details ---------------------------------------------------------------------------------------

    def _take_counts(self, snapshot: Sequence[SnapshotSeries], before: LastSnapshot, *, taken_ms: int) -> None:
        # The first snapshot is a baseline: nobody knows when its counts were used.
        first = before.is_first
        deltas = SnapshotDeltas() if first else self._counts.since(before.marks, snapshot, at_ms=self._clock.now_ms())
        marks = {(series.key, series.model): Mark(series.requests, series.tokens) for series in snapshot}
        self._snapshots.close(self._proxy, before, marks, taken_ms=taken_ms, deltas=deltas, without_details=snapshot)
        self._counts.tell(deltas.false_starts)

    def _join_restored(self) -> None:
        """Continue from the restored last snapshot, if there is one since the last look."""
        restored = self._snapshots.restored(self._proxy)
        if restored is None:
            return
        deltas = SnapshotDeltas()
        if restored.first:
            # This ledger began to count later, and what was counted in between must not be lost.
            at_ms = min(restored.first_ms, self._clock.now_ms())
            deltas = self._counts.since(restored.marks, restored.first, at_ms=at_ms)
        self._snapshots.join_restored(self._proxy, deltas, key_sign=sign_of_key(self._pseudonym))
        self._counts.tell(deltas.false_starts)


def _began_anew(parts: Sequence[_Part]) -> bool:
    """Whether known details must have vanished: more are new than requests were counted.

    Only their place in the body tells equal details of two clients apart, so a new one may be booked as the other
    client's. They have the same model, so the sums over a model are right.
    """
    surplus: Counter[str] = Counter()
    for part in parts:
        if part.added is None:
            surplus[identity_model(part.series)] += part.booked - min(part.risen, part.details)
    return any(part.had_details and surplus[identity_model(part.series)] > 0 for part in parts)


def _missed(part: _Part, *, restarted: bool) -> int:
    """How many requests a series has counted since the last snapshot without showing a detail of them."""
    if part.added is not None:
        # The details that its mark remembers are there too, whatever became of the other series.
        return max(0, part.risen - part.details)
    risen = part.series.requests if restarted else part.risen
    # A server that caps its details cannot hide more than what it counts and does not show.
    return max(0, min(risen - part.booked - part.rejected, part.series.requests - part.details))
