"""One scrape: format by negotiation, the ledger's text and prometheus_client's, gzip at level 1.

Nothing here touches the network, the database or Supabase. Level 9, prometheus_client's own choice, would cost more
than all the rest of a large scrape.
"""

import gzip

import structlog
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics_format
from werkzeug.http import parse_accept_header

from exporter.clock import Clock
from exporter.history.state import HistoryState
from exporter.ledger.labels import Labels
from exporter.ledger.ledger import Ledger
from exporter.ledger.views.scrapers import Scrape
from exporter.ledger.views.totals import SeriesKey
from exporter.limits.board import LimitBoard
from exporter.metrics import collectors
from exporter.metrics.ledger_text import LedgerText
from exporter.pricing.layers import PriceLayers
from exporter.proxy_status import Statuses

_TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_EOF = b"# EOF\n"

_log = structlog.get_logger("exporter.metrics")


class Exposition:
    """Renders ``/metrics``."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        labels: Labels,
        statuses: Statuses,
        prices: PriceLayers,
        limits: LimitBoard,
        clock: Clock,
        registry: CollectorRegistry,
        history: HistoryState = lambda: None,
    ) -> None:
        """``registry`` holds the exporter's own direct metrics; families made at each scrape are added around it."""
        self._ledger = ledger
        self._labels = labels
        self._statuses = statuses
        self._prices = prices
        self._limits = limits
        self._clock = clock
        self._registry = registry
        self._history = history
        self._text = LedgerText(ledger.totals, ledger.dictionary, labels)

    def scrape(self, *, accept: str, accept_encoding: str, scraper: str) -> Scrape:
        """The answer to a request with these headers; ``scraper`` says whose it is: see ``scraper_id``."""
        openmetrics, for_prometheus = _wants_openmetrics(accept), _is_prometheus(accept)
        shown_at_zero: list[SeriesKey] = []
        text = self._totals(openmetrics=openmetrics, for_prometheus=for_prometheus, shown_at_zero=shown_at_zero)
        made = CollectorRegistry(auto_describe=False)
        made.register(
            self._collector(totals=text is not None, for_prometheus=for_prometheus, shown_at_zero=shown_at_zero)
        )
        parts = [(text or "").encode()]
        for registry in (made, self._registry):
            parts.append(_generate_openmetrics(registry) if openmetrics else generate_latest(registry))
        body = b"".join(part.removesuffix(_EOF) for part in parts) + (_EOF if openmetrics else b"")
        headers = {
            "Content-Type": _OPENMETRICS_TYPE if openmetrics else _TEXT_TYPE,
            "Vary": "Accept, Accept-Encoding",
        }
        if parse_accept_header(accept_encoding).quality("gzip") > 0:
            body = gzip.compress(body, compresslevel=1)
            headers["Content-Encoding"] = "gzip"

        def answered() -> None:
            if for_prometheus:  # nobody else adds up what was read before
                self._ledger.totals.told(shown_at_zero, scraper)

        return Scrape(body=body, headers=headers, answered=answered)

    def _totals(self, *, openmetrics: bool, for_prometheus: bool, shown_at_zero: list[SeriesKey]) -> str | None:
        try:
            text, young = self._text.render(openmetrics=openmetrics, for_prometheus=for_prometheus)
        except Exception:  # noqa: BLE001 - as any other part: it must not cost the whole scrape
            _log.exception("collector_failed", collector="totals")
            return None
        shown_at_zero += young
        return text

    def _collector(
        self, *, totals: bool, for_prometheus: bool, shown_at_zero: list[SeriesKey]
    ) -> collectors.SafeCollector:
        ledger, labels, statuses = self._ledger, self._labels, self._statuses

        def attempts() -> list[Metric]:
            families, young = collectors.attempt_families(ledger, labels, for_prometheus=for_prometheus)
            shown_at_zero.extend(young)
            return families

        return collectors.SafeCollector(
            {
                "periods": lambda: collectors.period_families(ledger),
                "prices": lambda: collectors.price_families(ledger, self._prices, self._clock),
                "reload": lambda: collectors.reload_families(self._prices, self._limits),
                "limits": lambda: collectors.limit_families(self._limits),
                "proxies": lambda: collectors.proxy_families(statuses),
                "credentials": lambda: collectors.credential_families(labels, statuses, self._clock),
                "attempts": attempts,
                "flow": lambda: collectors.flow_families(ledger, statuses),
                "ledger": lambda: collectors.ledger_families(ledger),
                "history": lambda: collectors.history_families(self._history()),
                "build": collectors.build_families,
            },
            outside={"totals": totals},
        )


def _generate_openmetrics(registry: CollectorRegistry) -> bytes:
    text: bytes = openmetrics_format.generate_latest(registry)  # type: ignore[no-untyped-call] # it has no types
    return text


def _wants_openmetrics(accept: str) -> bool:
    """Whether OpenMetrics 1 is accepted. Prometheus prefers it; nobody who does not know it names it."""
    for part in accept.lower().split(","):
        kind, *parameters = (word.strip() for word in part.split(";"))
        if kind == "application/openmetrics-text":
            versions = [word.removeprefix("version=") for word in parameters if word.startswith("version=")]
            if not versions or versions[0].startswith("1."):
                return True
    return False


def _is_prometheus(accept: str) -> bool:
    """Whether a server asks that stores what it reads, not a person: such a one names a format and its version."""
    lower = accept.lower()
    return "application/openmetrics-text" in lower or "version=" in lower or "application/vnd.google.protobuf" in lower
