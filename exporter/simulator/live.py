"""A running demo proxy, with requests in real time. There are more by day than by night."""

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

    Without a ``seed`` each start has a new one: no proxy sends the same records again. ``history_hours`` is how long
    the proxy has already run. After ``upgrade_after`` seconds it becomes ``upgrade_to``, and ``upgraded`` is called.
    """
    proxy = DemoProxy(key=key, version=version, accounts=SHOWN)
    proxy.allow_remote = allow_remote

    def upgrade() -> None:
        proxy.upgrade(upgrade_to)
        upgraded()

    upgrading = threading.Timer(upgrade_after or 0, upgrade)
    server = DemoServer(proxy, host=host, port=port)
    with live_traffic(proxy, rate=rate, seed=seed, history_hours=history_hours), server:
        if upgrade_after is not None:
            upgrading.start()
        try:
            yield server
        finally:
            upgrading.cancel()


@contextmanager
def live_traffic(
    proxy: DemoProxy, *, rate: float, seed: int | None, burst: int = 150, history_hours: float = 0.0
) -> Iterator[None]:
    """Send ``rate`` requests per second on average over a day, from a thread, and ``burst`` attempts at the start.

    The burst lies in the last four minutes, so that a visitor sees something at once. ``history_hours`` is how long the
    proxy has already run; only cumulative statistics remember that.
    """
    clock = proxy.clock
    traffic = Traffic(seed=seed, zone=proxy.zone, credentials=proxy.accounts)
    waits = random.Random(seed)  # noqa: S311 waiting times of invented traffic
    stopping = threading.Event()
    began = clock.now()

    def run() -> None:
        steady_until = began - _BURST_SPAN_SECONDS
        while rate > 0 and not stopping.wait(waits.expovariate(rate * load(clock.now(), proxy.zone))):
            now = clock.now()
            proxy.publish(traffic.request(ending=now))
            proxy.publish(traffic.steady(since=steady_until, until=now))
            steady_until = now

    if history_hours > 0:
        span = history_hours * 3600
        events = max(min(round((rate or 1.0) * span), _MOST_HISTORY), 1)
        proxy.publish(traffic.batch(events, ending=began - _BURST_SPAN_SECONDS, span_seconds=span))
    proxy.publish(traffic.batch(burst, ending=began, span_seconds=_BURST_SPAN_SECONDS))
    thread = threading.Thread(target=run, name="demo-traffic", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
