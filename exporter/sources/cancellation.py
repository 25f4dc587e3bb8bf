"""Ends an httpx call from another thread, when it takes too long or the program stops.

Closing a client does not wake the thread that waits in it, and httpx's time-outs restart with each piece that arrives.
Shutting the socket down ends the call at once, as if the other side had gone.
"""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any


class Cancellation:
    """Cancels the call of a client with one connection. Pass ``trace`` to each request as its extension ``trace``."""

    def __init__(self) -> None:
        self.timed_out = False
        """Whether the last call was cancelled because it took too long."""
        self.cancelled = False
        """Whether every call from now on fails."""
        self._socket: socket.socket | None = None

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Remember the socket in use. httpx calls this."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")
            if self.cancelled or self.timed_out:
                self._shut_down()

    @contextmanager
    def limited(self, seconds: float) -> Iterator[None]:
        """Cancel the call in this block after ``seconds``."""
        self.timed_out = False
        # A timer, not a check between two chunks: headers may drip, too, inside the library.
        timer = threading.Timer(seconds, self._expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def cancel(self) -> None:
        """Cancel the call under way, and every later one."""
        self.cancelled = True
        self._shut_down()

    def _expire(self) -> None:
        self.timed_out = True
        self._shut_down()

    def _shut_down(self) -> None:
        if self._socket is not None:
            # The plain socket's method: a TLS socket's own drops its TLS state while the other thread still writes.
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
