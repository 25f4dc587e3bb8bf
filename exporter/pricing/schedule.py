"""The hours of the week at which a row of a price file holds: weekdays, hours and holidays in a time zone."""

import re
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from zoneinfo import ZoneInfo

from pydantic_core import PydanticCustomError

from exporter.settings import checks, yaml_file
from exporter.settings.problems import shown
from exporter.settings.yaml_rows import Wrong, text_of

MINUTE_MS = 60_000

FIELDS = ("zone", "days", "hours", "holidays")

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]|24(?=:00)):([0-5][0-9])", re.ASCII)
_DATE = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When a row holds: on ``days`` (0 is Monday) that are not among ``holidays``, during ``hours``.

    ``hours`` are first and last minutes of the day, of which the last is not in it. All is by the clock of ``zone``.
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
        """Whether both may hold at the same moment. Schedules in different zones are taken to do so."""
        return self.zone != other.zone or bool(
            self.days & other.days
            and any(a < other_end and b > other_start for a, b in self.hours for other_start, other_end in other.hours)
        )


def read_zone(node: yaml_file.Mapping) -> ZoneInfo:
    """The zone of a row; UTC if it names none. Raises Wrong."""
    text = text_of(node, "zone")
    try:
        return ZoneInfo(checks.zone_name(text or "UTC"))
    except PydanticCustomError as error:
        context = error.context or {}
        raise Wrong(node.key_lines["zone"], context["why"], context["fix"]) from None


def read_schedule(node: yaml_file.Mapping, zone: ZoneInfo) -> Schedule | None:
    """The schedule of a row, ``None`` if it holds at every hour. Raises Wrong."""
    if not any(field in node.values for field in ("days", "hours")):
        if "holidays" in node.values:
            raise Wrong(node.key_lines["holidays"], "The row has holidays, and no days or hours.", "Add days or hours.")
        return None
    days = [(text.lower(), line) for text, line in _texts(node, "days")]
    for text, line in days:
        if text not in _DAYS:
            raise Wrong(line, f"{shown(text)} is no weekday.", f"Use {', '.join(_DAYS)}.")
    return Schedule(
        zone=zone,
        days=frozenset(_DAYS.index(text) for text, _ in days) or frozenset(range(7)),
        hours=tuple(_hours(text, line) for text, line in _texts(node, "hours")) or ((0, 24 * 60),),
        holidays=frozenset(to_day(text, line) for text, line in _texts(node, "holidays")),
    )


def to_day(text: str, line: int) -> date:
    """The day that a text names. Raises Wrong."""
    try:
        if not _DATE.fullmatch(text):
            raise ValueError  # noqa: TRY301 - what date.fromisoformat raises for other wrong dates
        return date.fromisoformat(text)
    except ValueError:
        raise Wrong(line, f"{shown(text)} is no day.", "Write it as 2026-11-24.") from None


def _hours(text: str, line: int) -> tuple[int, int]:
    match = _HOURS.fullmatch(text)
    hours = [int(part) for part in match.groups()] if match else [0, 0, 0, 0]
    start, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
    if start >= end:
        fix = "Write them as 09:00-12:00; what goes over midnight is two, as 22:00-24:00 and 00:00-06:00."
        raise Wrong(line, f"{shown(text)} are no hours.", fix)
    return start, end


def _texts(node: yaml_file.Mapping, field: str) -> list[tuple[str, int]]:
    """The texts of a list, each with its line."""
    listed = node.values.get(field)
    if listed is None:
        return []
    texts = listed.values if isinstance(listed, yaml_file.Items) else ()
    found = [(each.text.strip(), each.line) for each in texts if isinstance(each, yaml_file.Scalar) and each.text]
    if not found or len(found) != len(texts):
        raise Wrong(node.key_lines[field], f"{field} is not a list.", f"Write {field}: and one each after a dash.")
    return found
