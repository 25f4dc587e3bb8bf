"""A clock for tests of figures of days and months, which go back to 0 at midnight and must not do so meanwhile."""

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
