"""The strategies of limits: when a window begins and ends, and what one of the calendar is called. Pure."""

from collections.abc import Callable
from datetime import timedelta, tzinfo
from enum import StrEnum

from exporter.days import day_start_ms, local_date, next_day, next_month

LONGEST_WINDOW_MINUTES = 366 * 24 * 60

_MINUTE_MS = 60_000


class Strategy(StrEnum):
    """When a window begins.

    ``daily``, ``weekly`` (Monday) and ``monthly`` at local midnight; ``rolling`` always spans the last minutes; a
    ``session`` opens with the first request after the previous session has ended.
    """

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    ROLLING = "rolling"
    SESSION = "session"

    @property
    def has_length(self) -> bool:
        """Whether its windows have a length of their own instead of the calendar's."""
        return self in (Strategy.ROLLING, Strategy.SESSION)


CALENDAR_NAMES = {Strategy.DAILY: "day", Strategy.WEEKLY: "week", Strategy.MONTHLY: "month"}


def open_window(
    strategy: Strategy, length_ms: int | None, now_ms: int, zone: tzinfo, session_start: Callable[[int], int | None]
) -> tuple[int | None, int | None]:
    """Start and end of the window open at ``now_ms``; both None for a session that is not open.

    ``length_ms`` is None for a calendar window. A rolling window has no end. ``session_start`` takes the length of a
    session and returns when the open one began, None if none is open.
    """
    if length_ms is None:
        return calendar_window(strategy, now_ms, zone)
    if strategy is Strategy.ROLLING:
        return now_ms - length_ms, None
    started_ms = session_start(length_ms)
    return started_ms, None if started_ms is None else started_ms + length_ms


def calendar_window(strategy: Strategy, now_ms: int, zone: tzinfo) -> tuple[int, int]:
    """The start of the day, week (from Monday) or month of ``now_ms``, and of the next one."""
    first = last = local_date(now_ms, zone)
    if strategy is Strategy.WEEKLY:
        first -= timedelta(days=first.weekday())
        last = first + timedelta(days=6)
    elif strategy is Strategy.MONTHLY:
        first = first.replace(day=1)
        last = next_month(first) - timedelta(days=1)
    return day_start_ms(first, zone), day_start_ms(next_day(last), zone)


def window_length_ms(minutes: int) -> int | None:
    """The length of a rolling window or session in ms; None if it is too short or too long."""
    return minutes * _MINUTE_MS if 1 <= minutes <= LONGEST_WINDOW_MINUTES else None
