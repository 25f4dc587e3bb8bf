"""The table of the usage page: its rows in the requested order, and the links in them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from exporter.usage.question import NAMES
from exporter.usage.ranges import QuestionError
from exporter.usage.report import VALUES, Report, Row, Usage
from exporter.web.addresses import Address, step_name, written

_NUMBERS: Mapping[str, Callable[[Usage], float]] = {
    **VALUES,
    "cache": lambda usage: usage.total.cache_share or 0.0,
    "failed": lambda usage: usage.total.failed_share or 0.0,
}
"""What a table can be sorted by besides its first column, ``name``."""
_ASCENDING, _DESCENDING = "ascending", "descending"


@dataclass(frozen=True, slots=True)
class Column:
    """A column head. ``order`` is how the table is sorted by it, empty if it is not; ``href`` sorts by it."""

    name: str
    href: str
    order: str


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table; ``href`` asks further about it."""

    name: str
    href: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class Table:
    """``left`` is the number of rows not shown."""

    columns: Mapping[str, Column]
    lines: Sequence[Line]
    left: int


def tabulate(report: Report, address: Address, *, sort: str, order: str, longest: int) -> Table:
    """The table of a report. By default names come dearest first, and times in their order.

    Raises QuestionError.
    """
    if sort not in ("", "name", *_NUMBERS):
        raise QuestionError(
            "{given!r} is no column: sort by one of name, {known}.", given=sort[:40], known=", ".join(_NUMBERS)
        )
    if order not in ("", _ASCENDING, _DESCENDING):
        raise QuestionError(
            "{given!r} is no order: use {one} or {other}.", given=order[:40], one=_ASCENDING, other=_DESCENDING
        )
    is_by_name = report.question.by in NAMES
    sorted_by = sort or (report.billings[0].label if is_by_name else "name")
    order = order or (_ASCENDING if sorted_by == "name" else _DESCENDING)
    rows = list(report.rows)
    if sorted_by != "name":
        rows.sort(key=lambda row: _NUMBERS[sorted_by](row.usage), reverse=order == _DESCENDING)
    elif is_by_name:
        rows.sort(key=lambda row: row.name, reverse=order == _DESCENDING)
    elif order == _DESCENDING:
        rows.reverse()
    columns = {}
    for name in ("name", *_NUMBERS):
        turned = {_ASCENDING: _DESCENDING, _DESCENDING: _ASCENDING}[order] if name == sorted_by else None
        columns[name] = Column(name, address.but(sort=name, order=turned), order if name == sorted_by else "")
    return Table(columns, [_line(row, report, address) for row in rows[:longest]], max(0, len(rows) - longest))


def _line(row: Row, report: Report, address: Address) -> Line:
    by = report.question.by
    if row.range is None:
        further = [name for name in NAMES if name != by and name not in report.question.filters]
        href = address.but(**{by: row.name, "by": further[0] if further else by, "sort": None, "order": None})
        return Line(row.name, href, row.usage)
    since, until = (written(ms, report.zone) for ms in (row.range.since_ms, row.range.until_ms))
    href = address.but(range=None, since=since, until=until, by=NAMES[0], sort=None, order=None)
    return Line(step_name(row.range, by, report.zone), href, row.usage)
