"""Demo proxies over HTTP, each with a client that knows the key."""

import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx

from exporter.clock import Clock
from exporter.simulator.world import MANAGEMENT_KEY
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack import loopback

KEY = {"Authorization": f"Bearer {MANAGEMENT_KEY}"}
Start = Callable[..., tuple[SteeredProxy, httpx.Client]]
"""Starts a demo proxy: the version, and further arguments of ``SteeredProxy``, all optional."""


def port_in(line: str) -> str:
    """The port of a demo proxy in its own process, from the line that it prints at its start."""
    found = re.search(r" at http://[^ ]*:([0-9]+), ", line)
    assert found is not None, line
    return found[1]


@contextmanager
def demo_starter(version: str, clock: Clock) -> Iterator[Start]:
    """Starts demo proxies, of ``version`` by default; they run until the end of the ``with`` block."""
    with ExitStack() as stack:

        def starting(version: str = version, **settings: Any) -> tuple[SteeredProxy, httpx.Client]:
            proxy = SteeredProxy(version=version, clock=clock, **settings)
            server = stack.enter_context(SteeredServer(proxy))
            client = loopback.client(base_url=server.url, headers=KEY)
            return proxy, stack.enter_context(client)

        yield starting


@contextmanager
def in_use(
    proxy: SteeredProxy,
    *,
    records: int,
    pause_seconds: float,
    most_queued: float = math.inf,
    seed: int = 0,
    publish: Callable[[int], object] | None = None,
) -> Iterator[str]:
    """The URL of ``proxy``, which receives requests all the time: ``records`` of them after each pause.

    It receives none while ``most_queued`` records wait in its queue. ``publish`` makes them; without it
    they are traffic of this ``seed``.
    """
    traffic, ended = Traffic(seed=seed, zone=proxy.zone, shape=proxy.shape), threading.Event()
    publish = publish or (lambda number: proxy.publish(traffic.batch(number, ending=time.time())))

    def use() -> None:
        while not ended.wait(pause_seconds):
            if proxy.counts().queued < most_queued:
                publish(records)

    thread = threading.Thread(target=use)
    thread.start()
    try:
        with SteeredServer(proxy) as server:
            yield server.url
    finally:
        ended.set()
        thread.join()
