"""Addresses of pages that carry a question, the links that change a part of it, and times as these pages write them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from urllib.parse import urlencode

from exporter import formats
from exporter.usage.ranges import HOUR, MONTH, WEEK, Range


@dataclass(frozen=True, slots=True)
class Link:
    """Where to go on: ``is_here`` marks what is shown."""

    text: str
    href: str
    is_here: bool = False


@dataclass(frozen=True, slots=True)
class Address:
    """A page and the parameters that it was asked for by."""

    path: str
    parameters: Mapping[str, str]

    def but(self, **changes: str | None) -> str:
        """The same page with other parameters; None takes one away."""
        parameters = {name: value for name, value in {**self.parameters, **changes}.items() if value}
        return f"{self.path}?{urlencode(parameters)}" if parameters else self.path

    def without(self, names: Sequence[str]) -> dict[str, str]:
        """The other parameters, which a form for these sends along."""
        return {name: value for name, value in self.parameters.items() if name not in names}


def local(ms: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(ms // 1000, UTC).astimezone(zone)


def month_name(month: str) -> str:
    """``2026-11`` as a person writes it."""
    return f"{datetime.fromisoformat(f'{month}-01'):%B %Y}"


def step_name(range_: Range, unit: str, zone: tzinfo) -> str:
    """What a step of a chart or table is called: the day, the month, the hour at which it begins."""
    at = local(range_.since_ms, zone)
    if unit == MONTH:
        return f"{at:%B %Y}"
    if unit == HOUR:
        return f"{at:%a} {at.day} {at:%b}, {at:%H:%M}"
    day = f"{at:%a} {at.day} {at:%b %Y}"
    return f"Week from {day}" if unit == WEEK else day


def span_name(range_: Range, zone: tzinfo) -> str:
    """From when to when a range goes."""
    return f"{formats.moment(range_.since_ms, zone)} to {formats.moment(range_.until_ms, zone)}"


def written(ms: int, zone: tzinfo) -> str:
    """A moment as an address has it: a day if it is one's beginning, else with its offset."""
    at = local(ms, zone)
    return f"{at:%Y-%m-%d}" if (at.hour, at.minute) == (0, 0) else at.isoformat(timespec="minutes")
