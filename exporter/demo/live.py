"""Traffic that goes on while the demo runs: requests in real time, more by day than by night."""

import random
import threading

from exporter.clock import Clock, SystemClock
from exporter.demo.proxy import DemoProxy
from exporter.demo.traffic import Traffic, load

_BURST_SPAN_SECONDS = 240.0


class LiveTraffic:
    """A thread that sends ``rate`` requests per second on average over a day, and ``burst`` attempts at its start.

    The burst ended within the last four minutes, so that something can be seen at once.
    """

    def __init__(
        self, proxy: DemoProxy, *, rate: float, seed: int, clock: Clock | None = None, burst: int = 150
    ) -> None:
        self._proxy = proxy
        self._rate = rate
        self._burst = burst
        self._clock = clock or SystemClock()
        self._traffic = Traffic(seed=seed, zone=proxy.zone, shape=proxy.shape)
        self._random = random.Random(seed)  # noqa: S311 waiting times of invented traffic
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-traffic", daemon=True)

    def start(self) -> None:
        """Publish the burst, then go on from a thread."""
        if self._burst:
            now = self._clock.now()
            self._proxy.publish(self._traffic.batch(self._burst, ending=now, span_seconds=_BURST_SPAN_SECONDS))
        if self._rate > 0:
            self._thread.start()

    def stop(self) -> None:
        """End the traffic. May be called twice."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            now = self._clock.now()
            pause = self._random.expovariate(self._rate * load(now, self._proxy.zone))
            if self._stopping.wait(pause):
                return
            self._proxy.publish(self._traffic.request(ending=self._clock.now()))
