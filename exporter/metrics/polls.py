"""Counts of polls: the exporter's own work, so they start at 0 with the process."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from exporter.metrics.families import POLL_DURATION, POLL_FAILURES, POLLS

FAILURE_REASONS = (
    "unreachable",
    "server_error",
    "bad_answer",
    "key_refused",
    "banned",
    "remote_disabled",
    "no_key_set",
    "management_off",
    "resp_only",
    "unknown_server",
    "source_gone",
    "ledger",
    "internal_error",
)


class PollMetrics:
    """Counters of polls. Every known reason is there at 0 from the start, so that its first rise is seen."""

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
        """A poll begins. The first one shows all of the proxy's series."""
        self._polls.labels(proxy).inc()
        self._duration.labels(proxy)
        for reason in FAILURE_REASONS:
            self._failures.labels(proxy, reason)

    def failed(self, proxy: str, reason: str) -> None:
        self._failures.labels(proxy, reason).inc()

    def finished(self, proxy: str, seconds: float) -> None:
        self._duration.labels(proxy).observe(seconds)
