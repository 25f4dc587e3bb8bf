"""The demo proxy over RESP behaves as measured in CPA, on the port that also speaks HTTP."""

import json
import time
from collections.abc import Iterator

import pytest

from exporter.simulator.world import MANAGEMENT_KEY
from tests.fakes.demo import KEY, Start, demo_starter
from tests.fakes.guarding import TurnableClock
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.subscribers import BUFFER
from tests.fakes.steered.traffic import Traffic
from tests.fakes.subscribing import OtherSubscriber, RespClient
from tests.stack import loopback
from tests.stack.waiting import wait_until


@pytest.fixture
def start() -> Iterator[Start]:
    with demo_starter("v7.2.140", TurnableClock(now=time.time())) as starting:
        yield starting


def _publish(proxy: SteeredProxy, records: int) -> None:
    proxy.publish(Traffic(seed=4, zone=proxy.zone, shape=proxy.shape).batch(records, ending=proxy.clock.now()))


def _client(http: object) -> RespClient:
    return RespClient(str(getattr(http, "base_url")))  # noqa: B009


def test_each_command_is_answered_or_refused_as_in_cpa(start: Start) -> None:
    proxy, http = start()
    _publish(proxy, 5)
    with _client(http) as client:
        assert client.ask("AUTH", MANAGEMENT_KEY) == b"OK"
        assert client.ask("AUTH", "anybody", MANAGEMENT_KEY) == b"OK"
        first = json.loads(client.ask("LPOP", "usage"))
        second, third = map(json.loads, client.ask("RPOP", "usage", "2"))
        assert "timestamp" in first
        assert first["request_id"] != third["request_id"] or second != third
        assert len(client.ask("LPOP", "usage", "99")) == 2
        assert client.ask("LPOP", "usage", "99") == []
        assert client.ask("LPOP", "usage") is None
        assert client.ask("LPOP", "usage", "0") == "ERR value is not an integer or out of range"
        assert client.ask("LPOP", "queue") == "ERR unsupported channel 'queue'"
        assert client.ask("SUBSCRIBE", "queue") == "ERR unsupported channel 'queue'"
        for command in ("PING", "HELLO", "QUIT", "CLIENT"):
            assert client.ask(command) == f"ERR unknown command '{command.lower()}'"
    assert proxy.counts().delivered == 5


def test_commands_before_the_key_count_as_failed_logins_and_ban_http_too(start: Start) -> None:
    proxy, http = start()
    with _client(http) as client:
        for command in (["HELLO", "3"], ["CLIENT", "SETINFO", "lib-name", "x"], ["PING"]):
            assert client.ask(*command) == "NOAUTH Authentication required."
        assert client.ask("AUTH", "wrong") == "ERR invalid management key"
        assert proxy.counts().refused_logins == 4
        assert client.ask("AUTH", "wrong") == "ERR invalid management key"
        assert client.ask("AUTH", MANAGEMENT_KEY).startswith("ERR IP banned due to too many failed attempts.")
        assert client.ask("PING").startswith("ERR IP banned")
    assert http.get("/v0/management/config").status_code == 403


def test_subscribers_each_get_everything_and_pollers_nothing(start: Start) -> None:
    proxy, http = start()
    url = str(http.base_url)
    with OtherSubscriber(url) as one, OtherSubscriber(url) as other:
        _publish(proxy, 60)
        wait_until(lambda: len(one.records) == len(other.records) == 60)
        assert one.records == other.records
        assert http.get("/v0/management/usage-queue?count=100").json() == []
    wait_until(lambda: proxy.counts().subscribers == 0)
    _publish(proxy, 5)
    assert len(http.get("/v0/management/usage-queue?count=100").json()) == 5
    wait_until(lambda: proxy.counts().pushed == 120)


def test_a_subscriber_may_only_ping_and_leave(start: Start) -> None:
    proxy, http = start()
    for words in (["UNSUBSCRIBE"], ["QUIT"]):
        with _client(http) as client:
            assert client.ask("AUTH", MANAGEMENT_KEY) == b"OK"
            assert client.ask("SUBSCRIBE", "Usage") == [b"subscribe", b"usage", 1]
            assert client.reply() == [b"message", b"usage", b'{"support_refresh":true}']
            assert client.ask("PING", "7") == [b"pong", b"7"]
            assert client.ask("PING") == [b"pong", b""]
            assert client.ask("LPOP", "usage") == "ERR unknown command 'lpop'"
            assert client.ask(*words) in ([b"unsubscribe", b"usage", 0], b"OK")
            with pytest.raises(EOFError):
                client.reply()
    wait_until(lambda: proxy.counts().subscribers == 0)


def test_a_subscriber_that_does_not_read_gets_the_waiting_records_and_is_dropped(start: Start) -> None:
    """The record that found no room is lost; the next ones go into the queue."""
    proxy, http = start()
    with _client(http) as client:
        assert client.ask("AUTH", MANAGEMENT_KEY) == b"OK"
        assert client.ask("SUBSCRIBE", "usage") == [b"subscribe", b"usage", 1]
        published = 0
        while proxy.counts().subscribers:
            _publish(proxy, 100)
            published += 100
        counts = proxy.counts()
        assert counts.unsent == 1
        got = published - counts.queued - counts.unsent
        assert got >= BUFFER
        read = [client.reply() for _ in range(got + 1)]
        assert sum(b"timestamp" in reply[2] for reply in read) == got
        with pytest.raises(EOFError):
            client.reply()
        wait_until(lambda: proxy.counts().pushed == got)


@pytest.mark.parametrize(
    ("version", "answer"),
    [
        ("v7.0.6", "ERR unknown command 'subscribe'"),
        ("v7.0.7", [b"subscribe", b"usage", 1]),
        ("v8.0.3", [b"subscribe", b"usage", 1]),
    ],
)
def test_each_version_knows_its_own_commands(start: Start, version: str, answer: object) -> None:
    _, http = start(version)
    with _client(http) as client:
        assert client.ask("AUTH", MANAGEMENT_KEY) == b"OK"
        assert client.ask("SUBSCRIBE", "usage") == answer


def test_7_1_17_refuses_and_a_proxy_without_management_says_nothing(start: Start) -> None:
    _, http = start("v7.1.17")
    with _client(http) as client:
        assert client.ask("AUTH", MANAGEMENT_KEY) == "ERR RESP AUTH disabled; use mTLS"
    proxy, http = start()
    proxy.management = False
    with _client(http) as client, pytest.raises((EOFError, ConnectionError)):
        client.ask("AUTH", MANAGEMENT_KEY)


def test_a_restart_hangs_up(start: Start) -> None:
    proxy, http = start()
    with OtherSubscriber(str(http.base_url)) as other:
        proxy.restart()
        _publish(proxy, 5)
        assert proxy.counts().queued == 5
        assert other.records == []


def test_http_keeps_working_beside_it() -> None:
    proxy = SteeredProxy(key=MANAGEMENT_KEY)
    with SteeredServer(proxy) as server, OtherSubscriber(server.url), loopback.client(base_url=server.url) as http:
        for _ in range(3):
            assert http.get("/v0/management/config", headers=KEY).status_code == 200
