"""The answer to a question about usage: what was used in a range, by name or by time, and how that compares.

Page, command and API all show this one answer, so their figures cannot differ. Folded label sets count under ``other``,
as in ``/metrics``. Kinds of billing stay apart: money spent and the value of a subscription's use have no sum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from exporter.days import DAY_MS, day_start_ms, local_date
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
        """The use of each of these names in a step."""
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
