"""A running demo proxy with ongoing traffic: requests in real time, more by day than by night."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from exporter.simulator.options import DEFAULT_VERSION
from exporter.simulator.proxy import DemoProxy
from exporter.simulator.server import DemoServer
from exporter.simulator.traffic import Traffic, load
from exporter.simulator.world import MANAGEMENT_KEY, SHOWN

_BURST_SPAN_SECONDS = 240.0
# Each adds 258 bytes to every answer, so weeks of history are thinned out.
_MOST_HISTORY = 20_000


@contextmanager
def live_demo(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    key: str = MANAGEMENT_KEY,
    version: str = DEFAULT_VERSION,
    allow_remote: bool = False,
    rate: float = 1.0,
    seed: int | None = None,
    history_hours: float = 0.0,
    upgrade_after: float | None = None,
    upgrade_to: str = DEFAULT_VERSION,
    upgraded: Callable[[], None],
) -> Iterator[DemoServer]:
    """Serve a demo proxy with live traffic while the context lasts. Raises ``OSError`` if the port is not available.

    Without a ``seed`` each start has a new one: no proxy sends the same records again. ``history_hours`` is how long it
    has already run. After ``upgrade_after`` seconds it becomes ``upgrade_to``, and ``upgraded`` is called.
    """
    proxy = DemoProxy(key=key, version=version, accounts=SHOWN)
    proxy.allow_remote = allow_remote

    def upgrade() -> None:
        proxy.upgrade(upgrade_to)
        upgraded()

    upgrading = threading.Timer(upgrade_after or 0, upgrade)
    server = DemoServer(proxy, host=host, port=port)
    traffic = LiveTraffic(proxy, rate=rate, seed=seed, history_hours=history_hours)
    traffic.start()
    if upgrade_after is not None:
        upgrading.start()
    try:
        with server:
            yield server
    finally:
        upgrading.cancel()
        traffic.stop()


class LiveTraffic:
    """A thread that sends ``rate`` requests per second on average over a day, and ``burst`` attempts at its start.

    The burst lies in the last four minutes, so that a visitor sees something at once. ``history_hours`` is how long the
    proxy has already run; only cumulative statistics remember that.
    """

    def __init__(
        self, proxy: DemoProxy, *, rate: float, seed: int | None, burst: int = 150, history_hours: float = 0.0
    ) -> None:
        self._proxy = proxy
        self._rate = rate
        self._burst = burst
        self._history_hours = history_hours
        self._traffic = Traffic(seed=seed, zone=proxy.zone, credentials=proxy.accounts)
        self._random = random.Random(seed)  # noqa: S311 waiting times of invented traffic
        self._steady_until = proxy.clock.now() - _BURST_SPAN_SECONDS
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-traffic", daemon=True)

    def start(self) -> None:
        """Publish history and burst, then go on from a thread."""
        now = self._proxy.clock.now()
        if self._history_hours > 0:
            span = self._history_hours * 3600
            events = max(min(round((self._rate or 1.0) * span), _MOST_HISTORY), 1)
            self._proxy.publish(self._traffic.batch(events, ending=now - _BURST_SPAN_SECONDS, span_seconds=span))
        self._proxy.publish(self._traffic.batch(self._burst, ending=now, span_seconds=_BURST_SPAN_SECONDS))
        if self._rate > 0:
            self._thread.start()

    def stop(self) -> None:
        """End the traffic. May be called twice."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        clock, proxy = self._proxy.clock, self._proxy
        while not self._stopping.wait(self._random.expovariate(self._rate * load(clock.now(), proxy.zone))):
            now = clock.now()
            proxy.publish(self._traffic.request(ending=now))
            proxy.publish(self._traffic.steady(since=self._steady_until, until=now))
            self._steady_until = now
