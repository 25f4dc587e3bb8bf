"""Demo proxies over HTTP, each with a client that knows the key."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx

from exporter.clock import Clock
from exporter.demo.proxy import DemoProxy
from exporter.demo.server import DemoServer
from exporter.demo.world import MANAGEMENT_KEY

KEY = {"Authorization": f"Bearer {MANAGEMENT_KEY}"}
Start = Callable[..., tuple[DemoProxy, httpx.Client]]
"""Starts a demo proxy: the version, ``control``, and further arguments of ``DemoProxy``, all optional."""


@contextmanager
def demo_starter(version: str, clock: Clock) -> Iterator[Start]:
    """Starts demo proxies, of ``version`` unless another is asked for; they run until the end of the ``with`` block."""
    with ExitStack() as stack:

        def starting(
            version: str = version, *, control: bool = False, **settings: Any
        ) -> tuple[DemoProxy, httpx.Client]:
            proxy = DemoProxy(version=version, clock=clock, **settings)
            server = stack.enter_context(DemoServer(proxy, control=control))
            client = httpx.Client(base_url=server.url, headers=KEY, timeout=5, trust_env=False)
            return proxy, stack.enter_context(client)

        yield starting
