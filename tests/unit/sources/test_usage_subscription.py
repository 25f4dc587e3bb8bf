"""When a proxy can be subscribed to, and what its refusals of a login over RESP mean."""

import pytest

from exporter.errors import BannedError, KeyRefusedError, ProxyError, ProxyServerError, RemoteDisabledError
from exporter.sources.client import ProxyClient
from exporter.sources.paths import V0
from exporter.sources.usage_subscription import UsageSubscription
from tests.fakes.guarding import KEY, MemoryRefusals, make_guard
from tests.fakes.raw import RawServer, send


class _Client(ProxyClient):
    """A client that has heard this version."""

    def __init__(self, *, version: str = "v7.2.140", url: str = "http://127.0.0.1:9", store: MemoryRefusals) -> None:
        guard = make_guard(store=store, url=url)
        super().__init__(name="default", url=url, key=KEY, guard=guard, subscribes=True)
        self.version = version


@pytest.mark.parametrize(
    ("version", "can_be"),
    [
        ("v6.10.8", False),
        ("v7.0.6", False),
        ("v7.0.7", True),
        ("v7.1.16", True),
        ("v7.1.17", False),
        ("v7.1.18", True),
        ("v8.0.3", True),
        ("dev", True),
    ],
)
def test_a_version_without_subscriptions_is_told(version: str, can_be: bool) -> None:
    way = UsageSubscription(_Client(version=version, store=MemoryRefusals()), V0).way

    assert way.name == "queue"
    assert ("needs CPA 7.0.7 or newer, and not 7.1.17" in way.note) != can_be


@pytest.mark.parametrize(
    ("answer", "error", "tries"),
    [
        ("ERR invalid management key", KeyRefusedError, 1),
        ("ERR IP banned due to too many failed attempts. Try again in 29m58s", BannedError, 0),
        ("ERR remote management disabled", RemoteDisabledError, None),
        ("ERR redis usage output disabled in home mode", ProxyServerError, None),
        ("ERR RESP AUTH disabled; use mTLS", ProxyServerError, None),
        ("ERR what a later version says: planted-secret", ProxyServerError, None),
    ],
)
def test_a_refused_login(answer: str, error: type[ProxyError], tries: int | None) -> None:
    store = MemoryRefusals()
    with RawServer(send(f"-{answer}\r\n".encode())) as server:
        source = UsageSubscription(_Client(url=server.url, store=store), V0)
        with pytest.raises(error) as caught:
            source.connect()
        assert type(caught.value) is error
        assert "planted" not in str(caught.value)
        connections = server.connections
        with pytest.raises(error):
            source.connect()
        assert server.connections == connections + (tries is None), "what is refused is not tried again"
    assert [key.count for key in store.load()] == ([] if tries is None else [tries])
    if isinstance(caught.value, BannedError):
        assert caught.value.retry_after_seconds == 1798
