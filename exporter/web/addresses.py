"""Addresses of pages that carry a question, links that change a part of it, and times as these pages write them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from urllib.parse import urlencode

from exporter import formats
from exporter.sentences import Sentence, say
from exporter.usage.ranges import HOUR, MONTH, WEEK, Range


@dataclass(frozen=True, slots=True)
class Link:
    """A link; ``is_here`` marks the current choice."""

    text: str
    href: str
    is_here: bool = False


@dataclass(frozen=True, slots=True)
class Address:
    """A page and the parameters that it was requested with."""

    path: str
    parameters: Mapping[str, str]

    def but(self, **changes: str | None) -> str:
        """The same page with other parameters; None removes one."""
        parameters = {name: value for name, value in {**self.parameters, **changes}.items() if value}
        return f"{self.path}?{urlencode(parameters)}" if parameters else self.path

    def without(self, names: Sequence[str]) -> dict[str, str]:
        """The other parameters, which a form for these ``names`` sends along."""
        return {name: value for name, value in self.parameters.items() if name not in names}


def local(ms: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(ms // 1000, UTC).astimezone(zone)


def month_name(month: str) -> Sentence:
    """``2026-11`` as people write it."""
    return say("{day:%B %Y}", day=datetime.fromisoformat(f"{month}-01"))


def step_name(range_: Range, unit: str, zone: tzinfo) -> Sentence:
    """The name of a step in a chart or table: its day, its month, or the hour when it begins."""
    at = local(range_.since_ms, zone)
    if unit == MONTH:
        return say("{day:%B %Y}", day=at)
    if unit == HOUR:
        return say("{at:%a} {at.day} {at:%b}, {at:%H:%M}", at=at)
    day = say("{day:%a} {day.day} {day:%b %Y}", day=at)
    return say("Week from {day}", day=day) if unit == WEEK else day


def span_name(range_: Range, zone: tzinfo) -> Sentence:
    """The beginning and end of a range."""
    since, until = (formats.moment(ms, zone) for ms in (range_.since_ms, range_.until_ms))
    return say("{since} to {until}", since=since, until=until)


def written(ms: int, zone: tzinfo) -> str:
    """A moment as an address has it: a day if it is midnight, else with its offset."""
    at = local(ms, zone)
    return f"{at:%Y-%m-%d}" if (at.hour, at.minute) == (0, 0) else at.isoformat(timespec="minutes")
