"""The routes of any version, with CPA's headers and 404s, even those that the exporter must not call.

Byte for byte where it matters.
"""

import re
from typing import Any

import msgspec
from werkzeug import Request, Response

from exporter.simulator.server import USAGE, USAGE_QUEUE, V8, Answer, Handler, Routes, route_name
from exporter.simulator.world import Credential
from tests.fakes.steered import bodies
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.versions import VersionNumber, key_list_at

LATEST_VERSION_ERROR = {
    "error": "request_failed",
    "message": 'Get "https://api.github.com/repos/router-for-me/CLIProxyAPI/releases/latest": dial tcp: no such host',
}
_ROOT = {
    "endpoints": ["POST /v1/chat/completions", "POST /v1/completions", "GET /v1/models"],
    "message": "CLI Proxy API Server",
}
# POST routes that change nothing.
_READING_POSTS = {"api-call", "quota/fetch"}
_SINCE: dict[str, VersionNumber] = {
    "usage-statistics-enabled": (6, 0, 5),
    "claude-api-key": (6, 3, 2),
    "codex-api-key": (6, 3, 2),
    "gemini-api-key": (6, 3, 2),
    "openai-compatibility": (6, 3, 2),
    "latest-version": (6, 5, 42),
    "usage/export": (6, 6, 56),
    "usage/import": (6, 6, 56),
    "api-call": (6, 6, 63),
    "vertex-api-key": (6, 6, 82),
    "api-key-usage": (6, 9, 47),
    "plugins": (7, 1, 47),
    "quota/providers": (7, 2, 141),
    "quota/fetch": (7, 2, 141),
}
_MAX_INT64 = 2**63 - 1
_EXPOSED = (
    "X-CPA-TRACE-ID, X-CPA-VERSION, X-CPA-COMMIT, X-CPA-BUILD-DATE, X-CPA-SUPPORT-PLUGIN, X-CPA-HOME-VERSION, "
    "X-CPA-HOME-BUILD-DATE, X-SERVER-VERSION, X-SERVER-BUILD-DATE, Location, Retry-After, X-Request-Id, "
    "OpenAI-Request-Id"
)


def is_mutating(method: str, name: str) -> bool:
    """Whether the call would change the proxy or one of its credentials."""
    return method not in {"GET", "HEAD", "OPTIONS"} and name not in _READING_POSTS


def asked_count(text: str) -> int | None:
    """The requested number of records: 1 by default, ``None`` for a number that CPA refuses."""
    text = text.strip()
    if not text:
        return 1
    if not re.fullmatch(r"\+?[0-9]+", text):
        return None
    count = int(text)
    return count if 0 < count <= _MAX_INT64 else None


