"""The answer to a question about usage: figures by name or by time, compared with before.

Page, command and API all show this one answer, so their figures cannot differ. Folded label sets count under ``other``,
as in ``/metrics``. Kinds of billing stay apart: money spent and the value of a subscription's use are never added up.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from exporter import formats
from exporter.days import DAY_MS, day_start_ms, local_date, local_time
from exporter.ledger.schema import BUCKET_MS
from exporter.ledger.views.usage import Usage, UsageSums
from exporter.records import MONEY_FIRST, Billing
from exporter.usage.question import Question, Questions
from exporter.usage.ranges import STEPS, Range, fitting_unit, named_range, range_before, steps

DEFAULT_RANGE = "30d"

_PACE_DAYS = 7


@dataclass(frozen=True, slots=True)
class Row:
    """The use in a range, all of it or that of one name."""

    range: Range
    usage: Usage
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The answer. ``before`` is None if the ledger does not go back that far.

    ``rows`` are the lines of its table, ``steps`` the bars of its chart, each as long as ``unit`` says. ``month`` is
    the current month so far, ``expected`` its cost by the end at the pace of the last seven days: nano-USD by billing,
    empty until there is a day of use to take the pace from.
    """

    question: Question
    usage: Usage
    before: Row | None
    rows: Sequence[Row]
    unit: str
    steps: Sequence[Row]
    month: Row
    expected: Mapping[int, int]
    sums: UsageSums

    def parts(self, step: Row, names: Sequence[str]) -> list[Usage]:
        places = [self.question.names.index(name) for name in names]
        found = self.sums.by_group(step.range.span, places)
        return [found.get(place, Usage()) for place in places]

    @property
    def is_by_time(self) -> bool:
        return self.question.by in STEPS

    @property
    def billings(self) -> tuple[Billing, ...]:
        """The kinds of billing worth showing; money if there are none."""
        return self.usage.billings or MONEY_FIRST[:1]


def answer(questions: Questions, parameters: Mapping[str, str]) -> Report:
    """The answer to a question: see ``PARAMETERS``. Raises QuestionError and LedgerError."""
    with questions.ledger.reading() as connection:
        question = questions.read(connection, parameters, default_range=DEFAULT_RANGE)
        whole, zone = question.range, question.zone
        unit = question.by if question.by in STEPS else fitting_unit(whole)
        parts = steps(whole, unit, zone=zone)
        before = range_before(whole, now_ms=question.now_ms, zone=zone)
        month, pace = _month(question)
        spans = [each.span for each in (before, month, pace, *parts)]
        sums = UsageSums(connection, question.groups, [whole.span], totals=spans)

    def row(range_: Range) -> Row:
        return Row(range_, sums.total(range_.span))

    drawn = [row(part) for part in parts]
    named = [Row(whole, usage, question.names[place]) for place, usage in sums.by_group(whole.span).items()]
    return Report(
        question=question,
        usage=sums.total(whole.span),
        before=row(before) if before.since_ms >= question.oldest_ms else None,
        rows=drawn if question.by in STEPS else sorted(named, key=lambda each: (each.usage.rank, each.name)),
        unit=unit,
        steps=drawn,
        month=row(month),
        expected=_expected(row(month), row(pace)),
        sums=sums,
    )


def _month(question: Question) -> tuple[Range, Range]:
    """The current month, and the time that gives its pace."""
    today = local_date(question.now_ms, question.zone)
    month = named_range(f"{today:%Y-%m}", now_ms=question.now_ms, zone=question.zone)
    week_ago = day_start_ms(today - timedelta(days=_PACE_DAYS), question.zone)
    since_ms = max(week_ago, question.oldest_ms) // BUCKET_MS * BUCKET_MS
    return month, Range(since_ms, question.now_ms // BUCKET_MS * BUCKET_MS + BUCKET_MS)


def _expected(month: Row, pace: Row) -> dict[int, int]:
    length_ms = pace.range.until_ms - pace.range.since_ms
    if length_ms < DAY_MS:
        return {}
    left_ms = max(0, month.range.until_ms - pace.range.until_ms)
    return {billing: month.usage.cost(billing) + pace.usage.cost(billing) * left_ms // length_ms for billing in Billing}


# --- the answer for programs ------------------------------------------------------------------------------------------


def as_csv(report: Report) -> str:
    """A line for each row, with a header. A name that a spreadsheet would execute is made harmless."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*(("since", "until") if report.is_by_time else (report.question.by,)), *COLUMNS])
    for row in report.rows:
        writer.writerow([*map(formats.harmless, _key(report, row).values()), *_values(row.usage).values()])
    return out.getvalue()


def as_json(report: Report) -> dict[str, Any]:
    """The whole answer. Times are in the zone, with its offset."""
    question = report.question

    def in_range(row: Row) -> dict[str, Any]:
        return {**_times(report, row.range), **_values(row.usage)}

    expected = {f"{Billing(billing).word}_usd": formats.plain_usd(cost) for billing, cost in report.expected.items()}
    return {
        **_times(report, question.range),
        "zone": str(question.zone),
        "by": question.by,
        "filters": dict(question.filters),
        "total": _values(report.usage),
        "before": report.before and in_range(report.before),
        "month": {**in_range(report.month), "expected": expected},
        "rows": [{**_key(report, row), **_values(row.usage)} for row in report.rows],
    }


def _key(report: Report, row: Row) -> dict[str, str]:
    return _times(report, row.range) if report.is_by_time else {report.question.by: row.name}


def _times(report: Report, range_: Range) -> dict[str, str]:
    since, until = (local_time(ms, report.question.zone) for ms in (range_.since_ms, range_.until_ms))
    return {"since": since.isoformat(), "until": until.isoformat()}


def _values(usage: Usage) -> dict[str, int | float | str | None]:
    """The value of each column. Money is text to the last digit; a share of nothing is empty."""
    total = usage.total
    each = {billing: usage[billing].cost_per_request for billing in Billing}
    return {
        "requests": total.requests,
        "failed_requests": total.failed,
        "failed_share": _share(total.failed_share),
        "input_tokens": total.input,
        "cache_read_tokens": total.cache_read,
        "cache_write_tokens": total.cache_write,
        "output_tokens": total.output,
        "unclassified_tokens": total.unclassified,
        "cache_hit_share": _share(total.cache_share),
        **{f"{billing.word}_usd": formats.plain_usd(usage.cost(billing)) for billing in Billing},
        **{
            f"{billing.word}_usd_per_request": None if nano_usd is None else formats.plain_usd(nano_usd)
            for billing, nano_usd in each.items()
        },
    }


def _share(share: float | None) -> float | None:
    return None if share is None else round(share, 6)


COLUMNS = tuple(_values(Usage()))
