"""Serves the demo proxy over HTTP: refusals and headers of CPA v6 to v8, byte for byte where it matters."""

import socket
import threading
from typing import Any, Self

import msgspec
from flask import Flask, Response, request
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from exporter.simulator import bodies
from exporter.simulator.proxy import DemoProxy
from exporter.simulator.routes import Handler, Routes, route_name

_JSON = "application/json; charset=utf-8"
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_HEADERS_READ = ("Authorization", "X-Management-Key", "X-Forwarded-For", "X-Real-IP")
_STOP_POLL_SECONDS = 0.02
_EXPOSED = (
    "X-CPA-TRACE-ID, X-CPA-VERSION, X-CPA-COMMIT, X-CPA-BUILD-DATE, X-CPA-SUPPORT-PLUGIN, X-CPA-HOME-VERSION, "
    "X-CPA-HOME-BUILD-DATE, X-SERVER-VERSION, X-SERVER-BUILD-DATE, Location, Retry-After, X-Request-Id, "
    "OpenAI-Request-Id"
)


class View:
    """Answers the requests of one application. Only the proxy has state."""

    def __init__(self, proxy: DemoProxy, routes: Routes) -> None:
        self._proxy = proxy
        self._routes = routes

    def answer(self) -> Response:
        proxy = self._proxy
        name, version = route_name(request.path)
        if request.method == "OPTIONS":
            return self._finish(_empty(204), versioned=False)
        if version is None:
            return self._public()
        if not proxy.management:
            # Before v7.1.47 CPA does not even register the routes without a key.
            return self._no_route() if not self._checks_first else self._finish(_empty(404), versioned=False)
        if (version == 8 and proxy.version_number < (8, 0, 0)) or (version == 0 and proxy.without_v0):
            return self._no_route()
        return self._management(name, version)

    @property
    def _checks_first(self) -> bool:
        """From v7.1.47 on, an unknown management path needs the key, too."""
        return self._proxy.version_number >= (7, 1, 47)

    def _public(self) -> Response:
        number = self._proxy.version_number
        asked = request.method == "GET" or (request.method == "HEAD" and number >= (6, 9, 31))
        if request.path == "/healthz" and asked and number >= (6, 9, 10):
            return self._json(200, {"status": "ok"}, versioned=False)
        if request.path == "/" and request.method == "GET":
            return self._json(200, bodies.ROOT, versioned=False)
        return self._no_route()

    def _management(self, name: str, version: int) -> Response:
        proxy = self._proxy
        handler = self._routes.find(request.method, name, version)
        if handler is None and not self._checks_first:
            return self._no_route()
        headers = {header: request.headers.get(header, "") for header in _HEADERS_READ}
        refusal = proxy.door.check(headers, request.remote_addr or "")
        if refusal is not None:
            return self._json(refusal.status, {"error": refusal.error})
        if handler is None:
            in_config = version == 8 and name.startswith("config/")
            return self._json(404, {"error": "not_found"}) if in_config else self._finish(_empty(404))
        return self._called(name, handler)

    def _called(self, _name: str, handler: Handler) -> Response:
        return self._json(*handler(request))

    # --- headers ------------------------------------------------------------------------------------------------------

    def _json(self, status: int, body: Any, *, versioned: bool = True) -> Response:
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return self._finish(Response(raw, status=status, content_type=_JSON), versioned=versioned)

    def _no_route(self) -> Response:
        """The web framework's own page, without a check or a version."""
        response = Response(b"404 page not found", status=404)
        response.headers["Content-Type"] = "text/plain"
        return self._finish(response, versioned=False)

    def _finish(self, response: Response, *, versioned: bool = True) -> Response:
        headers, number = response.headers, self._proxy.version_number
        headers["Access-Control-Allow-Headers"] = "*"
        headers["Access-Control-Allow-Methods"] = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
        headers["Access-Control-Allow-Origin"] = "*"
        # v7.1.0 exposes nothing, v7.2.140 does; the plugin header came with v7.1.69.
        if number >= (7, 1, 69):
            headers["Access-Control-Expose-Headers"] = _EXPOSED
        if versioned and number >= (6, 3, 36):
            headers["X-Cpa-Build-Date"] = "unknown"
            headers["X-Cpa-Commit"] = "demo"
            if self._proxy.shown_version:
                headers["X-Cpa-Version"] = self._proxy.shown_version
            if number >= (7, 1, 69):
                headers["X-Cpa-Support-Plugin"] = "1"
        return response


def _empty(status: int) -> Response:
    response = Response(status=status)
    response.headers.pop("Content-Type", None)
    return response


def make_app(view: View) -> Flask:
    """The Flask application whose answers a view gives."""
    app = Flask(__name__, static_folder=None)
    for rule in ("/", "/<path:_>"):
        app.add_url_rule(rule, rule, lambda _="": view.answer(), methods=_METHODS, provide_automatic_options=False)
    return app


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

    ``view`` answers in place of the proxy's own. Also a context manager. Raises ``OSError`` if the port is not
    available.
    """

    handler: type[HttpHandler] = HttpHandler

    def __init__(self, proxy: DemoProxy, *, host: str = "127.0.0.1", port: int = 0, view: View | None = None) -> None:
        self.host = host
        app = make_app(view or View(proxy, Routes(proxy)))
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
