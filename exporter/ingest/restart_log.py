"""Logs restarts of a proxy: the first one at once, those of a proxy that flaps once in ten minutes."""

import structlog

from exporter.clock import Clock

QUIET_SECONDS = 600.0

_log = structlog.get_logger("exporter.restarts")


class RestartLog:
    """Follows the number of restarts of one proxy. For one thread."""

    def __init__(self, proxy: str, clock: Clock, *, restarts: int) -> None:
        """``restarts`` is the number that an earlier process noticed and logged."""
        self._proxy = proxy
        self._clock = clock
        self._noticed = self._told = restarts
        self._consequence = ""
        self._told_at: float | None = None

    def follow(self, restarts: int, *, consequence: str) -> None:
        """Log the restarts since the last line, unless that line is recent. Call it at every poll.

        ``consequence`` is a sentence about what became of the records, for a restart noticed in this poll.
        """
        if restarts != self._noticed:
            self._noticed, self._consequence = restarts, consequence
        if self._told_at is None or self._clock.monotonic() - self._told_at >= QUIET_SECONDS:
            self.tell()

    def tell(self) -> None:
        """Log the restarts since the last line now: before the process ends, because the next one knows of none."""
        new = self._noticed - self._told
        if not new:
            return
        self._told, self._told_at = self._noticed, self._clock.monotonic()
        times = "" if new == 1 else f" ({new} times since the last such line)"
        _log.warning(
            "restart_detected",
            proxy=self._proxy,
            restarts=new,
            message=f"Restart detected{times}: the proxy started to count again. {self._consequence}",
        )
