"""Connections after their answer, malformed requests, a machine without resources. Other tests go over HTTP."""

import errno
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from exporter.web import server as web_server
from exporter.web.server import AddressInUseError, WebServer, _BusyConnections, check_address
from tests.stack.waiting import wait_until


class _Server:
    """A server that takes connections back until it has stopped."""

    def __init__(self, *, has_stopped: bool) -> None:
        self._has_stopped = has_stopped

    def put_conn(self, _connection: object) -> None:
        if self._has_stopped:
            raise ValueError("I/O operation on closed epoll object")


class _Connection:
    """A client's connection, answered and kept open."""

    def __init__(self, kept: socket.socket) -> None:
        self.socket = kept

    def communicate(self) -> bool:
        return True

    def close(self) -> None:
        self.socket.close()


@pytest.mark.parametrize("has_stopped", [False, True])
def test_a_connection_that_returns_to_a_stopped_server_is_closed(has_stopped: bool) -> None:
    server: Any = _Server(has_stopped=has_stopped)
    with socket.socket() as kept:
        connection: Any = _Connection(kept)
        busy = _BusyConnections(server)
        busy._busy[connection] = threading.current_thread()
        busy._serve(connection)

        assert (kept.fileno() == -1) is has_stopped


class _Log:
    """What is logged, each line with its time."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def log(self, *_: object, **__: object) -> None:
        self.times.append(time.monotonic())


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> _Log:
    log = _Log()
    monkeypatch.setattr(web_server, "_log", log)
    return log


@pytest.fixture
def served(log: _Log) -> Iterator[WebServer]:  # noqa: ARG001 - the log is there before the server
    server = WebServer(Flask("served"), host="127.0.0.1", port=0)
    server.start()
    yield server
    server.stop()


def _connected(server: WebServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))


@pytest.mark.parametrize(
    "request_", [b"GET //[x HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET / HTTP/1.1\r\n folded: header\r\n\r\n"]
)
def test_a_malformed_request_is_refused_and_not_logged(served: WebServer, log: _Log, request_: bytes) -> None:
    with _connected(served) as client, client.makefile("rb") as answer:
        client.sendall(request_)
        assert answer.readline() == b"HTTP/1.1 400 Bad Request\r\n"
        assert answer.read()
    assert log.times == []


def test_without_a_free_file_handle_the_server_tries_again_now_and_then(
    served: WebServer, log: _Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def accept(_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(web_server, "_PAUSE_SECONDS", 0.2)
    server: Any = served._server
    monkeypatch.setattr(server._connections, "_from_server_socket", accept)
    with _connected(served):
        wait_until(lambda: len(log.times) >= 3)
    assert log.times[2] - log.times[0] >= 0.4


def test_without_a_free_thread_a_connection_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    server: Any = None
    busy = _BusyConnections(server)
    with socket.socket() as client:
        connection: Any = _Connection(client)
        with pytest.raises(RuntimeError, match="thread"):
            busy.put(connection)
    busy.stop(0)


def test_what_a_client_did_not_read_is_not_sent_later(served: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """From Python 3.13 on, a late try to send it prints a traceback."""
    left: list[socket.SocketIO] = []

    def write(to: socket.SocketIO, _: bytes) -> int:
        left.append(to)
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(socket.SocketIO, "write", write)
    with _connected(served) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: left and left[0].closed)


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
def test_an_address_of_another_machine_is_not_reported_as_in_use_by_another_exporter(host: str) -> None:
    with pytest.raises(AddressInUseError, match="Set EXPORTER_HOST to an address of this machine") as caught:
        check_address(host, 0)
    assert "another exporter" not in str(caught.value)
