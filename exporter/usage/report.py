"""The answer to a question about usage: what was used in a range, by names or by time, and how that compares.

Page, command and API all show this one answer, so their figures cannot differ. Label sets that are folded count under
``other``, as in ``/metrics``. Kinds of billing stay apart: money spent and the value of what a subscription covers have
no sum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta, tzinfo

from exporter.clock import Clock
from exporter.days import day_start_ms, local_date
from exporter.ledger.labels import Labels
from exporter.ledger.ledger import Ledger
from exporter.ledger.schema import BUCKET_MS
from exporter.ledger.views.usage import Amounts, Sums, oldest_bucket, read_usage
from exporter.records import Billing
from exporter.usage.ranges import (
    STEPS,
    QuestionError,
    Range,
    fitting_unit,
    free_range,
    months,
    named_range,
    range_before,
    steps,
)

NAMES = ("model", "client", "credential", "provider", "proxy")
"""The labels that usage is summed and filtered by."""
BY = (*NAMES, *STEPS)
PARAMETERS = ("range", "since", "until", "by", *NAMES)

_DEFAULT_RANGE = "30d"
_PACE_DAYS = 7
_LEAST_PACE_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Usage:
    """Sums by kind of billing."""

    by_billing: Mapping[int, Amounts]

    @property
    def requests(self) -> int:
        return self._sum("requests")

    @property
    def failed(self) -> int:
        return self._sum("failed")

    @property
    def input(self) -> int:
        """Input tokens, with cache."""
        return self._sum("input")

    @property
    def cache_read(self) -> int:
        return self._sum("cache_read")

    @property
    def cache_write(self) -> int:
        return self._sum("cache_write")

    @property
    def output(self) -> int:
        """Output tokens, with reasoning."""
        return self._sum("output")

    @property
    def unclassified(self) -> int:
        return self._sum("unclassified")

    @property
    def tokens(self) -> int:
        return self.input + self.output + self.unclassified

    @property
    def failed_share(self) -> float | None:
        """Between 0 and 1, None without requests."""
        return self.failed / self.requests if self.requests else None

    @property
    def cache_share(self) -> float | None:
        """The share of input tokens that came from a cache, None without input."""
        return self.cache_read / self.input if self.input else None

    def cost(self, billing: int) -> int:
        """In nano-USD."""
        return self.by_billing.get(billing, Amounts()).nano_usd

    def cost_per_request(self, billing: int) -> int | None:
        """In nano-USD, over the requests of this kind; None without any."""
        amounts = self.by_billing.get(billing, Amounts())
        return round(amounts.nano_usd / amounts.requests) if amounts.requests else None

    def _sum(self, column: str) -> int:
        return sum(getattr(amounts, column) for amounts in self.by_billing.values())


@dataclass(frozen=True, slots=True)
class Row:
    """A line of an answer: about a name, or about the step ``range``."""

    name: str
    usage: Usage
    range: Range | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A bar of the chart, with its parts by name."""

    range: Range
    usage: Usage
    parts: Mapping[str, Usage]


@dataclass(frozen=True, slots=True)
class MonthEnd:
    """The running month: what it has used, and what it costs at its end at the pace of the last seven days."""

    range: Range
    so_far: Usage
    expected: Mapping[int, int]
    """nano-USD by billing; empty while there is less than a day to tell the pace from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The answer. ``before`` and ``usage_before`` are None if the ledger does not go back as far."""

    range: Range
    by: str
    filters: Mapping[str, str]
    usage: Usage
    before: Range | None
    usage_before: Usage | None
    rows: Sequence[Row]
    unit: str
    steps: Sequence[Step]
    month_end: MonthEnd
    months: Sequence[str]
    zone: tzinfo

    @property
    def billings(self) -> tuple[Billing, ...]:
        """The kinds of billing that there is something to say about; money comes first."""
        order = (Billing.METERED, Billing.SUBSCRIPTION, Billing.UNKNOWN)
        used = [billing for billing in order if self.usage.cost(billing)]
        return tuple(used or [billing for billing in order if billing in self.usage.by_billing] or order[:1])


