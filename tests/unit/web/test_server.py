"""What becomes of a connection that was answered. All else of the server is tested over HTTP."""

import socket
import threading
from typing import Any

import pytest

from exporter.web.server import _BusyConnections


class _Server:
    """A server that is told to stop while a connection goes back to it."""

    def __init__(self, *, is_closed: bool, stops: bool) -> None:
        self.ready = True
        self._is_closed, self._stops = is_closed, stops

    def put_conn(self, _connection: object) -> None:
        self.ready = not self._stops
        if self._is_closed:
            raise ValueError("I/O operation on closed epoll object")


class _Connection:
    """A client's, answered and kept open."""

    def __init__(self, kept: socket.socket) -> None:
        self.socket = kept

    def communicate(self) -> bool:
        return True

    def close(self) -> None:
        self.socket.close()


@pytest.mark.parametrize(
    ("is_closed", "stops"), [(False, False), (False, True), (True, True)], ids=["goes on", "stops", "has stopped"]
)
def test_a_connection_that_comes_back_to_a_server_that_stops_is_closed(is_closed: bool, stops: bool) -> None:
    server: Any = _Server(is_closed=is_closed, stops=stops)
    with socket.socket() as kept:
        connection: Any = _Connection(kept)
        busy = _BusyConnections(server)
        busy._busy[connection] = threading.current_thread()
        busy._serve(connection)

        assert (kept.fileno() == -1) is stops
