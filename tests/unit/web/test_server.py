"""The fate of a connection after its answer. Other tests cover the rest of the server over HTTP."""

import socket
import threading
from typing import Any

import pytest

from exporter.web.server import _BusyConnections


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
