"""The HTTP server around the web application: threads, limits and a clean stop."""

import socket
import threading

from cheroot import wsgi
from flask import Flask

from exporter.errors import ExporterError

_THREADS = 8
_LARGEST_REQUEST = 64 * 1024


class AddressInUseError(ExporterError):
    """The address cannot be listened on."""


class WebServer:
    """Serves an application on one address until ``stop``."""

    def __init__(self, app: Flask, *, host: str, port: int) -> None:
        """Bind the address. Raises AddressInUseError."""
        self._server = wsgi.Server(
            (host, port), app, numthreads=_THREADS, server_name="cliproxy-exporter", shutdown_timeout=2
        )
        self._server.max_request_header_size = _LARGEST_REQUEST
        self._server.max_request_body_size = _LARGEST_REQUEST
        try:
            self._server.prepare()
        except OSError as exc:
            raise AddressInUseError(
                f"{host}:{port} cannot be listened on ({exc}). Is another exporter running? Set EXPORTER_PORT or"
                " EXPORTER_HOST to an address that is free."
            ) from exc
        self._thread = threading.Thread(target=self._server.serve, name="web", daemon=True)

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        host, port = self._server.bind_addr[:2]
        if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
            host = "localhost"
        try:
            socket.inet_pton(socket.AF_INET6, str(host))
            host = f"[{host}]"
        except OSError:
            pass
        return f"http://{host}:{port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.stop()
        self._thread.join(5)
