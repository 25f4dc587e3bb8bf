"""Serves the demo proxy over HTTP."""

import socket
import threading
from typing import Any, Self

from werkzeug import Request
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from exporter.simulator.proxy import DemoProxy
from exporter.simulator.routes import Routes

_STOP_POLL_SECONDS = 0.02


class HttpHandler(WSGIRequestHandler):
    """Speaks HTTP/1.1, logs nothing, and like CPA sends no ``Server`` header."""

    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        """Nothing."""

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Server":
            super().send_header(keyword, value)


class DemoServer:
    """Serves a ``DemoProxy`` on ``host``:``port`` (0: a free port, known from the start) until ``stop``.

    ``routes`` answer in place of the proxy's own. Also a context manager. Raises ``OSError`` if the port is not
    available.
    """

    handler: type[HttpHandler] = HttpHandler

    def __init__(
        self, proxy: DemoProxy, *, host: str = "127.0.0.1", port: int = 0, routes: Routes | None = None
    ) -> None:
        self.host = host
        app = Request.application((routes or Routes(proxy)).answer)
        # Our own socket: werkzeug would end the whole program if the port is taken.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family) as listening:
            self._server: BaseWSGIServer = make_server(
                host, port, app, threaded=True, request_handler=self.handler, fd=listening.fileno()
            )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_STOP_POLL_SECONDS,), name="demo-proxy", daemon=True
        )
        self.port: int = self._server.port

    @property
    def url(self) -> str:
        """The base URL, without a path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close the port. May be called twice."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
