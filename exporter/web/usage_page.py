"""The pages about usage and about single requests, and the same answer for programs.

The address holds the whole question, so a page can be shared. The pages work without JavaScript.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import partial
from typing import Any
from urllib.parse import urlencode

from flask import Response, jsonify

from exporter import formats
from exporter.days import day_start_ms, local_time
from exporter.ledger.labels import SeriesLabels
from exporter.ledger.views.usage import SingleRequest, Usage, read_requests
from exporter.sentences import Sentence, say
from exporter.usage.question import BY, NAMES, RANGE_PARAMETERS, Question, Questions
from exporter.usage.ranges import HOUR, MONTH, PRESETS, WEEK, QuestionError, Range, months
from exporter.usage.report import Report, Row, answer, as_csv, as_json
from exporter.web.rendering import NOUNS, page, said
from exporter.web.usage_chart import MEASURES, draw

LONGEST_TABLE = 100
MOST_REQUESTS = 25
"""Requests in each list."""
_DEFAULT_RANGE = "7d"

_RANGES = {"24h": say("24 hours"), "7d": say("7 days"), "30d": say("30 days")}
_EASY_MONTHS = 2
"""Months with a link of their own; older ones are in a list."""


Listed = tuple[SeriesLabels, SingleRequest]
"""A request, with the labels of its series before it."""


@dataclass(frozen=True, slots=True)
class Address:
    """A page and the parameters that it was requested with."""

    path: str
    parameters: Mapping[str, str]

    def but(self, **changes: str | None) -> str:
        """The same page with other parameters; None removes one."""
        parameters = {name: value for name, value in {**self.parameters, **changes}.items() if value}
        return f"{self.path}?{urlencode(parameters)}" if parameters else self.path

    def without(self, names: Collection[str]) -> dict[str, str]:
        """The other parameters, which a form for these ``names`` sends along."""
        return {name: value for name, value in self.parameters.items() if name not in names}


def usage_page(questions: Questions, arguments: Mapping[str, str]) -> Response:
    """The page about usage. Raises QuestionError and LedgerError."""
    asked, own = _split(arguments, ("show", "sort", "order"))
    report = answer(questions, asked)
    question, zone = report.question, report.question.zone
    address = _address("./usage", question, asked | own)
    show = own.get("show") or report.billings[0].word
    if show not in MEASURES:
        raise QuestionError(
            "The bars cannot show {given!r}: use one of {known}.", given=show[:40], known=", ".join(MEASURES)
        )
    several = len(questions.ledger.name_store.proxies) > 1
    return page(
        "usage.html",
        **_common(question, address),
        report=report,
        before=report.before and span_name(report.before.range, zone),
        month=month_name(report.month.range.name),
        by=[
            (said(NOUNS[name]).capitalize(), address.but(by=name, sort=None, order=None), name == question.by)
            for name in BY
            if name != "proxy" or several
        ],
        shows=[
            (measure.title, address.but(show=name), name == show)
            for name, measure in MEASURES.items()
            if measure.billing is None or measure.billing in report.billings
        ],
        shown=MEASURES[show].title,
        chart=draw(report, MEASURES[show], [said(step_name(step.range, report.unit, zone)) for step in report.steps]),
        table=tabulate(report, address, sort=own.get("sort", ""), order=own.get("order", ""), longest=LONGEST_TABLE),
        csv=Address("./api/usage", asked).but(format="csv"),
        json=Address("./api/usage", asked).but(),
        requests=Address("./requests", address.without(("by", "show", "sort", "order"))).but(),
    )


def requests_page(questions: Questions, arguments: Mapping[str, str]) -> Response:
    """The page about single requests. Raises QuestionError and LedgerError."""
    asked, _ = _split(arguments, ())
    question, failed, dearest = list_requests(questions, asked)
    address = _address("./requests", question, asked)
    return page(
        "requests.html",
        **_common(question, address),
        lists=(("failed", say("Last failed"), failed), ("dearest", say("Most expensive"), dearest)),
        most=MOST_REQUESTS,
        second=partial(formats.second, zone=questions.zone),
        duration=formats.duration,
        usage=Address("./usage", address.parameters).but(),
    )


def list_requests(
    questions: Questions, parameters: Mapping[str, str]
) -> tuple[Question, Sequence[Listed], Sequence[Listed]]:
    """The question, its last failed requests (the latest first) and its most expensive ones (the dearest first).

    Raises QuestionError and LedgerError.
    """
    with questions.ledger.reading() as connection:
        question = questions.read(connection, parameters, default_range=_DEFAULT_RANGE)
        range_ = question.range
        found = read_requests(connection, question.groups, range_.since_ms, range_.until_ms, most=MOST_REQUESTS)
    series = questions.ledger.name_store.series
    failed, dearest = (
        [(questions.shown_names.series(series[each.series].shown), each) for each in requests] for requests in found
    )
    return question, failed, dearest


def usage_for_programs(questions: Questions, arguments: Mapping[str, str]) -> Response:
    """The answer about usage as JSON or CSV. Raises QuestionError and LedgerError."""
    asked, own = _split(arguments, ("format",))
    form = own.get("format") or "json"
    if form not in ("json", "csv"):
        raise QuestionError(f"{form[:40]!r} is not a format: use json or csv.")
    report = answer(questions, asked)
    if form == "json":
        return jsonify(as_json(report))
    file = Response(as_csv(report), content_type="text/csv; charset=utf-8")
    file.headers["X-Content-Type-Options"] = "nosniff"
    file.headers["Content-Disposition"] = f'attachment; filename="usage-by-{report.question.by}.csv"'
    return file


def _common(question: Question, address: Address) -> dict[str, Any]:
    """What both pages show: time, ranges and filters."""
    zone, range_ = question.zone, question.range
    known = months(question.oldest_ms, now_ms=question.now_ms, zone=zone)

    def to(name: str) -> str:
        return address.but(range=name, since=None, until=None)

    return {
        "now": formats.moment(question.now_ms, zone),
        "zone": str(zone),
        "ranges": [
            *((_RANGES[name], to(name), name == range_.name) for name in PRESETS),
            *((month_name(name), to(name), name == range_.name) for name in known[:_EASY_MONTHS]),
        ],
        "older": [(name, month_name(name), name == range_.name) for name in known[_EASY_MONTHS:]],
        "path": address.path,
        "span": span_name(range_, zone),
        "since": written(range_.since_ms, zone)[:10],
        "until": written(range_.until_ms, zone)[:10],
        "along": address.without(RANGE_PARAMETERS),
        "filters": [(NOUNS[name], value, address.but(**{name: None})) for name, value in question.filters.items()],
    }


def _split(arguments: Mapping[str, str], own: Collection[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The parameters of the question and those of the page. Empty ones, which forms send, count as absent."""
    given = {name: value for name, value in arguments.items() if value}
    of_page = {name: given.pop(name) for name in tuple(given) if name in own}
    return given, of_page


