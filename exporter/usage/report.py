"""The answer to a question about usage: what was used in a range, by name or by time, and how that compares.

Page, command and API all show this one answer, so their figures cannot differ. Folded label sets count under ``other``,
as in ``/metrics``. Kinds of billing stay apart: money spent and the value of a subscription's use have no sum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from exporter.days import day_start_ms, local_date
from exporter.ledger.entry_columns import Amounts
from exporter.ledger.schema import BUCKET_MS
from exporter.ledger.views.usage import UsageSums
from exporter.records import MONEY_FIRST, Billing
from exporter.usage.question import Question, Questions
from exporter.usage.ranges import STEPS, Range, fitting_unit, named_range, range_before, steps

DEFAULT_RANGE = "30d"

_PACE_DAYS = 7
_LEAST_PACE_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Usage:
    """Sums by kind of billing."""

    by_billing: Mapping[int, Amounts]

    @property
    def total(self) -> Amounts:
        """The sums over all kinds. Of money there is none: its ``nano_usd`` has no meaning."""
        return Amounts.total([*self.by_billing.values()])

    def cost(self, billing: int) -> int:
        """In nano-USD."""
        return self.by_billing.get(billing, Amounts()).nano_usd

    def cost_per_request(self, billing: int) -> int | None:
        """In nano-USD, over the requests of this kind; None if there are none."""
        amounts = self.by_billing.get(billing, Amounts())
        return round(amounts.nano_usd / amounts.requests) if amounts.requests else None


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
        return [Usage(found.get(place, {})) for place in places]

    @property
    def is_by_time(self) -> bool:
        return self.question.by in STEPS

    @property
    def billings(self) -> tuple[Billing, ...]:
        """The kinds of billing worth showing; money comes first."""
        used = [billing for billing in MONEY_FIRST if self.usage.cost(billing)]
        return tuple(
            used or [billing for billing in MONEY_FIRST if billing in self.usage.by_billing] or MONEY_FIRST[:1]
        )


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

    def total(range_: Range) -> Usage:
        return Usage(sums.total(range_.span))

    drawn = [Row(part, total(part)) for part in parts]
    named = [Row(whole, Usage(each), question.names[place]) for place, each in sums.by_group(whole.span).items()]
    return Report(
        question=question,
        usage=total(whole),
        before=Row(before, total(before)) if before.since_ms >= question.oldest_ms else None,
        rows=drawn if question.by in STEPS else sorted(named, key=_rank),
        unit=unit,
        steps=drawn,
        month=Row(month, total(month)),
        expected=_expected(month, pace, total(month), total(pace)),
        sums=sums,
    )


def _month(question: Question) -> tuple[Range, Range]:
    """The current month, and the time that gives its pace."""
    today = local_date(question.now_ms, question.zone)
    month = named_range(f"{today:%Y-%m}", now_ms=question.now_ms, zone=question.zone)
    week_ago = day_start_ms(today - timedelta(days=_PACE_DAYS), question.zone)
    since_ms = max(week_ago, question.oldest_ms) // BUCKET_MS * BUCKET_MS
    return month, Range(since_ms, question.now_ms // BUCKET_MS * BUCKET_MS + BUCKET_MS)


def _expected(month: Range, pace: Range, so_far: Usage, lately: Usage) -> dict[int, int]:
    if pace.until_ms - pace.since_ms < _LEAST_PACE_MS:
        return {}
    left_ms = max(0, month.until_ms - pace.until_ms)
    return {
        billing: so_far.cost(billing) + lately.cost(billing) * left_ms // (pace.until_ms - pace.since_ms)
        for billing in so_far.by_billing.keys() | lately.by_billing.keys()
    }


def _rank(row: Row) -> tuple[int | str, ...]:
    """Dearest first: money decides before the value of subscriptions, which is no money."""
    return (*(-row.usage.cost(billing) for billing in MONEY_FIRST), -row.usage.total.requests, row.name)
