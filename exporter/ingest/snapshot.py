"""From the body of a snapshot to entries in the ledger: what of it is new, normalized, priced, booked.

With details: see ``snapshot_details``.

Without details (forks that strip them): arithmetic on counts that only rise while the proxy lives. A count that falls,
or a series that vanishes, means that the whole proxy restarted, so every count is new. A first value that is too dear
to be true is a false start: it is kept apart, and what comes after it counts.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog

from exporter.clock import Clock
from exporter.ingest.snapshot_details import DetailIntake
from exporter.ledger.ledger import Ledger
from exporter.ledger.store.snapshots import Checkpoint, Counted, FalseStart, MarkKey, SnapshotEnd
from exporter.normalize.fingerprint import fingerprint_of
from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.snapshot import (
    Mark,
    SnapshotSeries,
    compare,
    has_restarted,
    model_family,
    read_snapshot,
)
from exporter.pricing.engine import Pricer
from exporter.records import Billing, Cost, Tokens, UsageRecord

_MODELS_TOLD = 5

_log = structlog.get_logger("exporter.intake")


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
        self._false_start_nano = round(false_start_usd * 1e9)
        self._details = DetailIntake(proxy, ledger=ledger, pricer=pricer, pseudonym=pseudonym, clock=clock)

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
        restarted = has_restarted(snapshot, before.marks)
        if any(series.details is not None for series in snapshot) or not any(each.requests for each in snapshot):
            self._details.take(snapshot, before, taken_ms=taken_ms, restarted=restarted, before_booking=before_booking)
        else:
            self._take_counts(snapshot, before, taken_ms=taken_ms, restarted=restarted)

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
                counted=not is_first,
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
        if not false_starts:
            return
        requests = sum(each.requests for each in false_starts)
        usd = sum(each.nano_usd for each in false_starts) / 1e9
        many = "" if len(false_starts) == 1 else f" in {len(false_starts)} series"
        dearest = sorted(false_starts, key=lambda each: -each.nano_usd)[:_MODELS_TOLD]
        _log.warning(
            "false_start",
            proxy=self._proxy,
            message=f"False Start detected: {requests} requests{many} worth {usd:.2f} USD appeared at once. They are"
            " kept apart, see cliproxy-exporter false-starts; what follows counts.",
            models=[each.model for each in dearest],
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