class Reports:
    """Answers questions. Safe to use from several threads."""

    def __init__(self, *, ledger: Ledger, labels: Labels, clock: Clock, zone: tzinfo) -> None:
        self.zone = zone
        self._ledger = ledger
        self._labels = labels
        self._clock = clock

    def answer(self, parameters: Mapping[str, str]) -> Report:
        """The answer to a question: see ``PARAMETERS``. Raises QuestionError and LedgerError."""
        unknown = sorted(set(parameters) - set(PARAMETERS))
        if unknown:
            raise QuestionError(f"There is no parameter {unknown[0][:40]!r}: there are {', '.join(PARAMETERS)}.")
        by = parameters.get("by") or NAMES[0]
        if by not in BY:
            raise QuestionError(f"{by[:40]!r} is nothing to sum by: use one of {', '.join(BY)}.")
        now_ms = int(self._clock.now() * 1000)
        filters = {name: parameters[name] for name in NAMES if parameters.get(name)}
        with self._ledger.reading() as connection:
            oldest = oldest_bucket(connection)
            oldest_ms = now_ms if oldest is None else min(now_ms, oldest * BUCKET_MS)
            range_ = self._range(parameters, oldest_ms=oldest_ms, now_ms=now_ms)
            unit = by if by in STEPS else fitting_unit(range_)
            parts = steps(range_, unit, zone=self.zone)
            before = range_before(range_, now_ms=now_ms, zone=self.zone)
            month, pace = self._month(oldest_ms=oldest_ms, now_ms=now_ms)
            names, groups = self._groups(by, filters)
            wanted = [range_, before, month, pace, *parts]
            whole, earlier, of_month, of_pace, *of_parts = read_usage(
                connection, [each.span for each in wanted], groups
            )
        known = before.since_ms >= oldest_ms
        drawn = [
            Step(part, _total(sums), {names[group]: usage for group, usage in _by_group(sums).items()})
            for part, sums in zip(parts, of_parts, strict=True)
        ]
        if by in STEPS:
            rows = [Row("", step.usage, step.range) for step in drawn]
        else:
            rows = sorted((Row(names[group], usage) for group, usage in _by_group(whole).items()), key=_rank)
        so_far = _total(of_month)
        return Report(
            range=range_,
            by=by,
            filters=filters,
            usage=_total(whole),
            before=before if known else None,
            usage_before=_total(earlier) if known else None,
            rows=rows,
            unit=unit,
            steps=drawn,
            month_end=MonthEnd(month, so_far, _expected(month, pace, so_far, _total(of_pace))),
            months=list(months(oldest_ms, now_ms=now_ms, zone=self.zone)),
            zone=self.zone,
        )

    def _range(self, parameters: Mapping[str, str], *, oldest_ms: int, now_ms: int) -> Range:
        name, since, until = (parameters.get(each, "") for each in ("range", "since", "until"))
        if name and (since or until):
            raise QuestionError("Give a range, or since and until, but not both.")
        if since or until:
            return free_range(since, until, oldest_ms=oldest_ms, now_ms=now_ms, zone=self.zone)
        return named_range(name or _DEFAULT_RANGE, now_ms=now_ms, zone=self.zone)

    def _month(self, *, oldest_ms: int, now_ms: int) -> tuple[Range, Range]:
        """The running month, and the time from which its pace is taken."""
        today = local_date(now_ms, self.zone)
        month = named_range(f"{today:%Y-%m}", now_ms=now_ms, zone=self.zone)
        week_ago = day_start_ms(today - timedelta(days=_PACE_DAYS), self.zone)
        since_ms = max(week_ago, oldest_ms) // BUCKET_MS * BUCKET_MS
        return month, Range(since_ms, now_ms // BUCKET_MS * BUCKET_MS + BUCKET_MS)

    def _groups(self, by: str, filters: Mapping[str, str]) -> tuple[list[str], dict[int, int]]:
        """The names, and for each series that passes the filters the place of its name."""
        names: dict[str, int] = {}
        groups: dict[int, int] = {}
        for id_, series in list(self._ledger.dictionary.series.items()):
            labels = self._labels.series(series.shown)
            if all(getattr(labels, name) == value for name, value in filters.items()):
                groups[id_] = names.setdefault(getattr(labels, by) if by in NAMES else "", len(names))
        return list(names), groups


def _expected(month: Range, pace: Range, so_far: Usage, lately: Usage) -> dict[int, int]:
    if pace.until_ms - pace.since_ms < _LEAST_PACE_MS:
        return {}
    left_ms = max(0, month.until_ms - pace.until_ms)
    return {
        billing: so_far.cost(billing) + lately.cost(billing) * left_ms // (pace.until_ms - pace.since_ms)
        for billing in so_far.by_billing.keys() | lately.by_billing.keys()
    }


def _by_group(sums: Sums) -> dict[int, Usage]:
    found: dict[int, dict[int, Amounts]] = {}
    for (group, billing), amounts in sums.items():
        found.setdefault(group, {})[billing] = amounts
    return {group: Usage(by_billing) for group, by_billing in found.items()}


def _total(sums: Sums) -> Usage:
    total: dict[int, Amounts] = {}
    for (_, billing), amounts in sums.items():
        total[billing] = total.get(billing, Amounts()).plus(amounts)
    return Usage(total)


def _rank(row: Row) -> tuple[int | str, ...]:
    """The dearest first: money decides before the value of subscriptions, which is no money."""
    costs = [-row.usage.cost(billing) for billing in (Billing.METERED, Billing.SUBSCRIPTION, Billing.UNKNOWN)]
    return (*costs, -row.usage.requests, row.name)
