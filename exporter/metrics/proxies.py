"""The proxies: their state, what became of their records, and polls."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from exporter.ledger.ledger import Ledger
from exporter.metrics.family import Samples, counter, filling, gauge, histogram
from exporter.records import REJECTION_REASONS
from exporter.sources.proxy_status import FAILURE_REASONS, STATES, Statuses

_PROXY = ("proxy",)

UP = gauge("cliproxy_up", _PROXY, "1 if the last poll could read the proxy's usage, else 0.")
PROXY_STATE = gauge(
    "cliproxy_proxy_state",
    ("proxy", "state"),
    "1 for the state in which the exporter sees the proxy, 0 for the others. ok: its usage is read; publishing_off"
    " and another_consumer: it is read, but records do not arrive.",
)
PROXY_INFO = gauge(
    "cliproxy_proxy_info",
    ("proxy", "version", "commit", "source"),
    "Facts about a proxy, always 1. source is the interface from which its usage is read. Absent until it is read.",
)
PUBLISHING = gauge(
    "cliproxy_usage_publishing_enabled",
    _PROXY,
    "1 if the proxy records usage at all (its setting usage-statistics-enabled), else 0.",
)
RETENTION = gauge(
    "cliproxy_queue_retention_seconds",
    _PROXY,
    "How long the proxy keeps a usage record that nobody reads. Longer gaps between polls lose records.",
)


@filling(UP, PROXY_STATE, PROXY_INFO, PUBLISHING, RETENTION)
def proxy_families(statuses: Statuses) -> Samples:
    """State of the proxies. What a proxy does not report is left out."""
    for status in statuses():
        proxy = status.name
        yield UP(status.up, proxy=proxy)
        for each in STATES:
            yield PROXY_STATE(status.state == each, proxy=proxy, state=each)
        if status.source:
            yield PROXY_INFO(1, proxy=proxy, version=status.version, commit=status.commit, source=status.source)
        yield PUBLISHING(status.publishing_enabled, proxy=proxy)
        yield RETENTION(status.retention_seconds, proxy=proxy)


RECEIVED = counter(
    "cliproxy_exporter_records_received", _PROXY, "Usage records read from the proxy, or imported.", shows="received"
)
REPLAYED = counter(
    "cliproxy_exporter_records_replayed", _PROXY, "Rejected records that were tried again.", shows="replayed"
)
BOOKED = counter("cliproxy_exporter_records_booked", _PROXY, "Usage records booked in the ledger.", shows="booked")
DUPLICATE = counter(
    "cliproxy_exporter_records_duplicate",
    _PROXY,
    "Details of snapshots, and imported records, that had been booked, counted or rejected before. A snapshot"
    " repeats its details, and each repetition counts. A queue hands out each record once, so it has no duplicates.",
    shows="duplicate",
)
BACKFILLED = counter(
    "cliproxy_exporter_records_backfilled",
    _PROXY,
    "Booked records of the past, which count in periods and history, but not in counters.",
    shows="backfilled",
)
REJECTED = counter(
    "cliproxy_exporter_records_rejected",
    ("proxy", "reason"),
    "Records that could not be booked; they are kept in the ledger.",
)
PENDING = gauge(
    "cliproxy_exporter_records_pending",
    _PROXY,
    "Records on disk that are not booked yet. received + replayed = booked + duplicate + rejected + pending.",
)
MISSED = gauge(
    "cliproxy_exporter_missed_records_estimate",
    _PROXY,
    "Estimate of the records that the proxy has counted but that never arrived, since the exporter first read it;"
    " docs/proxies.md explains it. Absent while the proxy has sent no counts.",
)
RETENTION_GAPS = counter(
    "cliproxy_exporter_retention_gaps",
    _PROXY,
    "How often records may have been lost: the proxy was not read for longer than it keeps a record, it was not"
    " subscribed to although it should have been, or an answer of its queue did not arrive whole.",
    shows="retention_gaps",
)
RESTARTS = counter(
    "cliproxy_exporter_restarts_detected",
    _PROXY,
    "Restarts of the proxy that were noticed: its counts started again, or its usage comes from another kind of "
    "source.",
    shows="restarts",
)
FALSE_STARTS = counter(
    "cliproxy_exporter_false_starts",
    _PROXY,
    "Sudden first values that were not believed, of a proxy without details; cliproxy-exporter false-starts lists "
    "them.",
    shows="false_starts",
)
LAST_SUCCESS = gauge(
    "cliproxy_exporter_last_success_timestamp_seconds", _PROXY, "When the proxy was last polled successfully."
)


_FLOW = (RECEIVED, REPLAYED, BOOKED, DUPLICATE, BACKFILLED, RETENTION_GAPS, RESTARTS, FALSE_STARTS)


@filling(*_FLOW, REJECTED, PENDING, MISSED, LAST_SUCCESS)
def flow_families(ledger: Ledger, statuses: Statuses) -> Samples:
    """What became of the records of each proxy. Only proxies that are polled have a last success."""
    polled = {status.name for status in statuses()}
    with_totals = {status.name for status in statuses() if status.source_is_cumulative}
    names, credentials = ledger.name_store.proxy_names, ledger.name_store.credentials
    with ledger.totals.lock:  # all are of one moment, so that they add up
        can_miss = {names[credentials[each].proxy] for each in ledger.totals.attempts}
        for id_, flow in ledger.totals.flows.items():
            proxy = names[id_]
            for family in _FLOW:
                yield family(getattr(flow, family.shows), proxy=proxy)
            # Every known reason is at 0 from the start, so that its first rise shows.
            for reason in sorted({*REJECTION_REASONS, *flow.rejected}):
                yield REJECTED(flow.rejected.get(reason, 0), proxy=proxy, reason=reason)
            yield PENDING(flow.pending, proxy=proxy)
            if flow.missed or proxy in can_miss | with_totals:
                yield MISSED(flow.missed, proxy=proxy)
            if proxy in polled:
                yield LAST_SUCCESS.at(flow.last_success_ms, proxy=proxy)


POLLS = counter("cliproxy_exporter_polls", _PROXY, "Polls of the proxy that were started.")
POLL_FAILURES = counter(
    "cliproxy_exporter_poll_failures", ("proxy", "reason"), "Polls of the proxy that failed, by reason."
)
POLL_DURATION = histogram(
    "cliproxy_exporter_poll_duration_seconds", _PROXY, "Duration of a poll: reading, storing and booking."
)


_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class PollMetrics:
    """Counts of polls since the process began. Each known reason starts at 0, so that its first rise shows."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._polls = POLLS.direct(Counter, registry)
        self._failures = POLL_FAILURES.direct(Counter, registry)
        self._duration = POLL_DURATION.direct(Histogram, registry, buckets=_BUCKETS)

    def started(self, proxy: str) -> None:
        """Count a poll. The first one creates all of the proxy's series."""
        self._polls.labels(proxy).inc()
        self._duration.labels(proxy)
        for reason in FAILURE_REASONS:
            self._failures.labels(proxy, reason)

    def failed(self, proxy: str, reason: str) -> None:
        self._failures.labels(proxy, reason).inc()

    def finished(self, proxy: str, seconds: float) -> None:
        self._duration.labels(proxy).observe(seconds)
