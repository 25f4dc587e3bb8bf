"""When a window of each strategy begins and ends, and what it is called."""

from collections.abc import Callable
from datetime import date, timedelta, tzinfo
from enum import StrEnum
from functools import partial
from typing import NamedTuple

from exporter.days import day_start_ms, local_date, next_day, next_month
from exporter.ledger.views.limit_windows import Session, WindowLook
from exporter.sentences import say

MINUTE_MS = 60_000
LONGEST_WINDOW_MINUTES = 366 * 24 * 60


class Strategy(StrEnum):
    """When a window begins: ``daily``, ``weekly`` (Monday) and ``monthly`` at local midnight.

    ``rolling`` always spans the last minutes; a ``session`` opens with the first request after the previous one's end.
    """

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    ROLLING = "rolling"
    SESSION = "session"

    @property
    def has_length(self) -> bool:
        """Whether its windows have a length of their own instead of the calendar's."""
        return self not in CALENDAR


class Period(NamedTuple):
    """A period of the calendar: its name in metrics and in words, and for a day in it, its first day and the next's."""

    name: str
    words: str
    around: Callable[[date], tuple[date, date]]


def _week(day: date) -> tuple[date, date]:
    monday = day - timedelta(days=day.weekday())
    return monday, monday + timedelta(days=7)


CALENDAR = {
    Strategy.DAILY: Period("day", say("per day"), lambda day: (day, next_day(day))),
    Strategy.WEEKLY: Period("week", say("per week"), _week),
    Strategy.MONTHLY: Period("month", say("per month"), lambda day: (day.replace(day=1), next_month(day))),
}


def calendar_window(strategy: Strategy, now_ms: int, zone: tzinfo) -> tuple[int, int]:
    """The start of the period around ``now_ms``, and of the next one."""
    first, following = CALENDAR[strategy].around(local_date(now_ms, zone))
    return day_start_ms(first, zone), day_start_ms(following, zone)


def window_of_length(
    strategy: Strategy, length_ms: int, now_ms: int, *, look: WindowLook, key: tuple[str, str], series: set[int]
) -> tuple[int | None, int | None]:
    """Start and end of the window open at ``now_ms``. A rolling one has no end; a session that is not open has neither.

    A session starts with the first use of ``series`` and ends ``length_ms`` later. Once it has ended, no late record
    can open one before its end, unless the clock was set back to before it. ``look`` keeps the session as ``key``.
    """
    if strategy is Strategy.ROLLING:
        return now_ms - length_ms, None
    first_use = partial(look.first_use, key, frozenset(series))
    ended, started = look.session(key)
    if ended > now_ms:  # the clock was ahead: that session is open, or nothing is known of this time
        ended = ended - length_ms if ended - length_ms <= now_ms else 0
    # An open one stays, even if its entries have been pruned, unless a late record came before it.
    started = first_use(ended, started) or started
    while started is not None and started + length_ms <= now_ms:
        ended = started + length_ms
        started = first_use(ended, None)
    if started is not None and started > now_ms:
        started = None  # a record from the future opens its session when its time has come
    look.keep(key, Session(ended, started))
    return started, None if started is None else started + length_ms