def _address(path: str, question: Question, given: Mapping[str, str]) -> Address:
    """The page with its own parameters, and with its range even if that is the default."""
    named = {"range": question.range.name} if question.range.name else {}
    return Address(path, {**named, **given})


# --- the table -----------------------------------------------------------------------------------------------------

_NUMBERS: Mapping[str, Callable[[Usage], float]] = {
    **{name: measure.value for name, measure in MEASURES.items()},
    "cache": lambda usage: usage.total.cache_share or 0.0,
    "failed": lambda usage: usage.total.failed_share or 0.0,
}
"""What a table can be sorted by besides its first column, ``name``."""
_OPPOSITE = {"ascending": "descending", "descending": "ascending"}


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table; ``href`` leads to a further question about it."""

    name: str
    href: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class Table:
    """``columns`` has the address that sorts by each. The table is sorted ``by`` one; ``left`` rows are not shown."""

    columns: Mapping[str, str]
    by: str
    order: str
    lines: Sequence[Line]
    left: int


def tabulate(report: Report, address: Address, *, sort: str, order: str, longest: int) -> Table:
    """The table of a report. By default names come dearest first, and times in their order.

    Raises QuestionError.
    """
    if sort not in ("", "name", *_NUMBERS):
        raise QuestionError(
            "{given!r} is not a column: sort by one of name, {known}.", given=sort[:40], known=", ".join(_NUMBERS)
        )
    if order not in ("", *_OPPOSITE):
        raise QuestionError(
            "{given!r} is not an order: use {one} or {other}.", given=order[:40], one="ascending", other="descending"
        )
    by = sort or ("name" if report.is_by_time else report.billings[0].word)
    order = order or ("ascending" if by == "name" else "descending")
    rows = list(report.rows)
    if by != "name":
        rows.sort(key=lambda row: _NUMBERS[by](row.usage), reverse=order == "descending")
    else:
        rows.sort(key=lambda row: (row.range.since_ms, row.name), reverse=order == "descending")
    columns = {name: address.but(sort=name, order=None) for name in ("name", *_NUMBERS)}
    columns[by] = address.but(sort=by, order=_OPPOSITE[order])
    lines = [_line(row, report, address) for row in rows[:longest]]
    return Table(columns, by, order, lines, left=len(rows) - len(lines))


def _line(row: Row, report: Report, address: Address) -> Line:
    by, zone = report.question.by, report.question.zone
    if report.is_by_time:
        since, until = written(row.range.since_ms, zone), written(row.range.until_ms, zone)
        href = address.but(range=None, since=since, until=until, by=NAMES[0], sort=None, order=None)
        return Line(step_name(row.range, by, zone), href, row.usage)
    further = next((name for name in NAMES if name != by and name not in report.question.filters), by)
    return Line(row.name, address.but(**{by: row.name, "by": further, "sort": None, "order": None}), row.usage)


# --- times as these pages write them -------------------------------------------------------------------------------


def month_name(month: str) -> Sentence:
    """``2026-11`` as people write it."""
    return say("{day:%B %Y}", day=datetime.fromisoformat(f"{month}-01"))


def step_name(range_: Range, unit: str, zone: tzinfo) -> Sentence:
    """The name of a step in a chart or table: its day, its month, or the hour when it begins."""
    at = local_time(range_.since_ms, zone)
    if unit == MONTH:
        return say("{day:%B %Y}", day=at)
    if unit == HOUR:
        return say("{at:%a} {at.day} {at:%b}, {at:%H:%M}", at=at)
    day = say("{day:%a} {day.day} {day:%b %Y}", day=at)
    return say("Week from {day}", day=day) if unit == WEEK else day


def span_name(range_: Range, zone: tzinfo) -> Sentence:
    since, until = (formats.moment(ms, zone) for ms in (range_.since_ms, range_.until_ms))
    return say("{since} to {until}", since=since, until=until)


def written(ms: int, zone: tzinfo) -> str:
    """A moment as an address has it: only the day if it is the day's first moment, else a time with its offset."""
    at = local_time(ms, zone)
    return f"{at:%Y-%m-%d}" if ms == day_start_ms(at.date(), zone) else at.isoformat(timespec="minutes")
