"""Subscriptions over RESP: which proxies offer them, refused logins, and servers that misbehave.

The servers end, stay silent, speak HTTP or never stop.
"""

import json
import socket
import threading
from contextlib import closing
from typing import NoReturn

import httpx
import pytest

from exporter.errors import (
    BadAnswerError,
    BannedError,
    KeyRefusedError,
    LedgerFullError,
    ProxyError,
    ProxyServerError,
    ProxyUnreachableError,
    RemoteDisabledError,
)
from exporter.sources import resp_subscription
from exporter.sources.base import Receiver
from exporter.sources.paths import V0
from exporter.sources.proxy_client import ProxyClient
from exporter.sources.resp_subscription import RespConnection, UsageSubscription
from exporter.sources.usage_queue import UsageQueue
from tests.fakes.guarding import KEY, MemoryRefusals, make_guard
from tests.fakes.raw import RawServer, Script, drip, hang, head, send
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
def test_a_refused_login_has_its_error(answer: str, error: type[ProxyError], tries: int | None) -> None:
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


def _connection(server: RawServer) -> closing[RespConnection]:
    return closing(RespConnection(httpx.URL(server.url), where=_WHERE))


def test_replies_that_arrive_byte_by_byte_are_read() -> None:
    with RawServer(drip(b"", b"+OK\r\n")) as server, _connection(server) as connection:
        assert [connection.ask("AUTH", "key"), *_next(connection, 2)] == [b"OK"] * 3


def _next(connection: RespConnection, number: int) -> list[object]:
    found: list[object] = []
    while len(found) < number:
        found += connection.receive(5)
    return found[:number]


def test_bytes_that_arrive_with_an_answer_are_kept() -> None:
    message = b"*3\r\n$7\r\nmessage\r\n$5\r\nusage\r\n$2\r\n{}\r\n"
    with RawServer(hang(b"+OK\r\n" + message)) as server, _connection(server) as connection:
        assert connection.ask("SUBSCRIBE", "usage") == b"OK"
        assert _next(connection, 1) == [[b"message", b"usage", b"{}"]]
        assert connection.receive(0.01) == []


@pytest.mark.parametrize(
    ("script", "error", "sentence"),
    [
        pytest.param(send(), ProxyUnreachableError, "closed the connection over RESP", id="closed"),
        pytest.param(send(b"+O"), ProxyUnreachableError, "closed the connection over RESP", id="broken off"),
        pytest.param(hang(), ProxyUnreachableError, "did not answer over RESP in time", id="silent"),
        pytest.param(send(head("400 Bad Request")), BadAnswerError, "A reverse proxy passes on HTTP only", id="HTTP"),
        pytest.param(send(b"$9999999999\r\n" + b"x" * 500_000), BadAnswerError, "bytes in one reply", id="endless"),
    ],
)
def test_a_command_without_an_answer_is_an_error(
    script: Script, error: type[ProxyError], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resp_subscription, "_REPLY_SECONDS", 1.0 if "in time" in sentence else PATIENCE_SECONDS)
    monkeypatch.setattr(resp_subscription, "MAX_REPLY_BYTES", 100_000)
    with RawServer(script) as server, _connection(server) as connection, pytest.raises(error) as caught:
        connection.ask("AUTH", "key")
    assert sentence in str(caught.value)
    assert caught.value.answer_lost
    assert "xxx" not in str(caught.value)


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


def _frame(*parts: bytes | int) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(
        b":%d\r\n" % part if isinstance(part, int) else b"$%d\r\n%b\r\n" % (len(part), part) for part in parts
    )


def test_an_address_where_nobody_listens_is_unreachable() -> None:
    with RawServer(send()) as server:
        url = server.url
    with pytest.raises(ProxyUnreachableError, match="could not be reached over RESP") as caught:
        RespConnection(httpx.URL(url), where=_WHERE)
    assert not caught.value.answer_lost
