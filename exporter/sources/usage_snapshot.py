"""Fetches the cumulative ``/usage`` of CPA up to 6.9 and of forks. Reading changes nothing on the proxy."""

import re

from exporter.errors import SourceGoneError
from exporter.quotas.values import instant
from exporter.sentences import say
from exporter.sources.base import Receiver, Source, Version, Way
from exporter.sources.paths import Paths
from exporter.sources.proxy_client import FOUND_OR_NOT, ProxyClient

MAX_SNAPSHOT_BYTES = 512 * 1024 * 1024
"""Room for two million details of 260 bytes: months without a restart of the proxy."""

_NO_SUBSCRIPTION = say(
    "It cannot be subscribed to, and need not be: reading a snapshot takes nothing from other programs. Set source:"
    " queue (CLIPROXY_SOURCE), or upgrade to CPA 7.0.7 or newer to subscribe."
)
_FIRST_WITHOUT = (6, 10, 0)
_BEGINNING = re.compile(rb'\s*\{.*?"usage"\s*:\s*\{', re.DOTALL)
_PROBE_BYTES = 1024


class UsageSnapshot(Source):
    """The statistics of CPA up to 6.9. From 6.9.38 to 6.9.49 a RESP queue beside them has the same records."""

    kind = "snapshot"
    is_cumulative = True
    restart_cost = "What it counted between the last read, {unread} ago, and the restart is lost."
    poll_seconds = 60.0

    @classmethod
    def is_offered(cls, client: ProxyClient, paths: Paths, version: Version | None, /) -> bool:
        """Reads only the first bytes: the whole may be tens of megabytes."""
        if not paths.usage or (version is not None and version >= _FIRST_WITHOUT):
            return False
        answer = client.get(paths.usage, accept=FOUND_OR_NOT, max_bytes=_PROBE_BYTES)
        return answer.status == 200 and _BEGINNING.match(answer.body) is not None

    def poll(self, receiver: Receiver, now_ms: int, /) -> bool:
        """Deliver the current snapshot, but only a whole one: half a snapshot would look like a restart."""
        answer = self.client.get(self.paths.usage, accept=FOUND_OR_NOT, max_bytes=MAX_SNAPSHOT_BYTES)
        if answer.status == 404:
            raise SourceGoneError(
                "{where} has no usage snapshot any more (404): its version changed, or its management is off.",
                where=self.client.where,
            )
        answer.whole()
        if self.client.version != self.version:
            # A server with a queue and a snapshot has the same records in both.
            raise SourceGoneError(
                "{where} has changed its version, so the exporter looks for its source again.", where=self.client.where
            )
        receiver.snapshot(answer.body, instant(answer.headers.get("date", "")) or now_ms)
        return True

    @property
    def way(self) -> Way:
        note = _NO_SUBSCRIPTION if self.client.subscribes else ""
        return Way(self.kind, note)
