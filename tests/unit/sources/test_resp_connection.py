"""One connection over RESP: replies in pieces, servers that end, stay silent, speak HTTP or never stop."""

import httpx
import pytest

from exporter.errors import BadAnswerError, ProxyError, ProxyUnreachableError
from exporter.sources import resp_connection
from exporter.sources.resp_connection import RespConnection
from tests.fakes.raw import RawServer, Script, drip, hang, head, send

_WHERE = "Proxy 'default' at http://proxy"


def _connection(server: RawServer) -> RespConnection:
    return RespConnection(httpx.URL(server.url), where=_WHERE)


def test_replies_that_arrive_byte_by_byte() -> None:
    with RawServer(drip(b"", b"+OK\r\n")) as server, _connection(server) as connection:
        assert [connection.ask("AUTH", "key"), *_next(connection, 2)] == [b"OK"] * 3


def _next(connection: RespConnection, number: int) -> list[object]:
    found: list[object] = []
    while len(found) < number:
        found += connection.receive(5)
    return found[:number]


def test_what_arrives_with_an_answer_is_kept() -> None:
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
        pytest.param(send(head("400 Bad Request")), BadAnswerError, "A reverse proxy hands on HTTP alone", id="HTTP"),
        pytest.param(send(b"$9999999999\r\n" + b"x" * 500_000), BadAnswerError, "bytes in one reply", id="endless"),
    ],
)
def test_a_command_without_an_answer(
    script: Script, error: type[ProxyError], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resp_connection, "_REPLY_SECONDS", 1.0)
    monkeypatch.setattr(resp_connection, "MAX_REPLY_BYTES", 100_000)
    with RawServer(script) as server, _connection(server) as connection, pytest.raises(error) as caught:
        connection.ask("AUTH", "key")
    assert sentence in str(caught.value)
    assert caught.value.answer_lost
    assert "xxx" not in str(caught.value)


def test_nobody_is_there() -> None:
    with RawServer(send()) as server:
        url = server.url
    with pytest.raises(ProxyUnreachableError, match="could not be reached over RESP") as caught:
        RespConnection(httpx.URL(url), where=_WHERE)
    assert not caught.value.answer_lost
