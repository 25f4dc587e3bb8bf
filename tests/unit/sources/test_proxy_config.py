"""Whether the proxy runs a plugin whose metrics share our names."""

from collections.abc import Callable, Iterator

import pytest

from exporter.errors import KeyRefusedError
from exporter.sources.all_sources import detect
from exporter.sources.paths import V0
from exporter.sources.proxy_client import ProxyClient
from exporter.sources.proxy_config import other_exporter
from tests.fakes.guarding import KEY, make_guard
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer

_RUNS = {"cpa-prometheus": True}


@pytest.fixture(scope="module")
def server() -> Iterator[SteeredServer]:
    with SteeredServer(SteeredProxy(key=KEY)) as server:
        yield server


@pytest.fixture
def connect(server: SteeredServer) -> Iterator[Callable[..., ProxyClient]]:
    clients: list[ProxyClient] = []

    def make(version: str, plugins: dict[str, bool], *, key: str = KEY) -> ProxyClient:
        server.proxy.upgrade(version)
        server.proxy.plugins = plugins
        client = ProxyClient(name="default", url=server.url, key=key, guard=make_guard(url=server.url, key=key))
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.mark.parametrize(
    ("version", "plugins", "is_there"),
    [
        ("v7.1.47", _RUNS, True),
        ("v7.2.140", _RUNS, True),
        ("v7.2.140", {"another": True, "cpa-prometheus": True}, True),
        ("v8.0.3", _RUNS, True),
        ("v7.2.140", {"cpa-prometheus": False}, False),
        ("v7.2.140", {"another": True}, False),
        ("v7.2.140", {}, False),
        ("v7.1.46", _RUNS, False),
        ("v6.9.49", _RUNS, False),
    ],
)
def test_a_running_plugin_is_found(
    connect: Callable[..., ProxyClient], version: str, plugins: dict[str, bool], is_there: bool
) -> None:
    client = connect(version, plugins)
    sentence = other_exporter(client, detect(client).paths)

    assert bool(sentence) == is_there
    assert not is_there or ("a job of its own" in sentence and 'proxy!=""' in sentence)


@pytest.mark.parametrize("body", [b"[]", b'{"plugins": [{"id": 5}]}', b'{"plugins": "sk-secret', b"\xff"])
def test_an_answer_of_another_shape_raises_nothing(
    server: SteeredServer, connect: Callable[..., ProxyClient], body: bytes
) -> None:
    server.proxy.fault(path="plugins", kind="status", status=200, body=body)
    assert other_exporter(connect("v7.2.140", _RUNS), V0) == ""


def test_a_refused_key_is_reported_as_by_any_call(connect: Callable[..., ProxyClient]) -> None:
    with pytest.raises(KeyRefusedError):
        other_exporter(connect("v7.2.140", _RUNS, key="a-wrong-key"), V0)
