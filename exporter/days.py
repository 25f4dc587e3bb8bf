"""Calendar days, months and their edges in the user's zone. Days of 23 and 25 hours are days like any other."""

from datetime import UTC, date, datetime, timedelta, tzinfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_MS = 86_400_000
"""24 hours, for spans that follow no calendar."""


def epoch_ms(moment: datetime) -> int:
    """A moment with a zone in ms since the epoch, rounded down. In integers: a float is sometimes off by one."""
    since = moment - EPOCH
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def local_time(ms: int, zone: tzinfo) -> datetime:
    """The moment ``ms`` (since the epoch) in ``zone``, in whole seconds."""
    return datetime.fromtimestamp(ms // 1000, UTC).astimezone(zone)


def local_date(ms: int, zone: tzinfo) -> date:
    """The day in ``zone`` of the moment ``ms``."""
    return local_time(ms, zone).date()


def day_start_ms(day: date, zone: tzinfo) -> int:
    """The first moment of ``day`` in ``zone``, in ms since the epoch.

    If midnight happens twice, it is the first one; if it is skipped, the moment of the skip.
    """
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 1000


def moment_ms(text: str, zone: tzinfo | None = None) -> int:
    """A day (``2026-10-01``: its first moment) or a moment (``2026-10-01T12:00``) in ms since the epoch.

    A text without an offset is in ``zone``. Raises ValueError, also for a text without an offset if ``zone`` is None.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        if zone is None:
            raise ValueError("The moment has no offset from UTC.")
        moment = moment.replace(tzinfo=zone)
    return epoch_ms(moment)


def next_day(day: date) -> date:
    return day + timedelta(days=1)


def previous_day(day: date) -> date:
    return day - timedelta(days=1)


def next_month(day: date) -> date:
    """The first day of the month after that of ``day``."""
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)
