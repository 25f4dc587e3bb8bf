"""One scrape: format by negotiation, the ledger's text and prometheus_client's, gzip at level 1.

Nothing here touches the network, the database or Supabase. Level 9, prometheus_client's own choice, would cost more
than all the rest of a large scrape.
"""

import gzip
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, gzip_accepted

from exporter.clock import Clock
from exporter.credentials.labels import Labels
from exporter.ledger.ledger import Ledger
from exporter.ledger.totals import SeriesKey
from exporter.metrics import collectors
from exporter.metrics.ledger_text import LedgerText

_PROMETHEUS_ACCEPTS = ("application/openmetrics-text", "version=0.0.4", "application/vnd.google.protobuf")
_EOF = b"# EOF\n"


@dataclass(frozen=True, slots=True)
class Scrape:
    """A rendered scrape. Call ``answered`` once it has been sent."""

    body: bytes
    headers: dict[str, str]
    answered: Callable[[], None]


class Exposition:
    """Renders ``/metrics``."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        labels: Labels,
        statuses: collectors.Statuses,
        clock: Clock,
        registry: CollectorRegistry,
    ) -> None:
        """``registry`` holds the exporter's own direct metrics; families made at each scrape are added around it."""
        self._ledger = ledger
        self._labels = labels
        self._statuses = statuses
        self._clock = clock
        self._registry = registry
        self._text = LedgerText(ledger.totals, ledger.dictionary, labels)

    def scrape(self, *, accept: str, accept_encoding: str) -> Scrape:
        """The answer to a request with these headers."""
        encode, content_type = choose_encoder(accept)
        openmetrics = content_type.startswith("application/openmetrics-text")
        for_prometheus = any(word in accept for word in _PROMETHEUS_ACCEPTS)
        text, young = self._text.render(openmetrics=openmetrics, for_prometheus=for_prometheus)
        young_attempts: list[SeriesKey] = []
        if for_prometheus:
            with self._ledger.totals.lock:
                young_attempts = [key for key in self._ledger.totals.births if key[0] == "a"]
        scrape_registry = CollectorRegistry(auto_describe=False)
        scrape_registry.register(self._collector(young_attempts))
        parts = [part.removesuffix(_EOF) for part in (encode(scrape_registry), encode(self._registry))]
        body = text.encode() + b"".join(parts) + (_EOF if openmetrics else b"")
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        if gzip_accepted(accept_encoding):
            body = gzip.compress(body, compresslevel=1)
            headers["Content-Encoding"] = "gzip"
        told = [*young, *young_attempts]
        return Scrape(body=body, headers=headers, answered=lambda: self._ledger.totals.told(told))

    def _collector(self, young_attempts: list[SeriesKey]) -> collectors.SafeCollector:
        ledger, labels, statuses = self._ledger, self._labels, self._statuses
        hidden = [int(key[1]) for key in young_attempts]
        return collectors.SafeCollector(
            {
                "periods": lambda: collectors.period_families(ledger),
                "proxies": lambda: collectors.proxy_families(statuses),
                "credentials": lambda: collectors.credential_families(labels, statuses, self._clock),
                "attempts": lambda: collectors.attempt_families(ledger, labels, hidden),
                "flow": lambda: collectors.flow_families(ledger),
                "ledger": lambda: collectors.ledger_families(ledger),
                "build": collectors.build_families,
            }
        )
