"""The pages about usage and about single requests, and the same answer for programs.

The address holds the whole question, so a page can be shared. The pages work without JavaScript.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from flask import Response, jsonify

from exporter import formats
from exporter.sentences import say
from exporter.usage.question import BY, RANGE_PARAMETERS, Question, Questions
from exporter.usage.ranges import PRESETS, QuestionError, months
from exporter.usage.report import Reports
from exporter.usage.requests import MOST, list_requests
from exporter.usage.tables import as_csv, as_json
from exporter.web.addresses import Address, Link, month_name, span_name, step_name, written
from exporter.web.languages import said
from exporter.web.rendering import NOUNS, SPENT, page
from exporter.web.usage_chart import MEASURES, draw
from exporter.web.usage_table import tabulate

LONGEST_TABLE = 100

_SHOWN = {
    **{billing.label: text for billing, text in SPENT.items()},
    "requests": say("Requests"),
    "tokens": say("Tokens"),
}
_RANGES = {"24h": say("24 hours"), "7d": say("7 days"), "30d": say("30 days")}
_EASY_MONTHS = 2
"""Months with a link of their own; older ones are in a list."""


class UsagePages:
    """Renders ``/usage`` and ``/requests``, and answers ``/api/usage``."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self._reports = Reports(questions)

    def usage(self, arguments: Mapping[str, str]) -> Response:
        """The page about usage. Raises QuestionError and LedgerError."""
        asked, own = _split(arguments, ("show", "sort", "order"))
        report = self._reports.answer(asked)
        question, zone = report.question, report.zone
        address = _address("/usage", question, asked | own)
        show = own.get("show") or report.billings[0].label
        if show not in MEASURES:
            raise QuestionError(
                "{given!r} is nothing to draw: use one of {known}.", given=show[:40], known=", ".join(MEASURES)
            )
        several = len(self._questions.ledger.dictionary.proxies) > 1
        return page(
            "usage.html",
            **self._common(question, address),
            report=report,
            usage=report.usage,
            before=report.before and span_name(report.before, zone),
            usage_before=report.usage_before,
            month_end=report.month_end,
            month=month_name(report.month_end.range.name),
            by=[
                Link(said(NOUNS[name]).capitalize(), address.but(by=name, sort=None, order=None), name == question.by)
                for name in BY
                if name != "proxy" or several
            ],
            shows=[
                Link(_SHOWN[name], address.but(show=name), name == show)
                for name, measure in MEASURES.items()
                if measure.billing is None or measure.billing in report.billings
            ],
            shown=_SHOWN[show],
            chart=draw(
                report, MEASURES[show], [said(step_name(step.range, report.unit, zone)) for step in report.steps]
            ),
            table=tabulate(
                report, address, sort=own.get("sort", ""), order=own.get("order", ""), longest=LONGEST_TABLE
            ),
            csv=Address("/api/usage", asked).but(format="csv"),
            json=Address("/api/usage", asked).but(),
            requests=Address("/requests", address.without(("by", "show", "sort", "order"))).but(),
        )

    def requests(self, arguments: Mapping[str, str]) -> Response:
        """The page about single requests. Raises QuestionError and LedgerError."""
        asked, _ = _split(arguments, ())
        lists = list_requests(self._questions, asked)
        address = _address("/requests", lists.question, asked)
        return page(
            "requests.html",
            **self._common(lists.question, address),
            lists=(("failed", say("Last failed"), lists.failed), ("dearest", say("Dearest"), lists.dearest)),
            most=MOST,
            second=partial(formats.second, zone=self._questions.zone),
            duration=formats.duration,
            usage=Address("/usage", address.parameters).but(),
        )

    def api(self, arguments: Mapping[str, str]) -> Response:
        """The answer for programs. Raises QuestionError and LedgerError."""
        asked, own = _split(arguments, ("format",))
        form = own.get("format") or "json"
        if form not in ("json", "csv"):
            raise QuestionError(f"{form[:40]!r} is no format: use json or csv.")
        report = self._reports.answer(asked)
        if form == "json":
            return jsonify(as_json(report))
        answer = Response(as_csv(report), content_type="text/csv; charset=utf-8")
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Content-Disposition"] = f'attachment; filename="usage-by-{report.question.by}.csv"'
        return answer

    def refused(self, path: str, sentence: str, status: int) -> Response:
        """A page that says why there is no answer."""
        return page("refused.html", status=status, path=path, sentence=sentence)

    def _common(self, question: Question, address: Address) -> dict[str, Any]:
        """What both pages show: time, ranges and filters."""
        zone, range_ = self._questions.zone, question.range
        known = list(months(question.oldest_ms, now_ms=question.now_ms, zone=zone))

        def to(name: str) -> str:
            return address.but(range=name, since=None, until=None)

        return {
            "now": formats.moment(question.now_ms, zone),
            "zone": str(zone),
            "ranges": [
                *(Link(_RANGES[name], to(name), name == range_.name) for name in PRESETS),
                *(Link(month_name(name), to(name), name == range_.name) for name in known[:_EASY_MONTHS]),
            ],
            "older": [(name, month_name(name), name == range_.name) for name in known[_EASY_MONTHS:]],
            "path": address.path,
            "span": span_name(range_, zone),
            "since": written(range_.since_ms, zone)[:10],
            "until": written(range_.until_ms, zone)[:10],
            "along": address.without(RANGE_PARAMETERS),
            "filters": [(NOUNS[name], value, address.but(**{name: None})) for name, value in question.filters.items()],
        }


def _split(arguments: Mapping[str, str], own: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The parameters of the question and those of the page. Empty ones, which forms send, count as absent."""
    given = {name: value for name, value in arguments.items() if value}
    return (
        {name: value for name, value in given.items() if name not in own},
        {name: value for name, value in given.items() if name in own},
    )


def _address(path: str, question: Question, given: Mapping[str, str]) -> Address:
    """The page as it is, with its range even if it is the default."""
    named = {"range": question.range.name} if question.range.name else {}
    return Address(path, {**named, **given})
