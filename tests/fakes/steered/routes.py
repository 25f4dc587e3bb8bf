"""Routes of CPA that the exporter does not need, or must not call, and those whose answer a test may order."""

from flask import Request

from exporter.simulator.routes import V8, Answer, Handler, Routes
from tests.fakes.steered.proxy import SteeredProxy

LATEST_VERSION_ERROR = {
    "error": "request_failed",
    "message": 'Get "https://api.github.com/repos/router-for-me/CLIProxyAPI/releases/latest": dial tcp: no such host',
}
# POST routes that change nothing.
_READING_POSTS = {"api-call", "quota/fetch"}


def is_mutating(method: str, name: str) -> bool:
    """Whether the call would change the proxy or one of its credentials."""
    return method not in {"GET", "HEAD", "OPTIONS"} and name not in _READING_POSTS


class SteeredRoutes(Routes):
    _proxy: SteeredProxy

    def __init__(self, proxy: SteeredProxy) -> None:
        super().__init__(proxy)
        for method in ("PUT", "PATCH"):
            self._add("usage-statistics-enabled", self._set_switch, method=method, since=(6, 0, 5))
        self._add("auth-files", self._auth_files)
        self._add("latest-version", lambda _: (502, LATEST_VERSION_ERROR), since=(6, 5, 42))
        self._add("usage/export", self._export_usage, since=(6, 6, 56))
        self._add("usage/import", self._import_usage, method="POST", since=(6, 6, 56))
        self._add("plugins", self._plugins, since=(7, 1, 47))
        self._add("quota/providers", lambda _: (200, {"providers": proxy.vendors.quota_plugins()}), since=(7, 2, 141))
        self._add("quota/fetch", self._quota_fetch, method="POST", since=(7, 2, 141))

    def find(self, method: str, name: str, version: int) -> Handler | None:
        if name.startswith("usage/") and not self._proxy.has_usage_snapshot:
            return None
        return super().find(method, name, version)

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
        told = vendors.fetched_by_plugin(credential) if credential is not None else None
        return (501, {"error": "no quota provider available"}) if told is None else (200, told)
