"""The arithmetic of snapshots without details: what was counted between two of them. Pure.

Counts only rise while the proxy runs. If one falls, or a series vanishes, the whole proxy has restarted, and every
count is new. ``exporter.ingest.false_starts`` judges the first value of a series beside known ones.
"""

from collections.abc import Iterable, Mapping

from exporter.ingest.false_starts import find_false_start
from exporter.ledger.store.snapshots import FalseStart, MarkKey, SnapshotDeltas
from exporter.normalize.fingerprint import fingerprint_of
from exporter.normalize.snapshot import Mark, SnapshotSeries, model_family
from exporter.pricing.pricer import Pricer
from exporter.records import Billing, Cost, Tokens, UsageRecord


def has_restarted(snapshot: Iterable[SnapshotSeries], marks: Mapping[MarkKey, Mark]) -> bool:
    """Whether a count fell or a series vanished since ``marks``: the proxy has restarted."""
    now = {(each.key, each.model): each for each in snapshot}
    return any(
        mark.requests > 0 and (key not in now or now[key].requests < mark.requests or now[key].tokens < mark.tokens)
        for key, mark in marks.items()
    )


def count_deltas(
    snapshot: Iterable[SnapshotSeries],
    marks: Mapping[MarkKey, Mark],
    *,
    restarted: bool,
    proxy: str,
    pricer: Pricer,
    false_start_nano: int,
    at_ms: int,
) -> SnapshotDeltas:
    """What ``proxy`` counted between ``marks`` and ``snapshot``, which was taken at ``at_ms``.

    ``false_start_nano``: the most, in nano-USD, that a sudden first value may cost to be believed.
    """
    increments: list[tuple[UsageRecord, Cost]] = []
    false_starts: list[FalseStart] = []
    for series in snapshot:
        mark = None if restarted else marks.get((series.key, series.model))
        requests = series.requests - (mark.requests if mark else 0)
        tokens = series.tokens - (mark.tokens if mark else 0)
        if requests <= 0 and tokens <= 0:
            continue
        record = _increment(proxy, series, requests, tokens, at_ms)
        is_first = mark is None and not restarted
        if is_first and (found := find_false_start(record, pricer, most_nano=false_start_nano)):
            false_starts.append(found)
        else:
            increments.append((record, pricer.price(record)))
    return SnapshotDeltas(increments=increments, false_starts=false_starts, restarted=restarted)


def _increment(proxy: str, series: SnapshotSeries, requests: int, tokens: int, at_ms: int) -> UsageRecord:
    provider, _ = model_family(series.model)
    return UsageRecord(
        ts_ms=at_ms,
        fingerprint=fingerprint_of(("increment/1", proxy, series.key, series.model, at_ms)),
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
