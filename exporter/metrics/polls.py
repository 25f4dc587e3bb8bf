"""Counts of polls: the exporter's own work, so they start at 0 with the process."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from exporter.metrics.family import counter, histogram
from exporter.sources.proxy_status import FAILURE_REASONS

POLLS = counter("cliproxy_exporter_polls", ("proxy",), "Polls of the proxy that were started.")
POLL_FAILURES = counter(
    "cliproxy_exporter_poll_failures", ("proxy", "reason"), "Polls of the proxy that failed, by reason."
)
POLL_DURATION = histogram(
    "cliproxy_exporter_poll_duration_seconds", ("proxy",), "Duration of a poll: reading, storing and booking."
)


class PollMetrics:
    """Counters of polls. Every known reason is at 0 from the start, so that its first rise shows."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._polls = Counter(POLLS.name, POLLS.help, POLLS.labels, registry=registry)
        self._failures = Counter(POLL_FAILURES.name, POLL_FAILURES.help, POLL_FAILURES.labels, registry=registry)
        self._duration = Histogram(
            POLL_DURATION.name,
            POLL_DURATION.help,
            POLL_DURATION.labels,
            registry=registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
        )

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
