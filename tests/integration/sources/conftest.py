"""Clients for real servers, closed after the test."""

from collections.abc import Callable, Iterator

import pytest

from exporter.sources.proxy_client import ProxyClient, Timeouts
from tests.fakes.guarding import KEY, MemoryRefusals, TurnableClock, make_guard
from tests.stack.waiting import PATIENCE_SECONDS

Connect = Callable[..., ProxyClient]

HANGING = Timeouts(connect=PATIENCE_SECONDS, read=1.0, total=PATIENCE_SECONDS)
"""For servers that hang. It is no shorter, because a busy machine may delay even an immediate answer."""
DRIPPING = Timeouts(connect=PATIENCE_SECONDS, read=PATIENCE_SECONDS, total=2.0)
"""For servers that drip."""


@pytest.fixture
def store() -> MemoryRefusals:
    return MemoryRefusals()


@pytest.fixture
def clock() -> TurnableClock:
    return TurnableClock()


@pytest.fixture
def connect(store: MemoryRefusals, clock: TurnableClock) -> Iterator[Connect]:
    """Make a client for the server at a URL, as a new process does: its guard knows what the store knows."""
    clients: list[ProxyClient] = []

    def make(url: str, *, key: str = KEY, timeouts: Timeouts | None = None) -> ProxyClient:
        guard = make_guard(store=store, clock=clock, url=url, key=key)
        client = ProxyClient(name="default", url=url, key=key, guard=guard, timeouts=timeouts)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()
