"""The strategies of limits: when a window begins and ends, and what one of the calendar is called. Pure."""

from collections.abc import Callable
from datetime import timedelta, tzinfo
from enum import StrEnum

from exporter.days import day_start_ms, local_date, next_day, next_month
from exporter.ledger.views.limit_windows import Session

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


def open_session(
    known: Session, length_ms: int, now_ms: int, first_use: Callable[[int, int | None], int | None]
) -> Session:
    """The session at ``now_ms``, after the one that was ``known`` last.

    It ends ``length_ms`` after its start. Once it has ended, no late record can open one before its end, unless the
    clock was set back to before it. ``first_use`` returns when something was first used from one moment until before
    another (None: without an end).
    """
    ended, started = known
    if ended > now_ms:  # the clock was ahead: that session is open, or nothing is known of this time
        ended = ended - length_ms if ended - length_ms <= now_ms else 0
    # An open one stays, even if its entries have been pruned, unless a late record came before it.
    started = first_use(ended, started) or started
    while started is not None and started + length_ms <= now_ms:
        ended = started + length_ms
        started = first_use(ended, None)
    # A record from the future opens its session when its time has come.
    return Session(ended, started if started is not None and started <= now_ms else None)


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
