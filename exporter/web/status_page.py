"""The status page: combines figures, states and problems for the template.

It shows what this process and the ledger know; opening it calls no proxy. The page works without JavaScript.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from typing import Any

from flask import Response, render_template

from exporter import formats
from exporter.errors import LedgerError
from exporter.history.state import HistoryState
from exporter.ledger.views.periods import MONTH, TODAY, YESTERDAY
from exporter.ledger.views.usage import Usage
from exporter.limits.board import LimitBoard
from exporter.limits.present import LimitRow, WorthRow, pool_rows, worth_rows
from exporter.pricing.pricer import Pricer
from exporter.records import Billing
from exporter.sentences import Sentence, say
from exporter.sources.proxy_status import Statuses
from exporter.web.credential_states import CredentialState, credential_states
from exporter.web.overview import Figures, Overview
from exporter.web.problems import find_problems
from exporter.web.rendering import page
from exporter.web.usage_chart import MEASURES, Measure

REFRESH_SECONDS = 15
LONGEST_TABLE = 20
OPEN_NOTES = 4
"""Notes listed at the top; more would push the money off the screen."""

_MEANING = {
    Billing.METERED: say("what API keys cost"),
    Billing.SUBSCRIPTION: say(
        "what the use of accounts with a login would have cost by API key; no money is spent on it"
    ),
    Billing.UNKNOWN: say("the proxy did not say whether it is charged"),
}
_SPARK_WIDTH, _SPARK_HEIGHT = 384, 48


@dataclass(frozen=True, slots=True)
class StatusPage:
    overview: Overview
    statuses: Statuses
    prices: Pricer
    limits: LimitBoard
    history: HistoryState = lambda: None
    unasked: Callable[[], Mapping[str, Sequence[str]]] = dict

    def answer(self) -> Response:
        """The current page, within a request of an application prepared by ``add_filters``."""
        ledger, shown_names, zone = self.overview.ledger, self.overview.shown_names, self.overview.zone
        now_ms = self.overview.clock.now() * 1000
        moment = partial(formats.moment, zone=zone)
        figures, ledger_problem = None, ""
        try:
            figures = self.overview.figures()
        except LedgerError as exc:
            ledger_problem = str(exc)
        statuses = list(self.statuses())
        with ledger.totals.lock:
            flows = {ledger.name_store.proxy_names[id_]: flow for id_, flow in ledger.totals.flows.items()}
        history, board, several = self.history(), self.limits.current, len(statuses) > 1
        credentials = credential_states(statuses, board, ledger=ledger, shown_names=shown_names, now_ms=now_ms)
        worth = worth_rows(board, names_proxy=several)
        rows = [LimitRow(window, int(now_ms), several) for window in board.nearest_first()[:LONGEST_TABLE]]
        cards = _cards(rows, [each for each in credentials if each.up is not None], worth)
        problems = find_problems(
            statuses=statuses,
            flows=flows,
            credentials=credentials,
            figures=figures,
            ledger_problem=ledger_problem,
            prices=self.prices,
            limits=self.limits,
            shown_names=shown_names,
            folded=ledger.name_store.folded,
            moment=moment,
            now_ms=now_ms,
            history=history,
        )
        return page(
            "index.html",
            script=render_template("page.js", refresh_seconds=REFRESH_SECONDS),
            refresh_seconds=REFRESH_SECONDS,
            longest_table=LONGEST_TABLE,
            open_notes=OPEN_NOTES,
            now=moment(now_ms),
            zone=str(zone),
            moment=moment,
            ago=lambda ms: formats.since((now_ms - ms) / 1000),
            problems=list(problems),
            figures=figures,
            month=f"{figures.day:%Y-%m}" if figures else "",
            periods=_periods(figures) if figures else [],
            sparks=_sparks(figures) if figures and any(usage.total.requests for usage in figures.spark) else [],
            meaning=_MEANING,
            limits=cards,
            more_limits=max(0, len(board.windows) - LONGEST_TABLE),
            worth=[row for row in worth if row.name not in {card["owner"] for card in cards}],
            proxies=[(status, flows.get(status.name)) for status in statuses],
            credentials=credentials,
            pools=pool_rows(board, names_proxy=several),
            unasked=[name for names in self.unasked().values() for name in names],
            without_alias=shown_names.without_alias,
            history=history,
        )


def _cards(rows: list[LimitRow], accounts: list[CredentialState], worth: list[WorthRow]) -> list[dict[str, Any]]:
    """A card for each account (its windows, its state at each proxy and its worth) and for each limit (its windows).

    Cards are in the order of their first rows. Rows do not name the proxy if the account has only one.
    """
    cards = []
    for owner in dict.fromkeys(row.owner for row in rows):
        own = [each for each in accounts if each.name == owner]
        shown = [replace(row, names_proxy=row.names_proxy and len(own) != 1) for row in rows if row.owner == owner]
        of_owner = [each for each in worth if each.name == owner]
        cards.append({"owner": owner, "rows": shown, "accounts": own, "worth": of_owner})
    return cards


def _periods(figures: Figures) -> list[tuple[Sentence, Sentence, Any]]:
    day = figures.day
    return [
        (say("Today"), _day(day), figures.periods[TODAY]),
        (say("Yesterday"), _day(day - timedelta(days=1)), figures.periods[YESTERDAY]),
        (say("This month so far"), say("{day:%B %Y}", day=day), figures.periods[MONTH]),
    ]


def _day(day: date) -> Sentence:
    return say("{day:%a} {day.day} {day:%b}", day=day)


def _sparks(figures: Figures) -> list[dict[str, str]]:
    names = [*(billing.word for billing in figures.billings), "requests"]
    return [_spark(MEASURES[name], figures.spark) for name in names]


def _spark(measure: Measure, usages: Sequence[Usage]) -> dict[str, str]:
    """A sparkline: ``path`` draws its bars, as the data of an SVG path."""
    values = [measure.value(usage) for usage in usages]
    most = max(values)
    width = _SPARK_WIDTH // len(values)
    bars = []
    for index, value in enumerate(values):
        if value > 0:
            height = max(1.0, value / most * _SPARK_HEIGHT)  # so that even a little is visible
            bars.append(f"M{index * width} {_SPARK_HEIGHT}v-{height:.1f}h{width - 1}v{height:.1f}z")
    total = measure.write(sum(values))
    return {"title": measure.title, "total": total, "most": measure.write(most), "path": "".join(bars)}
