"""Tells the log of restarts of a proxy: the first one at once, those of a proxy that flaps once in ten minutes."""

import structlog

from exporter.clock import Clock

QUIET_SECONDS = 600.0

_log = structlog.get_logger("exporter.restarts")


class RestartLog:
    """Follows the number of restarts of one proxy. For one thread."""

    def __init__(self, proxy: str, clock: Clock, *, restarts: int) -> None:
        """``restarts`` is the number that was noticed up to now."""
        self._proxy = proxy
        self._clock = clock
        self._told = restarts
        self._told_at: float | None = None

    def follow(self, restarts: int, *, consequence: str) -> None:
        """Tell of the restarts since the last line, unless that line was a short while ago. Call it at every poll.

        ``consequence`` is a sentence about what became of its records.
        """
        new, now = restarts - self._told, self._clock.monotonic()
        if new <= 0 or (self._told_at is not None and now - self._told_at < QUIET_SECONDS):
            return
        self._told, self._told_at = restarts, now
        times = "" if new == 1 else f" ({new} times since the last such line)"
        _log.warning(
            "restart_detected",
            proxy=self._proxy,
            restarts=new,
            message=f"Restart detected{times}: the counts of the proxy fell. {consequence}",
        )
