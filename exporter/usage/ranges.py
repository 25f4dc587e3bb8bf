"""The time that a question covers, its steps, and the range to compare it with.

All edges are quarters of an hour, as in the roll-up. Calendar days, weeks and months are those of the zone: a day has
23, 24 or 25 hours, and an hour begins when the local clock says so.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

from exporter.days import day_start_ms, local_date, local_time, moment_ms, next_day, next_month
from exporter.errors import ExporterError
from exporter.ledger.schema import BUCKET_MS
from exporter.ledger.views.usage import Span

HOUR, DAY, WEEK, MONTH = "hour", "day", "week", "month"
STEPS = (HOUR, DAY, WEEK, MONTH)
PRESETS = {"24h": 1, "7d": 7, "30d": 30}
"""Ranges that end now, by name, and their number of days."""
MOST_STEPS = 1000

_HOUR_MS = 3_600_000
_MONTH = re.compile(r"\d{4}-\d{2}")
_FIRST_YEAR, _LAST_YEAR = 2000, 2199


class QuestionError(ExporterError):
    """A question about usage that makes no sense; the text says what would."""


@dataclass(frozen=True, slots=True)
class Range:
    """From ``since_ms`` up to but not including ``until_ms``. ``name`` is the preset or month, else empty."""

    since_ms: int
    until_ms: int
    name: str = ""

    @property
    def span(self) -> Span:
        return Span(self.since_ms // BUCKET_MS, self.until_ms // BUCKET_MS)


def named_range(name: str, *, now_ms: int, zone: tzinfo) -> Range:
    """The range of a preset, or of a month as ``2026-11``. Raises QuestionError."""
    today = local_date(now_ms, zone)
    if name == "24h":
        until_ms = _next_hour(now_ms // BUCKET_MS * BUCKET_MS, zone)
        return Range(until_ms - 24 * _HOUR_MS, until_ms, name)
    if name in PRESETS:
        first = today - timedelta(days=PRESETS[name] - 1)
        return Range(_start(first, zone), _start(next_day(today), zone), name)
    try:
        month = date.fromisoformat(f"{name}-01" if _MONTH.fullmatch(name) else "")
    except ValueError as exc:
        raise QuestionError(
            "{given!r} is not a range: use 24h, 7d, 30d, or a month as 2026-11.", given=name[:40]
        ) from exc
    _check_year(month.year)
    return Range(_start(month, zone), _start(next_month(month), zone), name)


def free_range(since: str, until: str, *, oldest_ms: int, now_ms: int, zone: tzinfo) -> Range:
    """The range between two days or moments: by default from the oldest use, and until the end of today.

    Moments are widened to their quarter of an hour. Raises QuestionError.
    """
    today = local_date(now_ms, zone)
    since_ms = _moment(since, zone) if since else _start(local_date(oldest_ms, zone), zone)
    until_ms = _moment(until, zone) if until else _start(next_day(today), zone)
    found = Range(since_ms // BUCKET_MS * BUCKET_MS, -(-until_ms // BUCKET_MS) * BUCKET_MS)
    if found.since_ms >= found.until_ms:
        raise QuestionError("The range is empty: 'until', which is not included, must be later than 'since'.")
    return found


def range_before(range_: Range, *, now_ms: int, zone: tzinfo) -> Range:
    """The range of equal length before this one; for a range that is still running, only the part so far counts.

    Calendar ranges move by the calendar: a month is compared with the month before, noon with noon.
    """
    until_ms = max(range_.since_ms + BUCKET_MS, min(range_.until_ms, now_ms // BUCKET_MS * BUCKET_MS + BUCKET_MS))
    first, end = (local_date(ms, zone) for ms in (range_.since_ms, range_.until_ms))
    if _start(first, zone) != range_.since_ms or _start(end, zone) != range_.until_ms:
        length = range_.until_ms - range_.since_ms
        return Range(range_.since_ms - length, until_ms - length)
    is_month = _MONTH.fullmatch(range_.name)
    before = (first - timedelta(days=1)).replace(day=1) if is_month else first - (end - first)
    # The same time of day, the same number of days after the first one. A shorter month may end before that.
    local = local_time(until_ms, zone)
    moved = datetime.combine(before + (local.date() - first), local.time(), tzinfo=zone)
    moved_ms = int(moved.timestamp()) * 1000 // BUCKET_MS * BUCKET_MS
    is_over = until_ms == range_.until_ms
    return Range(_start(before, zone), range_.since_ms if is_over else min(moved_ms, range_.since_ms))


def steps(range_: Range, unit: str, *, zone: tzinfo) -> list[Range]:
    """The hours, days, weeks or months of a range; the first and the last may be cut. Raises QuestionError."""
    found: list[Range] = []
    since_ms = range_.since_ms
    while since_ms < range_.until_ms:
        if len(found) == MOST_STEPS:
            raise QuestionError(
                "The range has more than {most} steps: choose longer steps, or a shorter range.", most=MOST_STEPS
            )
        until_ms = min(_next(since_ms, unit, zone), range_.until_ms)
        found.append(Range(since_ms, until_ms))
        since_ms = until_ms
    return found


def fitting_unit(range_: Range) -> str:
    """The default steps for drawing a range."""
    length = range_.until_ms - range_.since_ms
    if length <= 50 * _HOUR_MS:
        return HOUR
    return DAY if length <= 93 * 24 * _HOUR_MS else MONTH


def months(oldest_ms: int, *, now_ms: int, zone: tzinfo) -> list[str]:
    """The months from now back to the oldest use, like ``2026-11``."""
    first_ms = max(oldest_ms, _start(date(_FIRST_YEAR, 1, 1), zone))
    found = steps(Range(first_ms, now_ms + 1), MONTH, zone=zone)
    return [f"{local_date(each.since_ms, zone):%Y-%m}" for each in reversed(found)]


def _next(ms: int, unit: str, zone: tzinfo) -> int:
    if unit == HOUR:
        return _next_hour(ms, zone)
    day = local_date(ms, zone)
    after = {DAY: next_day(day), WEEK: day + timedelta(days=7 - day.weekday()), MONTH: next_month(day)}
    return _start(after[unit], zone)


def _next_hour(ms: int, zone: tzinfo) -> int:
    """The next full hour of the local clock; ``ms`` begins a quarter of an hour."""
    return ms + _HOUR_MS - local_time(ms, zone).minute * 60_000


def _start(day: date, zone: tzinfo) -> int:
    """The first quarter of an hour of a day."""
    return day_start_ms(day, zone) // BUCKET_MS * BUCKET_MS


def _moment(text: str, zone: tzinfo) -> int:
    try:
        ms = moment_ms(text, zone)
        year = local_time(ms, zone).year
    except (ValueError, OverflowError) as exc:
        raise QuestionError(
            "{given!r} is neither a day (2026-10-01) nor a moment (2026-10-01T12:00).", given=text[:40]
        ) from exc
    _check_year(year)
    return ms


def _check_year(year: int) -> None:
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        raise QuestionError(
            "The year {year} is not between {first} and {last}.", year=year, first=_FIRST_YEAR, last=_LAST_YEAR
        )
