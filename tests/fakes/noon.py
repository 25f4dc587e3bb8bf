"""A clock for tests of the figures of days and months, which must not fall to 0 at midnight during a test."""

from datetime import datetime
from zoneinfo import ZoneInfo

from exporter.clock import Clock

BERLIN = ZoneInfo("Europe/Berlin")


class NoonClock(Clock):
    """The machine's clock, set so that it begins at noon in Berlin in the middle of a month."""

    def __init__(self) -> None:
        self._ahead = datetime(2026, 11, 18, 12, tzinfo=BERLIN).timestamp() - super().now()

    def now(self) -> float:
        return super().now() + self._ahead
