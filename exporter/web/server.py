"""The HTTP server: a thread for each busy connection, limits, and a clean stop.

A client that sends or reads slowly occupies its thread. So the number of busy connections is bounded, and at the bound
the oldest is cut: a new one is served at once, however many dawdle.
"""

import contextlib
import errno
import logging
import socket
import ssl
import sys
import threading
import time

import structlog
from cheroot import wsgi
from cheroot.makefile import MakeFile
from cheroot.server import HTTPConnection, HTTPRequest
from cheroot.ssl import Adapter
from flask import Flask

from exporter.errors import ExporterError
from exporter.settings.watched import file_version
from exporter.web.config_file import Tls

_MOST_BUSY = 64
_LARGEST_REQUEST = 64 * 1024
_SILENCE_SECONDS = 10
_STOP_SECONDS = 2
_PAUSE_SECONDS = 1
"""The pause after an error: without a free file handle or thread, cheroot would try again at once, for ever."""

_log = structlog.get_logger("exporter.web")


class AddressInUseError(ExporterError):
    """The server cannot listen on the address."""

    def __init__(self, host: str, port: int, exc: OSError) -> None:
        advice = "Set EXPORTER_HOST to an address of this machine, and EXPORTER_PORT to a port that this user may open."
        if exc.errno == errno.EADDRINUSE:
            advice = "Is another exporter running? Set EXPORTER_PORT or EXPORTER_HOST to an address that is free."
        super().__init__(f"The exporter cannot listen on {host}:{port} ({exc.strerror}). {advice}")


def check_address(host: str, port: int) -> None:
    """Return if a server could listen on the address now. Raises AddressInUseError."""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[:1]:
            with socket.socket(family, kind, protocol) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(address)
                listener.listen(1)
    except OSError as exc:
        raise AddressInUseError(host, port, exc) from exc


class WebServer:
    """Serves an application on one address until ``stop``."""

    def __init__(self, app: Flask, *, host: str, port: int, tls: Tls | None = None) -> None:
        """Bind the address; with ``tls`` for HTTPS. Raises AddressInUseError."""
        self._server = _Server((host, port), app, server_name="cliproxy-exporter", shutdown_timeout=_STOP_SECONDS)
        self._server.timeout = _SILENCE_SECONDS
        self._server.request_queue_size = _MOST_BUSY
        self._server.max_request_header_size = _LARGEST_REQUEST
        self._server.max_request_body_size = _LARGEST_REQUEST
        if tls is not None:
            self._server.ssl_adapter = _Tls(tls)
        # cheroot's own pool has a fixed number of threads, and each waits for its client's first byte.
        self._server.requests = _BusyConnections(self._server)
        try:
            self._server.prepare()
        except OSError as exc:
            check_address(host, port)  # whose error gives a reason that people understand
            raise AddressInUseError(host, port, exc) from exc
        self._thread = threading.Thread(target=self._server.serve, name="web", daemon=True)

    @property
    def url(self) -> str:
        """The URL for a browser on this machine."""
        host, port = self._server.bind_addr[:2]
        if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
            host = "localhost"
        shown = f"[{host}]" if ":" in str(host) else host
        return f"http{'s' if self._server.ssl_adapter else ''}://{shown}:{port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.stop()
        self._thread.join(5)


class _Request(HTTPRequest):
    def parse_request(self) -> None:
        """Read the request. cheroot would answer 500 to some malformed ones, and log each with a traceback."""
        try:
            super().parse_request()
        except (ValueError, UnboundLocalError):  # a malformed URL, a first header that continues another
            self.simple_response("400 Bad Request")


class _Connection(HTTPConnection):
    RequestHandlerClass = _Request

    def close(self) -> None:
        """Also drop what the client did not read: from Python 3.13 on, a late try to send it prints a traceback."""
        super().close()
        with contextlib.suppress(OSError):
            self.wfile.close()


class _Server(wsgi.Server):
    ConnectionClass = _Connection

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """Log what cheroot would print, except that a client left early or failed in TLS."""
        if level >= logging.WARNING and not isinstance(sys.exception(), ssl.SSLError):
            _log.log(level, "web_server", message=msg, exc_info=traceback)
            time.sleep(_PAUSE_SECONDS)


class _Tls(Adapter):
    """HTTPS. The handshake is part of the first read, in the connection's own thread, where it holds up nobody."""

    def __init__(self, tls: Tls) -> None:
        super().__init__(str(tls.cert_file), str(tls.key_file))
        self._tls = tls
        self._context = tls.context()
        self._seen = self._versions()

    def wrap(self, sock: socket.socket) -> tuple[ssl.SSLSocket, dict[str, str]]:
        if (seen := self._versions()) != self._seen:
            self._seen = seen
            try:
                self._context = self._tls.context()
            except OSError as exc:  # a renewed certificate may come before its key
                why = f"The new certificate cannot be used ({exc.strerror or exc}); the one from before it is in use."
                _log.error("certificate_not_reloaded", message=why)
        wrapped = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return wrapped, self.get_environ()

    def bind(self, sock: socket.socket) -> socket.socket:
        return sock

    def get_environ(self) -> dict[str, str]:
        return {"wsgi.url_scheme": "https"}

    makefile = staticmethod(MakeFile)

    def _versions(self) -> list[tuple[int, ...] | None]:
        return [file_version(file) for file in (self._tls.cert_file, self._tls.key_file)]


class _BusyConnections:
    """Replaces cheroot's thread pool: a thread for each connection that is read or answered, oldest first."""

    min = 1

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._busy: dict[HTTPConnection, threading.Thread] = {}

    def start(self) -> None:
        """Does nothing: threads start when there is work."""

    def put(self, connection: HTTPConnection) -> None:
        """Read from a connection and answer; it goes back to the server if the client keeps it open."""
        thread = threading.Thread(target=self._serve, args=(connection,), name="web-client", daemon=True)
        with self._lock:
            while len(self._busy) >= _MOST_BUSY:
                oldest = next(iter(self._busy))
                del self._busy[oldest]
                _cut(oldest)
            thread.start()
            self._busy[connection] = thread

    def stop(self, seconds: float) -> None:
        """Give answers under way this many seconds to finish; then cut them."""
        with self._lock:
            rest = dict(self._busy)
        for connection in rest:
            if not connection.rfile.bytes_read:
                _cut(connection)  # a browser's spare connection: nothing was asked
        deadline = time.monotonic() + seconds
        for thread in rest.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        for connection in rest:
            _cut(connection)

    def _serve(self, connection: HTTPConnection) -> None:
        keep = False
        try:
            keep = connection.communicate()  # type: ignore[no-untyped-call] # cheroot's stubs lack it
        except OSError:
            pass  # the client is gone, or was cut
        finally:
            with self._lock:
                cut = self._busy.pop(connection, None) is None
            if keep and not cut:
                try:
                    self._server.put_conn(connection)
                except ValueError:  # the server has stopped meanwhile, and no longer closes connections
                    connection.close()
            else:
                connection.close()


def _cut(connection: HTTPConnection) -> None:
    with contextlib.suppress(OSError):  # it may already be gone
        connection.socket.shutdown(socket.SHUT_RDWR)
