"""Ending an HTTP call of httpx from another thread: when it takes too long, or because the program stops.

Closing a client does not wake the thread that waits in it, and httpx' time-outs begin anew with each piece that
arrives. Shutting the socket down ends the call at once, as if the other side had gone.
"""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any


class Cutter:
    """The socket that a client with one connection uses. Give ``trace`` to each request as its extension ``trace``."""

    def __init__(self) -> None:
        self.late = False
        """Whether the last call was cut because it took too long."""
        self._closed = False
        self._socket: socket.socket | None = None

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Keep the socket in use. Called by httpx."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")
            if self._closed or self.late:
                self._cut()

    @contextmanager
    def limited(self, seconds: float) -> Iterator[None]:
        """The call in this block is cut after ``seconds``."""
        self.late = False
        # A timer and not the clock between two chunks: headers may drip as well, inside the library.
        timer = threading.Timer(seconds, self._expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def close(self) -> None:
        """Cut the call under way, and every later one."""
        self._closed = True
        self._cut()

    @property
    def closed(self) -> bool:
        return self._closed

    def _expire(self) -> None:
        self.late = True
        self._cut()

    def _cut(self) -> None:
        if self._socket is not None:
            # The plain socket's method: that of a TLS socket drops its TLS state while the other thread still writes.
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
