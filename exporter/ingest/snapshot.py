"""From the body of a snapshot to entries in the ledger: what is new in it is normalized, priced and booked.

``snapshot_details`` finds what is new in a snapshot with details, ``snapshot_deltas`` in one without (forks strip
them).
"""

from collections.abc import Callable, Sequence
from functools import partial

import structlog

from exporter.clock import Clock
from exporter.ingest.snapshot_deltas import count_deltas, has_restarted
from exporter.ingest.snapshot_details import DetailIngest
from exporter.ledger.ledger import Ledger
from exporter.ledger.store.snapshots import Checkpoint, FalseStart, SnapshotDeltas, SnapshotEnd
from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.snapshot import SnapshotSeries, compare, read_snapshot
from exporter.pricing.pricer import Pricer

_MODELS_TOLD = 5

_log = structlog.get_logger("exporter.ingest")


class SnapshotIngest:
    """Books the snapshots of one proxy. For one thread at a time."""

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
        """``false_start_usd``: the most that a sudden first value without details may cost to be believed."""
        self._proxy = proxy
        self._ledger = ledger
        self._pseudonym = pseudonym
        self._clock = clock
        self._count = partial(count_deltas, proxy=proxy, pricer=pricer, false_start_nano=round(false_start_usd * 1e9))
        self._details = DetailIngest(proxy, ledger=ledger, pricer=pricer, pseudonym=pseudonym, clock=clock)

    def take(
        self,
        body: bytes | bytearray,
        *,
        taken_ms: int,
        before_booking: Callable[[set[str]], object] = lambda _handles: None,
    ) -> None:
        """Book what is new in ``body``, which the proxy sent at ``taken_ms`` by its own clock.

        ``before_booking`` gets the ``auth_index`` of what may be new: the moment to look up unknown credentials. It is
        not called at the first contact, when everything is new.

        Raises BadAnswerError if it is no snapshot, and LedgerError; what was booked before is not booked again.
        """
        snapshot = read_snapshot(body, self._pseudonym)
        self._join_restored()
        before = self._ledger.snapshots.checkpoint(self._proxy)
        restarted = has_restarted(snapshot, before.marks)
        if any(series.details is not None for series in snapshot) or not any(each.requests for each in snapshot):
            self._details.take(snapshot, before, taken_ms=taken_ms, restarted=restarted, before_booking=before_booking)
        else:
            self._take_counts(snapshot, before, taken_ms=taken_ms, restarted=restarted)

    def _take_counts(
        self,
        snapshot: Sequence[SnapshotSeries],
        before: Checkpoint,
        *,
        taken_ms: int,
        restarted: bool,
    ) -> None:
        # The first snapshot is a baseline: nobody knows when its counts were used.
        is_first = not (before.continues or before.marks)
        now_ms = self._clock.now_ms()
        deltas = (
            SnapshotDeltas(restarted=restarted)
            if is_first
            else self._count(snapshot, before.marks, restarted=restarted, at_ms=now_ms)
        )
        self._ledger.snapshots.close(
            self._proxy,
            SnapshotEnd(
                taken_ms=taken_ms,
                before=before.marks,
                marks={(series.key, series.model): compare(series, None)[0] for series in snapshot},
                deltas=deltas,
                without_details=not is_first,
                first=snapshot if is_first else (),
            ),
        )
        self._tell_false_starts(deltas.false_starts)

    def _join_restored(self) -> None:
        """Continue from the restored last snapshot, if there is one since the last look."""
        restored = self._ledger.snapshots.restored(self._proxy)
        if restored is None:
            return
        deltas = SnapshotDeltas()
        if restored.first:
            # This ledger began to count later, and what was counted in between must not be lost.
            restarted = has_restarted(restored.first, restored.marks)
            deltas = self._count(restored.first, restored.marks, restarted=restarted, at_ms=restored.first_ms)
        self._ledger.snapshots.join_restored(self._proxy, deltas)
        self._tell_false_starts(deltas.false_starts)

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
            " kept apart (see cliproxy-exporter false-starts); what follows counts.",
            models=[each.model for each in dearest],
        )
