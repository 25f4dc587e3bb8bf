"""Subscriptions over RESP: which proxies offer them, and what a full disk leaves of one."""

import json
import socket
import threading
from collections.abc import Callable
from typing import NoReturn

import pytest

from exporter.errors import (
    LedgerFullError,
)
from exporter.sources import usage_subscription
from exporter.sources.base import Receiver
from exporter.sources.paths import V0
from exporter.sources.proxy_client import ProxyClient
from exporter.sources.usage_queue import UsageQueue
from exporter.sources.usage_subscription import UsageSubscription
from tests.fakes.guarding import KEY, MemoryRefusals, make_guard
from tests.fakes.raw import RawServer
from tests.stack.waiting import PATIENCE_SECONDS, wait_until

_WHERE = "Proxy 'default' at http://proxy"


class _Client(ProxyClient):
    """A client that has seen this version."""

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
def test_a_version_without_subscriptions_is_reported(version: str, can_be: bool) -> None:
    way = UsageSubscription(_Client(version=version, store=MemoryRefusals()), V0).way

    assert way.name == "queue"
    assert ("needs CPA 7.0.7 or newer, and not 7.1.17" in way.note) != can_be


@pytest.mark.parametrize("at", ["record", "gap"])
def test_what_was_sent_before_a_full_disk_ended_the_subscription_is_handed_over(
    monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    handed_over: list[object] = []
    refused = threading.Event()

    def refuse(*_: object) -> NoReturn:
        refused.set()
        raise LedgerFullError("The disk is full.")

    def take(body: bytes | bytearray) -> int:
        handed_over.extend(json.loads(body))
        refuse()

    def serve(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(b"+OK\r\n")
        connection.recv(1000)
        connection.sendall(_frame(b"subscribe", b"usage", 1) + _frame(b"message", b"usage", b'{"timestamp": "1"}'))
        assert refused.wait(PATIENCE_SECONDS)
        connection.sendall(_frame(b"message", b"usage", b'{"timestamp": "2"}'))
        said = b""
        while b"UNSUBSCRIBE" not in said:
            said += connection.recv(1000)
        connection.sendall(_frame(b"message", b"usage", b'{"timestamp": "3"}') + _frame(b"unsubscribe", b"usage", 0))

    monkeypatch.setattr(UsageQueue, "poll", lambda *_: True)  # its queue is empty
    with RawServer(serve) as server:
        source = UsageSubscription(_Client(url=server.url, store=MemoryRefusals()), V0)
        missed = refuse if at == "gap" else lambda _seconds: None
        receiver = Receiver(records=take, snapshot=lambda *_: None, missed=missed)
        source.poll(receiver, 0)
        with pytest.raises(LedgerFullError):
            wait_until(lambda: source.poll(receiver, 0) and False)
        source.close()
    assert handed_over == [{"timestamp": number} for number in "123"]


def test_the_proxys_own_messages_are_no_records_and_what_cannot_be_read_counts_as_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handed_over: list[object] = []
    sent = [b'{"refresh": true}', b"\xff{", b'{"tokens": {}}', b'{"timestamp": "1"}']

    def take(body: bytes | bytearray) -> int:
        handed_over.extend(json.loads(body))
        return 0

    def serve(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(b"+OK\r\n")
        connection.recv(1000)
        connection.sendall(_frame(b"subscribe", b"usage", 1))
        connection.sendall(b"".join(_frame(b"message", b"usage", body) for body in sent))
        while connection.recv(1000):
            pass

    monkeypatch.setattr(UsageQueue, "poll", lambda *_: False)  # else the poll would wait for an answer to its PING
    with RawServer(serve) as server:
        source = UsageSubscription(_Client(url=server.url, store=MemoryRefusals()), V0)
        source.poll(_receiver(take), 0)
        wait_until(lambda: len(handed_over) >= 3)
        source.close()
    assert handed_over == ["\N{REPLACEMENT CHARACTER}{", {"tokens": {}}, {"timestamp": "1"}]


def test_a_proxy_without_requests_stays_subscribed_as_long_as_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    connections: list[int] = []
    enough = threading.Event()

    def serve(connection: socket.socket, _: threading.Event) -> None:
        connections.append(0)
        connection.sendall(b"+OK\r\n")
        connection.recv(1000)
        connection.sendall(_frame(b"subscribe", b"usage", 1))
        while b"PING" in connection.recv(1000):
            connection.sendall(_frame(b"pong", b"0"))
            connections[-1] += 1
            if connections[-1] == 5:
                enough.set()

    monkeypatch.setattr(usage_subscription, "_PING_SECONDS", 0.0)
    monkeypatch.setattr(UsageQueue, "poll", lambda *_: False)  # else the poll would send a PING of its own
    with RawServer(serve) as server:
        source = UsageSubscription(_Client(url=server.url, store=MemoryRefusals()), V0)
        source.poll(_receiver(len), 0)
        assert enough.wait(PATIENCE_SECONDS)
        source.close()
    assert len(connections) == 1


def _receiver(take: Callable[[bytes | bytearray], int]) -> Receiver:
    return Receiver(records=take, snapshot=lambda *_: None, missed=lambda _seconds: None)


def _frame(*parts: bytes | int) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(
        b":%d\r\n" % part if isinstance(part, int) else b"$%d\r\n%b\r\n" % (len(part), part) for part in parts
    )
