"""Ongoing traffic while the demo runs: requests in real time, more by day than by night."""

import random
import threading

from exporter.clock import Clock, SystemClock
from exporter.simulator.proxy import DemoProxy
from exporter.simulator.traffic import Traffic, load

DEFAULT_HISTORY_HOURS = 6.0
"""For a proxy with cumulative statistics: it should not look freshly started."""

_BURST_SPAN_SECONDS = 240.0
# Each adds 258 bytes to every answer, so weeks of history are thinned out.
_MOST_HISTORY = 20_000


class LiveTraffic:
    """A thread that sends ``rate`` requests per second on average over a day, and ``burst`` attempts at its start.

    The burst lies in the last four minutes, so that a visitor sees something at once. ``history_hours`` is how long the
    proxy has already run; only cumulative statistics remember that.
    """

    def __init__(
        self,
        proxy: DemoProxy,
        *,
        rate: float,
        seed: int,
        clock: Clock | None = None,
        burst: int = 150,
        history_hours: float = 0.0,
    ) -> None:
        self._proxy = proxy
        self._rate = rate
        self._burst = burst
        self._history_hours = history_hours
        self._clock = clock or SystemClock()
        self._traffic = Traffic(seed=seed, zone=proxy.zone, shape=proxy.shape)
        self._random = random.Random(seed)  # noqa: S311 waiting times of invented traffic
        self._steady_until = self._clock.now() - _BURST_SPAN_SECONDS
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-traffic", daemon=True)

    def start(self) -> None:
        """Publish history and burst, then go on from a thread."""
        now = self._clock.now()
        self._suit_version()
        if self._history_hours > 0:
            self._publish_history(ending=now - _BURST_SPAN_SECONDS)
        if self._burst:
            self._proxy.publish(self._traffic.batch(self._burst, ending=now, span_seconds=_BURST_SPAN_SECONDS))
        if self._rate > 0:
            self._thread.start()

    def stop(self) -> None:
        """End the traffic. May be called twice."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _publish_history(self, *, ending: float) -> None:
        span = self._history_hours * 3600
        attempts = max(min(round((self._rate or 1.0) * span), _MOST_HISTORY), 1)
        self._proxy.publish(self._traffic.batch(attempts, ending=ending, span_seconds=span))

    def _suit_version(self) -> None:
        """Adapt to the proxy's version, which may have changed, with its credentials and records."""
        self._traffic.credentials = self._proxy.credentials
        self._traffic.shape = self._proxy.shape

    def _run(self) -> None:
        while True:
            now = self._clock.now()
            pause = self._random.expovariate(self._rate * load(now, self._proxy.zone))
            if self._stopping.wait(pause):
                return
            self._suit_version()
            now = self._clock.now()
            self._proxy.publish(self._traffic.request(ending=now))
            self._proxy.publish(self._traffic.steady(since=self._steady_until, until=now))
            self._steady_until = now
