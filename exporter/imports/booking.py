"""Finds the records of a file that the ledger lacks, and books them as backfill.

A record is known if the ledger has an entry like it, from the proxy or from an earlier import. Each entry matches one
record of the file, so equal requests are counted, not merged. Records get the identity of a snapshot's details, so a
proxy that shows them later adds nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, tzinfo
from functools import partial
from itertools import groupby, islice
from typing import NamedTuple

import msgspec

from exporter.clock import Clock
from exporter.days import local_date
from exporter.imports.items import NEXT_FILE, Item, LeftOut, Misfit, misfit
from exporter.ledger.ledger import Ledger
from exporter.normalize.fingerprint import fingerprint_of_equal
from exporter.normalize.snapshot import attributed, rejected_line, snapshot_fingerprint
from exporter.normalize.usage_record import IMPOSSIBLE_TIME, is_possible, normalize
from exporter.normalize.wire_record import Wire
from exporter.pricing.pricer import Pricer
from exporter.records import Cost, Rejected, UsageRecord

_PER_TRANSACTION = 5_000
# The entries of a millisecond, up to the last one before the import.
_ENTRIES_AT = """
select e.id, r.model, e.code <> '', e.latency_ms, e.uncached + e.cache_read + e.cache_write, e.output
from entry e join series s on s.id = e.series join route r on r.id = s.route
where e.ts_ms = ? and r.proxy = ? and e.id <= ?
"""


class Likeness(NamedTuple):
    """What two programs that read the same proxy both store about a request. The duration is in ms, 0 if not measured.

    Clients and accounts are left out, because each program hashes or names them in its own way.
    """

    model: str
    failed: bool
    latency_ms: int
    prompt: int
    output: int

    def is_same(self, other: "Likeness") -> bool:
        """Whether both are one request, given that both began in the same millisecond.

        The duration decides, because programs sum the tokens of some providers differently. If either lacks it, the
        tokens decide.
        """
        if (self.model, self.failed) != (other.model, other.failed):
            return False
        if self.latency_ms and other.latency_ms:
            return self.latency_ms == other.latency_ms
        return (self.prompt, self.output) == (other.prompt, other.output)


@dataclass(slots=True)
class Day:
    """What a file has of one day: the numbers of new records, of their tokens, and of known records."""

    new: int = 0
    tokens: int = 0
    known: int = 0


@dataclass(slots=True)
class Findings:
    """What happened, or in a dry run would happen, to the records of a file.

    ``deleted`` counts records older than the ledger's oldest, so whether they are new is unknown. ``left_out`` counts
    requests by ``LeftOut.why``.
    """

    days: defaultdict[date, Day] = field(default_factory=lambda: defaultdict(Day))
    deleted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def new(self) -> int:
        return sum(day.new for day in self.days.values())

    @property
    def known(self) -> int:
        return sum(day.known for day in self.days.values())


@dataclass(slots=True)
class _Candidate:
    record: UsageRecord
    cost: Cost | None
    likeness: Likeness
    known: bool = False


class PastImport:
    """Imports one file into the ledger as records of one registered proxy. Use it once.

    Parts that were joined into the file are imported one after the other.
    """

    def __init__(
        self, proxy: str, *, ledger: Ledger, pricer: Pricer, clock: Clock, zone: tzinfo, dry_run: bool
    ) -> None:
        """Days are in ``zone``. ``dry_run`` writes nothing. Raises LedgerError."""
        self._proxy = proxy
        self._ledger = ledger
        self._pricer = pricer
        self._clock = clock
        self._zone = zone
        self._dry_run = dry_run
        self._facts = partial(ledger.name_store.facts, proxy)
        self._proxy_id = ledger.name_store.proxies[proxy]
        self._counted_ms = range(*ledger.snapshots.last(proxy).counted_ms)
        self._would_book: set[tuple[int, int]] = set()
        self.findings = Findings()

    def take(self, items: Iterable[Item]) -> Findings:
        """Import ``items`` in several transactions; what was booked before an error is known the next time.

        Raises LedgerError and the errors of ``items``.
        """
        for is_separator, file in groupby(items, lambda item: item is NEXT_FILE):
            if not is_separator:
                self._take_file(file)
        return self.findings

    def _take_file(self, items: Iterator[Item]) -> None:
        with self._ledger.reading() as connection:
            read = "select ifnull((select max(id) from entry), 0), ifnull(pruned_before_ms, 0) from proxy where id = ?"
            self._last, self._deleted_before_ms = connection.execute(read, (self._proxy_id,)).fetchone()
        self._matched: set[int] = set()
        self._equal: Counter[int] = Counter()
        while chunk := list(islice(items, _PER_TRANSACTION)):
            self._take_chunk(chunk)

    def _take_chunk(self, chunk: Sequence[Item]) -> None:
        candidates: list[_Candidate] = []
        rejected: list[Misfit] = []
        for item in chunk:
            if isinstance(item, LeftOut):
                self.findings.left_out[item.why] += item.requests
                continue
            outcome = item if isinstance(item, Misfit) else self._read(item)
            if isinstance(outcome, Misfit):
                rejected.append(outcome)
            else:
                candidates.append(outcome)
        self._find_known(candidates)
        new = [each for each in candidates if not each.known]
        if self._dry_run:  # a part that follows may repeat them
            self._would_book.update((each.record.ts_ms, each.record.fingerprint) for each in new)
        else:
            self._ledger.snapshots.book_details(
                self._proxy,
                [(each.record, each.cost or self._pricer.price(each.record), False) for each in new],
                rejected=rejected,
                duplicates=len(candidates) - len(new),
            )
        self.findings.rejected.update(each.why.reason for each in rejected)
        for each in candidates:
            self._note(each)

    def _note(self, candidate: _Candidate) -> None:
        record = candidate.record
        if candidate.known and record.ts_ms < self._deleted_before_ms:
            self.findings.deleted += 1
            return
        day = self.findings.days[local_date(record.ts_ms, self._zone)]
        if candidate.known:
            day.known += 1
        else:
            day.new += 1
            day.tokens += record.tokens.prompt + record.tokens.output + record.tokens.unclassified

    def _read(self, item: Wire | tuple[UsageRecord, Cost]) -> _Candidate | Misfit:
        now_ms = self._clock.now_ms()
        cost: Cost | None = None
        if isinstance(item, Wire):
            wire = item if item.provider else attributed(item, self._facts)
            fingerprint = snapshot_fingerprint(self._proxy, wire)
            record = normalize(wire, fingerprint, received_ms=now_ms, facts=self._facts)
            if isinstance(record, Rejected):
                return Misfit(rejected_line(item), record)
        else:
            record, cost = item
            if not is_possible(record.ts_ms, now_ms=now_ms):
                return misfit("csv", record)._replace(why=IMPOSSIBLE_TIME)
        earlier = self._equal[record.fingerprint]
        self._equal[record.fingerprint] += 1
        if earlier:
            record = msgspec.structs.replace(record, fingerprint=fingerprint_of_equal(record.fingerprint, earlier))
        tokens = record.tokens
        likeness = Likeness(record.model, record.code != "", record.latency_ms, tokens.prompt, tokens.output)
        return _Candidate(record, cost, likeness)

    def _find_known(self, candidates: Sequence[_Candidate]) -> None:
        moments = {each.record.ts_ms for each in candidates}
        with self._ledger.reading() as connection:
            entries = {
                ts_ms: [
                    (id_, Likeness(model, bool(failed), *figures))
                    for id_, model, failed, *figures in connection.execute(
                        _ENTRIES_AT, (ts_ms, self._proxy_id, self._last)
                    )
                ]
                for ts_ms in moments
            }
        for is_like in (Likeness.__eq__, Likeness.is_same):  # the closest first
            for each in _unknown(candidates):
                for id_, likeness in entries[each.record.ts_ms]:
                    if id_ not in self._matched and is_like(each.likeness, likeness):
                        self._matched.add(id_)
                        each.known = True
                        break
        identities = [(each.record.ts_ms, each.record.fingerprint) for each in _unknown(candidates)]
        booked = self._ledger.snapshots.known(self._proxy, identities) | self._would_book.intersection(identities)
        for each in _unknown(candidates):
            record = each.record
            each.known = (record.ts_ms, record.fingerprint) in booked or (
                # At that time the proxy sent counts without details, which are booked.
                record.ts_ms + record.latency_ms in self._counted_ms
            )


def _unknown(candidates: Sequence[_Candidate]) -> Iterator[_Candidate]:
    return (each for each in candidates if not each.known)
