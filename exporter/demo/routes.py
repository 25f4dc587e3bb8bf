"""Which routes a version has, and what each answers: the part of the server that knows no sockets.

A route is known by its v0 name, under v8 too, so that counts and faults have one name for one thing.
"""

import re
from collections.abc import Callable
from typing import Any

from flask import Request

from exporter.demo import bodies, quotas
from exporter.demo.proxy import DemoProxy

V0 = "/v0/management/"
V8 = "/v8/management/"

USAGE_QUEUE = "usage-queue"

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
}
# POST routes that change nothing.
_READING_POSTS = {"api-call", "quota/fetch"}
_MAX_INT64 = 2**63 - 1


def route_name(path: str) -> tuple[str, int | None]:
    """The v0 name of a management path and its API version (0 or 8); other paths have no version."""
    if path.startswith(V0):
        return path.removeprefix(V0), 0
    if path.startswith(V8):
        rest = path.removeprefix(V8)
        return _V8_NAMES.get(rest, rest), 8
    return path, None


def is_mutating(method: str, name: str) -> bool:
    """Whether the call would change the proxy or one of its credentials."""
    return method not in {"GET", "HEAD", "OPTIONS"} and name not in _READING_POSTS


def asked_count(text: str) -> int | None:
    """The number of records asked for: 1 by default, ``None`` for what CPA refuses."""
    text = text.strip()
    if not text:
        return 1
    if not re.fullmatch(r"\+?[0-9]+", text):
        return None
    count = int(text)
    return count if 0 < count <= _MAX_INT64 else None


class Routes:
    """The routes of one proxy."""

    def __init__(self, proxy: DemoProxy) -> None:
        self._proxy = proxy
        self._v0: dict[tuple[str, str], Handler] = {}
        number = proxy.version_number
        self._add("usage-statistics-enabled", self._switch)
        for method in ("PUT", "PATCH"):
            self._add("usage-statistics-enabled", self._set_switch, method=method)
        self._add("config", lambda _: (200, bodies.config(proxy)))
        self._add("auth-files", self._auth_files)
        self._add("api-key-usage", lambda _: (200, proxy.api_key_usage()), since=number >= (6, 9, 49))
        self._add("api-keys", lambda _: (200, {"api-keys": bodies.api_keys()}))
        self._add("latest-version", lambda _: (502, bodies.LATEST_VERSION_ERROR))
        for route, provider in bodies.KEY_LISTS.items():
            self._add(route, self._key_list(route, provider))
        self._add("usage", lambda _: (200, proxy.usage_snapshot()), since=proxy.has_usage_snapshot)
        self._add("api-call", self._api_call, method="POST")
        self._add("quota/providers", lambda _: (200, {"providers": []}), since=number >= (8, 0, 0))
        refused = 501, {"error": "no quota provider available"}
        self._add("quota/fetch", lambda _: refused, method="POST", since=number >= (8, 0, 0))

    def find(self, method: str, name: str, version: int) -> Handler | None:
        """What answers a call, or ``None`` when this version has no such route."""
        if version == 8:
            if method == "GET" and (name == "config" or name.startswith("config/")):
                return self._config_node(name.split("/")[1:])
            if name not in _V8_NAMES.values():
                return None
        return self._v0.get((method, name))

    def _add(self, name: str, handler: Handler, *, method: str = "GET", since: bool = True) -> None:
        if since:
            self._v0[method, name] = handler

    def _config_node(self, keys: list[str]) -> Handler | None:
        node: Any = bodies.config_v8(self._proxy)
        for key in keys:
            if not isinstance(node, dict) or key not in node:
                return None
            node = node[key]
        return lambda _: (200, node)

    def _switch(self, _: Request) -> Answer:
        return 200, {"usage-statistics-enabled": self._proxy.publishing}

    def _set_switch(self, call: Request) -> Answer:
        body = call.get_json(force=True, silent=True)
        if not isinstance(body, dict) or not isinstance(body.get("value"), bool):
            return 400, {"error": "invalid body"}
        self._proxy.publishing = body["value"]
        return 200, {"status": "ok"}

    def _auth_files(self, call: Request) -> Answer:
        entries = self._proxy.auth_files()
        for field in ("name", "auth_index"):
            wanted = call.args.get(field, "")
            if wanted:
                entries = [entry for entry in entries if entry[field] == wanted]
        page, size = call.args.get("page", type=int), call.args.get("page_size", type=int)
        if page and size and call.path.startswith(V8):
            entries = entries[(page - 1) * size : page * size]
        return 200, {"files": entries}

    def _key_list(self, route: str, provider: str) -> Handler:
        return lambda _: (200, {route: bodies.key_list(provider, with_auth_index=True)})

    def _api_call(self, call: Request) -> Answer:
        body: Any = call.get_json(force=True, silent=True)
        problem = _api_call_problem(body)
        if problem:
            return 400, {"error": problem}
        vendor = quotas.vendor_answer(str(body.get("auth_index", "")), body["url"], self._proxy.clock.now())
        if vendor is None:
            return 502, {"error": "request failed"}
        status, text = vendor
        header = {"Content-Length": [str(len(text))], "Content-Type": ["application/json"]}
        return 200, {"status_code": status, "header": header, "body": text}


def _api_call_problem(body: Any) -> str:
    if not isinstance(body, dict) or not isinstance(body.get("data", ""), str):
        return "invalid body"
    for field in ("method", "url"):
        if not body.get(field):
            return f"missing {field}"
    return "" if re.match(r"https?://[^/]+", str(body["url"])) else "invalid url"
