"""The chart of the usage page, drawn on the server."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import methodcaller
from zlib import crc32

from exporter import formats
from exporter.ledger.views.usage import Usage
from exporter.records import MONEY_FIRST, Billing
from exporter.sentences import Sentence, say
from exporter.usage.report import Report
from exporter.web.rendering import SPENT

_MOST_PARTS = 5
"""Names with parts of their own in a bar; the use of all others is its last part."""
_WIDTH, _HEIGHT = 960.0, 160.0
_COLOURS = 12
"""Colours of ``page.css``, by number."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What bars can show; ``billing`` is None unless it is money."""

    title: Sentence
    value: Callable[[Usage], int]
    write: Callable[[int], str]
    billing: Billing | None = None


MEASURES = {
    **{each.word: Measure(SPENT[each], methodcaller("cost", each), formats.usd, each) for each in MONEY_FIRST},
    "requests": Measure(say("Requests"), lambda usage: usage.total.requests, formats.count),
    "tokens": Measure(say("Tokens"), lambda usage: usage.total.tokens, formats.short),
}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar: a rectangle. ``page.css`` has the colour by its name."""

    colour: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """``title`` is what it shows, in words."""

    x: float
    width: float
    parts: Sequence[Part]
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """``legend`` has the colour of each name, and under None that of all others. It is empty if bars have one part."""

    bars: Sequence[Bar]
    legend: Mapping[str | None, str]
    total: str
    most: str
    ends: Sequence[str]


def draw(report: Report, measure: Measure, step_names: Sequence[str]) -> Chart:
    """The bars of a report, with a name for each step."""
    used = [] if report.is_by_time else [row for row in report.rows if measure.value(row.usage)]
    names = [row.name for row in sorted(used, key=lambda row: -measure.value(row.usage))[:_MOST_PARTS]]
    fixed = _spread((name, crc32(name.encode()) % _COLOURS) for name in report.question.names)
    chosen = _spread((name, fixed[name]) for name in report.question.names if name in names)
    colours = [*(str(chosen[name]) for name in names), "rest"] if names else ["0"]
    totals = [measure.value(step.usage) for step in report.steps]
    most = max(totals, default=0)
    width = _WIDTH / max(1, len(totals))
    bars = []
    for place, (step, total, step_name) in enumerate(zip(report.steps, totals, step_names, strict=True)):
        shares = [measure.value(each) for each in report.parts(step, names)]
        lines = [f"{step_name}: {measure.write(total)}"]
        lines += [f"{formats.cut(n)}: {measure.write(v)}" for n, v in zip(names, shares, strict=True) if v]
        parts, y = [], _HEIGHT
        for colour, value in zip(colours, [*shares, total - sum(shares)], strict=True):
            if value > 0:
                height = value / most * _HEIGHT
                y -= height
                parts.append(Part(colour, round(y, 2), round(max(height, 0.5), 2)))  # even a little is visible
        bars.append(Bar(round(place * width, 2), round(width * 0.85, 2), parts, "\n".join(lines)))
    return Chart(
        bars=bars,
        legend=dict(zip([*names, None] if len(used) > len(names) else names, colours, strict=False)),
        total=measure.write(sum(totals)),
        most=measure.write(most),
        ends=[step_names[at] for at in (0, len(step_names) // 2, -1)] if len(step_names) > 2 else step_names,
    )


def _spread(wanted: Iterable[tuple[str, int]]) -> dict[str, int]:
    """A colour for each name: the wanted one, or the next free one. All are used once before any is used twice.

    The first name chooses first. So names that come in the order in which the ledger met them keep their colours when
    more appear.
    """
    free: list[int] = []
    found = {}
    for name, first in wanted:
        free = free or list(range(_COLOURS))
        found[name] = next((colour for colour in free if colour >= first), free[0])
        free.remove(found[name])
    return found
