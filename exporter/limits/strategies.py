"""Where the windows of the calendar begin and end, in the user's zone. Pure."""

from datetime import timedelta, tzinfo

from exporter.days import day_start_ms, local_date, next_day, next_month
from exporter.limits.model import Strategy


def calendar_window(strategy: Strategy, now_ms: int, zone: tzinfo) -> tuple[int, int]:
    """The first moment of the day, week (from Monday) or month of ``now_ms``, and that of the next one."""
    first = last = local_date(now_ms, zone)
    if strategy is Strategy.WEEKLY:
        first -= timedelta(days=first.weekday())
        last = first + timedelta(days=6)
    elif strategy is Strategy.MONTHLY:
        first = first.replace(day=1)
        last = next_month(first) - timedelta(days=1)
    return day_start_ms(first, zone), day_start_ms(next_day(last), zone)