class SteeredRoutes(Routes):
    _proxy: SteeredProxy

    def __init__(self, proxy: SteeredProxy) -> None:
        super().__init__(proxy)
        self._add("usage-statistics-enabled", lambda _: (200, {"usage-statistics-enabled": proxy.publishing}))
        self._add("api-keys", lambda _: (200, {"api-keys": bodies.api_keys(proxy)}))
        for method in ("PUT", "PATCH"):
            self._add("usage-statistics-enabled", self._set_switch, method=method)
        self._add("auth-files", self._auth_files)
        self._add("latest-version", lambda _: (502, LATEST_VERSION_ERROR))
        self._add("usage/export", self._export_usage)
        self._add("usage/import", self._import_usage, method="POST")
        self._add("plugins", self._plugins)
        self._add("quota/providers", lambda _: (200, {"providers": proxy.vendors.quota_plugins()}))
        self._add("quota/fetch", self._quota_fetch, method="POST")

    # --- one call -----------------------------------------------------------------------------------------------------

    def answer(self, call: Request) -> Response:
        proxy = self._proxy
        name, version = route_name(call.path)
        if call.method == "OPTIONS":
            return self._finish(_empty(204), versioned=False)
        if version is None:
            return self._public(call)
        if not proxy.management:
            # Before v7.1.47 CPA does not even register the routes without a key.
            return self._no_route() if not self._checks_first else self._finish(_empty(404), versioned=False)
        if (version == 8 and not proxy.has_v8_paths) or (version == 0 and proxy.without_v0):
            return self._no_route()
        return self._management(call, name, version)

    def _management(self, call: Request, name: str, version: int) -> Response:
        handler = self.find(call.method, name, version)
        if handler is None and not self._checks_first:
            return self._no_route()
        refusal = self._refusal(call)
        if refusal is not None:
            return self.respond(*refusal)
        if handler is None:
            in_config = version == 8 and name.startswith("config/")
            return self.respond(404, {"error": "not_found"}) if in_config else self._finish(_empty(404))
        return self._called(call, name, handler)

    @property
    def _checks_first(self) -> bool:
        """Whether the key is checked first: from v7.1.47 on, even an unknown management path needs it."""
        return self._proxy.version_number >= (7, 1, 47)

    def _refusal(self, call: Request) -> Answer | None:
        refusal = self._proxy.logins.check(call.headers, call.remote_addr or "")
        return None if refusal is None else (refusal[0], {"error": refusal[1]})

    def _public(self, call: Request) -> Response:
        number = self._proxy.version_number
        asked = call.method == "GET" or (call.method == "HEAD" and number >= (6, 9, 31))
        if call.path == "/healthz" and asked and number >= (6, 9, 10):
            return self.respond(200, {"status": "ok"}, versioned=False)
        if call.path == "/" and call.method == "GET":
            return self.respond(200, _ROOT, versioned=False)
        return self._no_route()

    def _called(self, call: Request, _name: str, handler: Handler) -> Response:
        return self.respond(*handler(call))

    def respond(self, status: int, body: Any, *, versioned: bool = True) -> Response:
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        response = Response(raw, status=status, content_type="application/json; charset=utf-8")
        return self._finish(response, versioned=versioned)

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

    # --- routes -------------------------------------------------------------------------------------------------------

    def find(self, method: str, name: str, version: int) -> Handler | None:
        if name.startswith(f"{USAGE}/") and not self._proxy.has_usage_snapshot:
            return None
        if version == 8 and method == "GET" and (name == "config" or name.startswith("config/")):
            return self._config_node(name.split("/")[1:])
        if name in (USAGE, USAGE_QUEUE):  # a fork may have both
            has_usage = self._proxy.has_usage_snapshot and version == 0
            has_it = has_usage if name == USAGE else self._proxy.has_http_queue
            return self._handlers.get((method, name)) if has_it else None
        known = self._proxy.version_number >= _SINCE.get(name, (0, 0, 0))
        return super().find(method, name, version) if known else None

    def _pop(self, call: Request) -> Answer:
        if asked_count(call.args.get("count", "")) is None:
            return 400, {"error": "count must be a positive integer"}
        return super()._pop(call)

    def _config(self, _: Request) -> Answer:
        return 200, bodies.config(self._proxy)

    def _config_node(self, keys: list[str]) -> Handler | None:
        node: Any = bodies.config_v8(self._proxy)
        for key in keys:
            if not isinstance(node, dict) or key not in node:
                return None
            node = node[key]
        return lambda _: (200, node)

    def _key_list(self, route: str, provider: str) -> Handler:
        def listed(_: Request) -> Answer:
            newest = bodies.key_list(self._proxy, provider, with_auth_index=True)
            return 200, {route: key_list_at(self._proxy.version_number, newest)}

        return listed

    def _api_call(self, call: Request) -> Answer:
        body: Any = call.get_json(force=True, silent=True)
        problem = _api_call_problem(body)
        if problem:
            return 400, {"error": problem}
        answer = self._proxy.vendors.answer(self._credential(body), body)
        if answer is None:
            return 502, {"error": "request failed"}
        return 200, {"status_code": answer[0], "header": answer[1], "body": answer[2]}

    def _credential(self, body: dict[str, Any]) -> Credential | None:
        handles = {self._proxy.auth_index(credential): credential for credential in self._proxy.accounts}
        return handles.get(body.get("auth_index", ""))

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

    def _export_usage(self, _: Request) -> Answer:
        return 200, self._proxy.export_usage()

    def _import_usage(self, call: Request) -> Answer:
        try:
            return 200, self._proxy.import_usage(call.get_json(force=True, silent=True))
        except ValueError as error:
            return 400, {"error": str(error)}

    def _plugins(self, _: Request) -> Answer:
        """The installed plugins, as the source of v7 lists them, without the fields that nobody reads here."""
        listed = [
            {"id": name, "configured": True, "registered": True, "enabled": runs, "effective_enabled": runs}
            for name, runs in sorted(self._proxy.plugins.items())
        ]
        return 200, {"plugins_enabled": True, "plugins_dir": "plugins", "plugins": listed}

    def _quota_fetch(self, call: Request) -> Answer:
        vendors = self._proxy.vendors
        credential = self._credential(call.get_json(force=True, silent=True) or {})
        if vendors.quota_plugins() and credential is None:
            return 404, {"error": "auth_index not found"}
        report = vendors.fetched_by_plugin(credential) if credential is not None else None
        return (501, {"error": "no quota provider available"}) if report is None else (200, report)


def _api_call_problem(body: Any) -> str:
    if not isinstance(body, dict) or not isinstance(body.get("data", ""), str):
        return "invalid body"
    for field in ("method", "url"):
        if not body.get(field):
            return f"missing {field}"
    return "" if re.match(r"https?://[^/]+", str(body["url"])) else "invalid url"


def _empty(status: int) -> Response:
    response = Response(status=status)
    response.headers.pop("Content-Type", None)
    return response
