"""Serves the demo proxy over HTTP: the routes of the Management API.

A route has its v0 name, even under v8: one name for one thing.
"""

import socket
import threading
from collections.abc import Callable
from typing import Any, Self

import msgspec
from werkzeug import Request, Response
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from exporter.simulator.options import VERSIONS
from exporter.simulator.proxy import DemoProxy
from exporter.simulator.quotas import vendor_answer
from exporter.simulator.world import CLIENTS

V0 = "/v0/management/"
V8 = "/v8/management/"
_STOP_POLL_SECONDS = 0.02

USAGE_QUEUE = "usage-queue"
USAGE = "usage"

Answer = tuple[int, Any]
"""Status and the body: a value that becomes JSON, or ready JSON bytes."""

Handler = Callable[[Request], Answer]

_LOCAL = {"127.0.0.1", "::1"}

# v8 path -> the name of the same route under v0.
_V8_NAMES = {
    "observability/usage/queue": USAGE_QUEUE,
    "observability/usage/api-keys": "api-key-usage",
    "credentials": "auth-files",
    "requests/api-call": "api-call",
    "config": "config",
    "server/latest-version": "latest-version",
    "credentials/quota/providers": "quota/providers",
    "credentials/quota/fetch": "quota/fetch",
    "plugins": "plugins",
}


def route_name(path: str) -> tuple[str, int | None]:
    """The v0 name of a management path and its API version (0 or 8); other paths have no version."""
    if path.startswith(V0):
        return path.removeprefix(V0), 0
    if path.startswith(V8):
        rest = path.removeprefix(V8)
        return _V8_NAMES.get(rest, rest), 8
    return path, None


class Routes:
    """Answers the calls to one proxy, whose version may change at any time."""

    def __init__(self, proxy: DemoProxy) -> None:
        self._proxy = proxy
        self._handlers: dict[tuple[str, str], Handler] = {}
        self._add("usage-statistics-enabled", lambda _: (200, {"usage-statistics-enabled": True}))
        self._add("config", self._config)
        self._add("auth-files", lambda _: (200, {"files": proxy.auth_files()}))
        self._add("api-key-usage", lambda _: (200, proxy.api_key_usage()))
        self._add("api-keys", lambda _: (200, {"api-keys": [client.key for client in CLIENTS]}))
        for provider in ("gemini", "claude", "codex", "vertex"):
            self._add(f"{provider}-api-key", self._key_list(f"{provider}-api-key", provider))
        self._add("openai-compatibility", self._key_list("openai-compatibility", "openrouter"))
        self._add(USAGE_QUEUE, self._pop)
        self._add(USAGE, lambda _: (200, proxy.usage_snapshot()))
        self._add("api-call", self._api_call, method="POST")

    def answer(self, call: Request) -> Response:
        """The response to a call, with CPA's refusals."""
        name, version = route_name(call.path)
        if version is None or (version == 8 and self._proxy.version != VERSIONS["8"]):
            return Response(status=404)
        refusal = self._refusal(call)
        if refusal is not None:
            return self.respond(*refusal)
        handler = self.find(call.method, name, version)
        return Response(status=404) if handler is None else self.respond(*handler(call))

    def _refusal(self, call: Request) -> Answer | None:
        """The answer to a call that is refused. CPA also bans a caller that fails five times; this proxy does not."""
        if call.remote_addr not in _LOCAL and not self._proxy.allow_remote:
            return 403, {"error": "remote management disabled"}
        if call.headers.get("Authorization") != f"Bearer {self._proxy.key}":
            return 401, {"error": "invalid management key"}
        return None

    def respond(self, status: int, body: Any) -> Response:
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        headers = {"X-Cpa-Version": self._proxy.version, "X-Cpa-Commit": "demo"}
        return Response(raw, status=status, headers=headers, content_type="application/json; charset=utf-8")

    def find(self, method: str, name: str, version: int) -> Handler | None:
        """The handler of a call, or ``None`` if this version has no such route."""
        if version == 8 and name not in _V8_NAMES.values():
            return None
        if name in (USAGE, USAGE_QUEUE) and (name == USAGE) != self._proxy.has_usage_snapshot:
            return None
        return self._handlers.get((method, name))

    def _add(self, name: str, handler: Handler, *, method: str = "GET") -> None:
        self._handlers[method, name] = handler

    def _config(self, _: Request) -> Answer:
        return 200, {
            "usage-statistics-enabled": True,
            "redis-usage-queue-retention-seconds": self._proxy.retention_seconds,
        }

    def _pop(self, call: Request) -> Answer:
        asked = call.args.get("count", "1")
        count = int(asked) if asked.isdecimal() else 0
        if count < 1:
            return 400, {"error": "count must be a positive integer"}
        return 200, b"[" + b",".join(item.raw for item in self._proxy.pop(count)) + b"]"

    def _key_list(self, route: str, provider: str) -> Handler:
        """A handler that lists a provider's configured keys; OpenAI-compatible ones are grouped by their upstream."""
        keys = [
            {"api-key": each.key, "base-url": each.base_url, "auth-index": each.auth_index}
            for each in self._proxy.accounts
            if each.kind == "apikey" and each.provider == provider
        ]
        listed = [{"name": provider, "api-key-entries": keys}] if route == "openai-compatibility" else keys
        return lambda _: (200, {route: listed})

    def _api_call(self, call: Request) -> Answer:
        body = call.get_json()
        credential = next((each for each in self._proxy.accounts if each.auth_index == body.get("auth_index")), None)
        answer = vendor_answer(credential, body["url"], self._proxy.clock.now())
        if answer is None:
            return 502, {"error": "request failed"}
        return 200, {"status_code": answer[0], "header": {"Content-Type": ["application/json"]}, "body": answer[1]}


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
