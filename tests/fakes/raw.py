"""A TCP server that handles each connection as a test says, to commit faults that no HTTP server would."""

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from tests.stack.waiting import PATIENCE_SECONDS, wait_until

_STEP_SECONDS = 0.02

Script = Callable[[socket.socket, threading.Event], None]
"""Gets a connection whose request is read, and an event that is set when the server stops. The server closes it."""


class RawServer:
    """Runs one script per connection and repeats the last one. Use it in a ``with`` statement."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = scripts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self.connections = 0
        self.asked = threading.Event()
        """Set once a request has arrived."""
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._acceptor = threading.Thread(target=self._accept)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection, script))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, script: Script) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(PATIENCE_SECONDS)
            request = b""
            while b"\r\n\r\n" not in request:
                part = connection.recv(65_536)
                if not part:
                    return
                request += part
                if not request.startswith(b"GET "):
                    break  # a TLS handshake
            self.asked.set()
            script(connection, self._stopped)

    def connections_after(self, expected: int) -> int:
        """The number of connections, once the ``expected`` ones are among them.

        A client whose call has timed out may give up a connection before this server accepts it.
        """
        wait_until(lambda: self.connections >= expected)
        return self.connections

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in [self._acceptor, *self._threads]:
            thread.join(PATIENCE_SECONDS)


def send(*parts: bytes) -> Script:
    """Send ``parts``, then close."""

    def script(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(b"".join(parts))

    return script


def hang(after: bytes = b"") -> Script:
    """Send ``after``, then nothing more until the server stops."""

    def script(connection: socket.socket, stopped: threading.Event) -> None:
        connection.sendall(after)
        stopped.wait()

    return script


def drip(head: bytes, drops: bytes) -> Script:
    """Send the head, then ``drops`` over and over, one byte at a time, forever."""

    def script(connection: socket.socket, stopped: threading.Event) -> None:
        connection.sendall(head)
        position = 0
        while not stopped.wait(_STEP_SECONDS):
            connection.sendall(drops[position % len(drops) :][:1])
            position += 1

    return script


def head(status: str = "200 OK", *, length: int | None = None, headers: Sequence[str] = ()) -> bytes:
    """The head of an HTTP answer as CPA sends it."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json; charset=utf-8", "X-Cpa-Version: v7.2.140"]
    lines += [f"Content-Length: {length}"] if length is not None else []
    return ("\r\n".join([*lines, *headers]) + "\r\n\r\n").encode()
