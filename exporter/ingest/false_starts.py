"""Turns the rising counts of a proxy that sends no request details into records, and finds false starts.

Counts only rise while the proxy runs: if one falls, or a series vanishes, the whole proxy has restarted, and every
count is new. A fork can also show a new series that begins with the count of a whole life: a false start. If a series
appears beside known ones and its first value is too expensive to be true, that value is kept apart and listed, and only
what follows it counts.
"""

from collections.abc import Mapping, Sequence

import msgspec
import structlog

from exporter.ledger.store.snapshots import FalseStart, MarkKey, SnapshotDeltas
from exporter.normalize.fingerprint import fingerprint_of
from exporter.normalize.snapshot import Mark, SnapshotSeries, has_restarted, model_family
from exporter.pricing.pricer import Pricer
from exporter.records import Billing, Cost, Tokens, UsageRecord

_MODELS_NAMED = 5

_log = structlog.get_logger("exporter.ingest")


class CountDeltas:
    """Turns the growth of one proxy's counts into records."""

    def __init__(self, proxy: str, pricer: Pricer, *, false_start_usd: float) -> None:
        """``false_start_usd``: the most that a sudden first value may cost to be believed."""
        self._proxy = proxy
        self._pricer = pricer
        self._most_nano_usd = round(false_start_usd * 1e9)

    def since(self, marks: Mapping[MarkKey, Mark], snapshot: Sequence[SnapshotSeries], *, at_ms: int) -> SnapshotDeltas:
        """What the proxy counted between ``marks`` and ``snapshot``, which was taken at ``at_ms``."""
        restarted = has_restarted(snapshot, marks)
        increments: list[tuple[UsageRecord, Cost]] = []
        false_starts: list[FalseStart] = []
        for series in snapshot:
            mark = None if restarted else marks.get((series.key, series.model))
            requests = series.requests - (mark.requests if mark else 0)
            tokens = series.tokens - (mark.tokens if mark else 0)
            if requests <= 0 and tokens <= 0:
                continue
            record = UsageRecord(
                ts_ms=at_ms,
                fingerprint=fingerprint_of(("increment/1", self._proxy, series.key, series.model, at_ms)),
                provider=model_family(series.model)[0],
                model=series.model[:200],
                alias="",
                auth_index="",
                source="",
                client=series.client,
                billing=Billing.UNKNOWN,
                tokens=Tokens(unclassified=max(0, tokens)),
                counted=max(0, requests),
            )
            is_first = mark is None and not restarted
            if is_first and (worth := self._worth(record)) > self._most_nano_usd:
                counts = record.counted, record.tokens.unclassified
                false_starts.append(FalseStart(at_ms, record.client, record.model, *counts, nano_usd=worth))
            else:
                increments.append((record, self._pricer.price(record)))
        return SnapshotDeltas(increments=increments, false_starts=false_starts, restarted=restarted)

    def _worth(self, record: UsageRecord) -> int:
        """The cost of its tokens in nano-USD if all of them are input: the proxy does not say what kind they are."""
        tokens = Tokens(uncached=record.tokens.unclassified)
        return self._pricer.price(msgspec.structs.replace(record, tokens=tokens)).nano_usd

    def tell(self, false_starts: Sequence[FalseStart]) -> None:
        """Log false starts."""
        if not false_starts:
            return
        requests = sum(each.requests for each in false_starts)
        usd = sum(each.nano_usd for each in false_starts) / 1e9
        what, they_are = ("request", "It is") if requests == 1 else ("requests", "They are")
        many = "" if len(false_starts) == 1 else f" in {len(false_starts)} series"
        dearest = sorted(false_starts, key=lambda each: -each.nano_usd)[:_MODELS_NAMED]
        _log.warning(
            "false_start",
            proxy=self._proxy,
            message=f"False Start detected: {requests} {what}{many} worth {usd:.2f} USD appeared at once. {they_are}"
            " kept apart (see cliproxy-exporter false-starts); what follows counts.",
            models=[each.model for each in dearest],
        )
