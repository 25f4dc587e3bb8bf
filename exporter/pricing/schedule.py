"""The hours of the week when a row of a price file holds: weekdays, hours and holidays in a time zone."""

import re
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from zoneinfo import ZoneInfo

from pydantic import ValidationInfo

from exporter.settings import validators
from exporter.settings.problems import shown, wrong
from exporter.settings.yaml_rows import text

MINUTE_MS = 60_000

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]|24(?=:00)):([0-5][0-9])", re.ASCII)
_DATE = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When a row holds: on ``days`` (0 is Monday) except ``holidays``, during ``hours``.

    ``hours`` are pairs of minutes of the day: from the first until before the second. All times are in ``zone``.
    Nothing changes within a minute.
    """

    zone: tzinfo
    days: frozenset[int]
    hours: tuple[tuple[int, int], ...]
    holidays: frozenset[date]

    def holds_at(self, at_ms: int) -> bool:
        """Whether the row holds at a moment (ms since the epoch)."""
        local = datetime.fromtimestamp(at_ms // 1000, self.zone)
        minute = local.hour * 60 + local.minute
        return (
            local.weekday() in self.days
            and local.date() not in self.holidays
            and any(start <= minute < end for start, end in self.hours)
        )

    def overlaps(self, other: "Schedule") -> bool:
        """Whether both may hold at the same moment, as schedules in different zones are assumed to."""
        return self.zone != other.zone or bool(
            self.days & other.days
            and any(a < other_end and b > other_start for a, b in self.hours for other_start, other_end in other.hours)
        )


def read_zone(value: object, info: ValidationInfo) -> ZoneInfo:
    """A validator: the zone of a row."""
    return ZoneInfo(validators.zone_name(text(value, info)))


def read_day(value: object, info: ValidationInfo) -> date:
    """A validator: a day."""
    day = text(value, info)
    try:
        if not _DATE.fullmatch(day):
            raise ValueError  # noqa: TRY301 - what date.fromisoformat raises for other wrong dates
        return date.fromisoformat(day)
    except ValueError:
        raise wrong(f"{shown(day)} is no day.", "Write it as 2026-11-24.") from None


def read_weekday(value: object, info: ValidationInfo) -> int:
    """A validator: a weekday as a number; 0 is Monday."""
    day = text(value, info)
    if day.lower() not in _DAYS:
        raise wrong(f"{shown(day)} is no weekday.", f"Use {', '.join(_DAYS)}.")
    return _DAYS.index(day.lower())


def read_hours(value: object, info: ValidationInfo) -> tuple[int, int]:
    """A validator: two minutes of the day, from the first until before the second."""
    hours = text(value, info)
    match = _HOURS.fullmatch(hours)
    parts = [int(part) for part in match.groups()] if match else [0, 0, 0, 0]
    start, end = parts[0] * 60 + parts[1], parts[2] * 60 + parts[3]
    if start >= end:
        fix = "Write them as 09:00-12:00; what goes over midnight is two, as 22:00-24:00 and 00:00-06:00."
        raise wrong(f"{shown(hours)} are no hours.", fix)
    return start, end
