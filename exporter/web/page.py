"""The status page: puts figures, states and problems together for the template.

It shows what is known in this process and in the ledger; a view asks no proxy. The page works without JavaScript, loads
nothing from anywhere, and its policy forbids whatever a name from outside might try to bring along.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any

from flask import Flask, Response, make_response, render_template

from exporter import __version__, formats
from exporter.clock import Clock
from exporter.errors import LedgerError
from exporter.history.state import HistoryState
from exporter.ledger.labels import Labels
from exporter.ledger.ledger import Ledger
from exporter.ledger.views.periods import MONTH, TODAY, YESTERDAY
from exporter.limits.board import LimitBoard
from exporter.limits.present import LimitRow
from exporter.pricing.layers import PriceLayers
from exporter.proxy_status import Statuses
from exporter.records import Billing
from exporter.web.credential_states import credential_states
from exporter.web.overview import Figures, Overview, Spark
from exporter.web.problems import find_problems

REFRESH_SECONDS = 15
LONGEST_TABLE = 20
OPEN_NOTES = 4
"""Notes that are listed at the top; more than that would push the money off the screen."""

_SPENT = {
    Billing.METERED: "Spent",
    Billing.SUBSCRIPTION: "Subscription value",
    Billing.UNKNOWN: "Unknown billing",
}
_BRIEF = {Billing.METERED: "Spent", Billing.SUBSCRIPTION: "Value", Billing.UNKNOWN: "Unknown"}
_MEANING = {
    Billing.METERED: "API keys: money that is charged",
    Billing.SUBSCRIPTION: "what the same use would cost by API: no money spent",
    Billing.UNKNOWN: "the proxy did not tell whether it is charged",
}
_SPARK_WIDTH, _SPARK_HEIGHT = 384, 48


@dataclass(frozen=True, slots=True)
class Page:
    """Renders the status page."""

    overview: Overview
    ledger: Ledger
    labels: Labels
    statuses: Statuses
    prices: PriceLayers
    limits: LimitBoard
    clock: Clock
    history: HistoryState = lambda: None
    unasked: Callable[[], Mapping[str, tuple[str, ...]]] = dict

    def answer(self) -> Response:
        """The page as it is now, within a request of an application that was prepared by ``add_filters``."""
        style = render_template("page.css")
        script = render_template("page.js", refresh_seconds=REFRESH_SECONDS)
        answer = make_response(render_template("index.html", style=style, script=script, **self._context()))
        # Hashes and not a nonce: the script parses a fresh page under the policy of the page that it stands in.
        answer.headers["Content-Security-Policy"] = (
            f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)}; connect-src 'self';"
            " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        answer.headers["Cache-Control"] = "no-store"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "no-referrer"
        return answer

    def _context(self) -> dict[str, Any]:
        zone = self.overview.zone
        now_ms = self.clock.now() * 1000
        moment = partial(formats.moment, zone=zone)
        figures, ledger_problem = self._figures()
        statuses = list(self.statuses())
        names = {id_: name for name, id_ in self.ledger.dictionary.proxies.items()}
        with self.ledger.totals.lock:
            flows = {names[id_]: flow for id_, flow in self.ledger.totals.flows.items()}
        history = self.history()
        credentials = credential_states(statuses, ledger=self.ledger, labels=self.labels, now_ms=now_ms)
        return {
            "version": __version__,
            "refresh_seconds": REFRESH_SECONDS,
            "longest_table": LONGEST_TABLE,
            "open_notes": OPEN_NOTES,
            "now": moment(now_ms),
            "zone": str(zone),
            "moment": moment,
            "counted": formats.count,
            "shortened": formats.short,
            "ago": lambda ms: formats.since((now_ms - ms) / 1000),
            "problems": find_problems(
                statuses=statuses,
                flows=flows,
                credentials=credentials,
                figures=figures,
                ledger_problem=ledger_problem,
                price_problems=self.prices.problems,
                limit_problems=self.limits.problems,
                unmatched_limits=self.limits.current.unmatched,
                history=history,
                unasked=tuple(name for names in self.unasked().values() for name in names),
                folded=self.ledger.dictionary.folded,
                moment=moment,
                now_ms=now_ms,
            ),
            "figures": figures,
            "periods": _periods(figures) if figures else [],
            "sparks": _sparks(figures.spark, figures.billings) if figures else [],
            "tables": _tables(figures) if figures else [],
            "spent": _SPENT,
            "brief": _BRIEF,
            "meaning": _MEANING,
            "limits": [
                LimitRow(window, now_ms=int(now_ms), names_proxy=len(statuses) > 1)
                for window in self.limits.current.nearest_first()
            ],
            "proxies": [(status, flows.get(status.name)) for status in statuses],
            "credentials": credentials,
            "history": history,
        }

    def _figures(self) -> tuple[Figures | None, str]:
        try:
            return self.overview.figures(), ""
        except LedgerError as exc:
            return None, str(exc)


def add_filters(app: Flask) -> None:
    """Teach the templates of ``app`` to write numbers."""
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    for filter_ in (formats.usd, formats.exact_usd, formats.count, formats.short, formats.share, formats.cut):
        app.jinja_env.filters[filter_.__name__] = filter_
    app.jinja_env.filters["full"] = formats.full


def _source(inline: str) -> str:
    """How a policy names an inline element."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()}'"


def _periods(figures: Figures) -> list[tuple[str, str, Any]]:
    day = figures.day
    return [
        ("Today", _day(day), figures.periods[TODAY]),
        ("Yesterday", _day(day - timedelta(days=1)), figures.periods[YESTERDAY]),
        ("This month so far", f"{day:%B %Y}", figures.periods[MONTH]),
    ]


def _day(day: date) -> str:
    return f"{day:%a} {day.day} {day:%b}"


def _tables(figures: Figures) -> list[tuple[str, str, Any]]:
    return [
        ("model", "By model", figures.models),
        ("client", "By client", figures.clients),
        ("credential", "By credential", figures.credentials),
    ]


# --- sparklines -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Chart:
    """One sparkline: ``path`` are its bars, as the data of an SVG path."""

    title: str
    total: str
    most: str
    path: str


def _sparks(spark: Spark, billings: tuple[int, ...]) -> list[_Chart]:
    charts = [
        _chart(_SPENT[Billing(billing)], values, formats.usd)
        for billing in billings
        if (values := spark.cost.get(billing, [0] * len(spark.requests)))
    ]
    return [*charts, _chart("Requests", spark.requests, formats.count)]


def _chart(title: str, values: list[int], write: Any) -> _Chart:
    most = max(values)
    width = _SPARK_WIDTH // len(values)
    bars = []
    for index, value in enumerate(values):
        if value > 0:
            height = max(1.0, value / most * _SPARK_HEIGHT)  # a little is not nothing
            bars.append(f"M{index * width} {_SPARK_HEIGHT}v-{height:.1f}h{width - 1}v{height:.1f}z")
    return _Chart(title=title, total=write(sum(values)), most=write(most), path="".join(bars))
