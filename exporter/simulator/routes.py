"""The routes of each version, and their answers: the part of the server without sockets.

A route has its v0 name, even under v8: one name for one thing.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

from flask import Request

from exporter.simulator import bodies
from exporter.simulator.proxy import DemoProxy
from exporter.simulator.queue import Item
from exporter.simulator.versions import VersionNumber
from exporter.simulator.world import Credential

V0 = "/v0/management/"
V8 = "/v8/management/"

USAGE_QUEUE = "usage-queue"
USAGE = "usage"

Answer = tuple[int, Any]
"""Status and the body: a value that becomes JSON, or ready JSON bytes."""

Handler = Callable[[Request], Answer]

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
_MAX_INT64 = 2**63 - 1


def route_name(path: str) -> tuple[str, int | None]:
    """The v0 name of a management path and its API version (0 or 8); other paths have no version."""
    if path.startswith(V0):
        return path.removeprefix(V0), 0
    if path.startswith(V8):
        rest = path.removeprefix(V8)
        return _V8_NAMES.get(rest, rest), 8
    return path, None


def asked_count(text: str) -> int | None:
    """The requested number of records: 1 by default, ``None`` for what CPA refuses."""
    text = text.strip()
    if not text:
        return 1
    if not re.fullmatch(r"\+?[0-9]+", text):
        return None
    count = int(text)
    return count if 0 < count <= _MAX_INT64 else None


def array_of(items: Iterable[Item]) -> bytes:
    """The body of an answer with these elements."""
    return b"[" + b",".join(item.raw for item in items) + b"]"


class Routes:
    """The routes of one proxy, whose version may change at any time."""

    def __init__(self, proxy: DemoProxy) -> None:
        self._proxy = proxy
        self._v0: dict[tuple[str, str], tuple[Handler, VersionNumber]] = {}
        switch = "usage-statistics-enabled"
        self._add(switch, lambda _: (200, {switch: proxy.publishing}), since=(6, 0, 5))
        self._add("config", lambda _: (200, bodies.config(proxy)))
        self._add("auth-files", lambda _: (200, {"files": proxy.auth_files()}))
        self._add("api-key-usage", lambda _: (200, proxy.api_key_usage()), since=(6, 9, 47))
        self._add("api-keys", lambda _: (200, {"api-keys": bodies.api_keys(proxy)}))
        for route, provider in bodies.KEY_LISTS.items():
            since = (6, 6, 82) if route == "vertex-api-key" else (6, 3, 2)
            self._add(route, self._key_list(route, provider), since=since)
        self._add("api-call", self._api_call, method="POST", since=(6, 6, 63))
        plugins = {"plugins_enabled": True, "plugins_dir": "plugins", "plugins": []}
        self._add("plugins", lambda _: (200, plugins), since=(7, 1, 47))
        self._add("quota/providers", lambda _: (200, {"providers": []}), since=(7, 2, 141))
        no_plugin = {"error": "no quota provider available"}
        self._add("quota/fetch", lambda _: (501, no_plugin), method="POST", since=(7, 2, 141))

    def find(self, method: str, name: str, version: int) -> Handler | None:
        """The handler of a call, or ``None`` if this version has no such route."""
        if version == 8:
            if method == "GET" and (name == "config" or name.startswith("config/")):
                return self._config_node(name.split("/")[1:])
            if name not in _V8_NAMES.values():
                return None
        if method == "GET" and name == USAGE_QUEUE and self._proxy.has_http_queue:
            return self._pop
        if method == "GET" and name == USAGE and version == 0 and self._proxy.has_usage_snapshot:
            return lambda _: (200, self._proxy.usage_snapshot())
        handler, since = self._v0.get((method, name), (None, (0, 0, 0)))
        return handler if self._proxy.version_number >= since else None

    def _add(self, name: str, handler: Handler, *, method: str = "GET", since: VersionNumber = (0, 0, 0)) -> None:
        self._v0[method, name] = (handler, since)

    def _config_node(self, keys: list[str]) -> Handler | None:
        node: Any = bodies.config_v8(self._proxy)
        for key in keys:
            if not isinstance(node, dict) or key not in node:
                return None
            node = node[key]
        return lambda _: (200, node)

    def _pop(self, call: Request) -> Answer:
        count = asked_count(call.args.get("count", ""))
        if count is None:
            return 400, {"error": "count must be a positive integer"}
        return 200, array_of(self._proxy.pop(count))

    def _key_list(self, route: str, provider: str) -> Handler:
        return lambda _: (200, {route: bodies.key_list(self._proxy, provider, with_auth_index=True)})

    def _credential(self, body: dict[str, Any]) -> Credential | None:
        handles = {self._proxy.auth_index(credential): credential for credential in self._proxy.accounts}
        return handles.get(body.get("auth_index", ""))

    def _api_call(self, call: Request) -> Answer:
        body: Any = call.get_json(force=True, silent=True)
        problem = _api_call_problem(body)
        if problem:
            return 400, {"error": problem}
        vendor = self._proxy.vendors.answer(self._credential(body), body)
        if vendor is None:
            return 502, {"error": "request failed"}
        status, header, text = vendor
        return 200, {"status_code": status, "header": header, "body": text}


def _api_call_problem(body: Any) -> str:
    if not isinstance(body, dict) or not isinstance(body.get("data", ""), str):
        return "invalid body"
    for field in ("method", "url"):
        if not body.get(field):
            return f"missing {field}"
    return "" if re.match(r"https?://[^/]+", str(body["url"])) else "invalid url"
