"""Connections over RESP: refused logins, and servers that end, stay silent, speak HTTP or never stop."""

import socket
from contextlib import closing
from typing import NoReturn

import httpx
import pytest

from exporter.errors import (
    BadAnswerError,
    BannedError,
    KeyRefusedError,
    ProxyError,
    ProxyServerError,
    ProxyUnreachableError,
    RemoteDisabledError,
)
from exporter.sources import resp_connection
from exporter.sources.proxy_client import ProxyClient
from exporter.sources.resp_connection import RespConnection, connect
from tests.fakes.guarding import KEY, MemoryRefusals, make_guard
from tests.fakes.raw import RawServer, Script, drip, hang, head, send
from tests.stack.waiting import PATIENCE_SECONDS

_WHERE = "Proxy 'default' at http://proxy"


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
        guard = make_guard(store=store, url=server.url)
        client = ProxyClient(name="default", url=server.url, key=KEY, guard=guard)
        with pytest.raises(error) as caught:
            connect(client)
        assert type(caught.value) is error
        assert "planted" not in str(caught.value)
        connections = server.connections
        with pytest.raises(error):
            connect(client)
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
    monkeypatch.setattr(resp_connection, "_REPLY_SECONDS", 1.0 if "in time" in sentence else PATIENCE_SECONDS)
    monkeypatch.setattr(resp_connection, "MAX_REPLY_BYTES", 100_000)
    with RawServer(script) as server, _connection(server) as connection, pytest.raises(error) as caught:
        connection.ask("AUTH", "key")
    assert sentence in str(caught.value)
    assert caught.value.answer_lost
    assert "xxx" not in str(caught.value)


def test_an_address_where_nobody_listens_is_unreachable() -> None:
    with RawServer(send()) as server:
        url = server.url
    with pytest.raises(ProxyUnreachableError, match="could not be reached over RESP") as caught:
        RespConnection(httpx.URL(url), where=_WHERE)
    assert not caught.value.answer_lost


@pytest.mark.parametrize(("url", "port"), [("http://cpa.example/", 80), ("https://cpa.example/", 443)])
def test_a_url_without_a_port_has_that_of_its_scheme(monkeypatch: pytest.MonkeyPatch, url: str, port: int) -> None:
    dialled: list[tuple[str, int]] = []

    def dial(address: tuple[str, int], **_: object) -> NoReturn:
        dialled.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", dial)
    with pytest.raises(ProxyUnreachableError):
        RespConnection(httpx.URL(url), where=_WHERE)
    assert dialled == [("cpa.example", port)]
