"""One scrape: format by negotiation, the ledger's text and prometheus_client's, gzip at level 1.

Nothing here touches the network, the database or Supabase. gzip at level 9, as prometheus_client does it, would take
longer than the rest of a large scrape.
"""

import gzip
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics_format
from werkzeug.http import parse_accept_header, parse_options_header

from exporter.clock import Clock
from exporter.history.state import HistoryState
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.ledger.views.scrapers import Scrape
from exporter.ledger.views.totals import SeriesKey
from exporter.limits.board import LimitBoard
from exporter.metrics import credentials, exporter, limits, periods, prices, proxies, usage
from exporter.pricing.pricer import Pricer
from exporter.sources.proxy_status import Statuses

_TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_NAME_OF_LINE = re.compile("^(?:# HELP )?([^ {]+)", re.MULTILINE)
_OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass(kw_only=True)
class Exposition:
    """Renders ``/metrics``. ``registry`` holds the metrics that are counted directly; they come last in a scrape."""

    ledger: Ledger
    shown_names: ShownNames
    statuses: Statuses
    prices: Pricer
    limits: LimitBoard
    clock: Clock
    registry: CollectorRegistry
    history: HistoryState = lambda: None

    def __post_init__(self) -> None:
        self._text = usage.LedgerText(self.ledger, self.shown_names)

    def scrape(self, *, accept: str, accept_encoding: str, scraper: str, names: Collection[str] = ()) -> Scrape:
        """The answer to a request with these headers; ``scraper`` identifies its sender: see ``scraper_id``.

        ``names`` are the metrics asked for; none means all.
        """
        openmetrics, for_prometheus = _wanted(accept)
        text = ""
        shown_at_zero: list[SeriesKey] = []

        def totals() -> list[Metric]:
            nonlocal text
            text, young = self._text.render(openmetrics=openmetrics, for_prometheus=for_prometheus)
            shown_at_zero.extend(young)
            return []

        ledger, shown_names, statuses = self.ledger, self.shown_names, self.statuses
        made = exporter.families_by_part(
            totals=totals,
            periods=lambda: periods.period_families(ledger),
            prices=lambda: prices.price_families(ledger, self.prices, self.clock),
            reload=lambda: exporter.reload_families(self.prices, self.limits, self.shown_names),
            limits=lambda: limits.limit_families(self.limits),
            plans=lambda: limits.plan_families(self.limits),
            pools=lambda: limits.pool_families(self.limits),
            proxies=lambda: proxies.proxy_families(statuses),
            credentials=lambda: credentials.credential_families(ledger, shown_names, statuses, self.clock),
            quotas=lambda: credentials.quota_families(ledger, shown_names, statuses, self.clock),
            attempts=lambda: credentials.attempt_families(
                ledger, shown_names, shown_at_zero, for_prometheus=for_prometheus
            ),
            flow=lambda: proxies.flow_families(ledger, statuses),
            ledger=lambda: exporter.ledger_families(ledger),
            history=lambda: exporter.history_families(status) if (status := self.history()) is not None else [],
            build=exporter.build_families,
        )
        others = SimpleNamespace(collect=lambda: [*made, *self.registry.collect()])
        generate: Callable[[Any], bytes] = openmetrics_format.generate_latest if openmetrics else generate_latest
        text += generate(others).decode()
        body = (_only(text, names) if names else text).encode()
        headers = {
            "Content-Type": _OPENMETRICS_TYPE if openmetrics else _TEXT_TYPE,
            "Vary": "Accept, Accept-Encoding",
        }
        if parse_accept_header(accept_encoding).quality("gzip") > 0:
            body = gzip.compress(body, compresslevel=1)
            headers["Content-Encoding"] = "gzip"

        def answered() -> None:
            if for_prometheus:  # nobody else computes increases
                self.ledger.births.told(shown_at_zero, scraper)

        return Scrape(body=body, headers=headers, answered=answered)


def _only(text: str, names: Collection[str]) -> str:
    """The families with one of ``names``, or with a sample of that name."""
    families, eof, _ = text.partition("# EOF\n")
    blocks = re.split("^(?=# HELP )", families, flags=re.MULTILINE)
    asked = frozenset(names)  # a set, because a request has room for thousands of names
    kept = [block for block in blocks if not asked.isdisjoint(_NAME_OF_LINE.findall(block))]
    return "".join(kept) + eof


def _wanted(accept: str) -> tuple[bool, bool]:
    """Whether OpenMetrics 1 is accepted, and whether the client is a server that stores what it reads, not a person.

    Prometheus prefers OpenMetrics, and only clients that know it name it. A server names a format and a version.
    """
    accepted = [parse_options_header(kind.lower()) for kind, quality in parse_accept_header(accept) if quality > 0]
    openmetrics = [parameters for kind, parameters in accepted if kind == "application/openmetrics-text"]
    names_format = bool(openmetrics) or any(kind == "application/vnd.google.protobuf" for kind, _ in accepted)
    return (
        any(parameters.get("version", "1.").startswith("1.") for parameters in openmetrics),
        names_format or any("version" in parameters for _, parameters in accepted),
    )
