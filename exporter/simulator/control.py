"""Controls the demo proxy from another process: ``/demo/...``, only on request, only for loopback peers."""

import ipaddress
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from flask import Flask, Response, jsonify, request

from exporter.simulator.proxy import DemoProxy
from exporter.simulator.traffic import Traffic
from exporter.simulator.versions import parse_version

_SEED = 7
# Settings that may change at any time, with a test of the value.
_SETTINGS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(
        ("publishing", "subscribed", "management", "without_v0", "open_proxy", "shuffle_details"),
        lambda value: isinstance(value, bool),
    ),
    "details": lambda value: value in {"full", "absent", "empty"},
    "details_cap": lambda value: value is None or _is_count(value),
    "retention_seconds": lambda value: isinstance(value, int) and not isinstance(value, bool),
}


def register_control(app: Flask, proxy: DemoProxy) -> None:
    """Add the routes below ``/demo/``. All but ``GET /demo/counts`` are POST and take a JSON object, or nothing.

    * ``enqueue`` ``{"records": n}``: ``n`` attempts; with ``"copies": 2`` each is recorded twice.
    * ``restart``; ``upgrade`` ``{"version": "7.2"}``, also ``shown_version``, ``with_usage``, ``with_queue``.
    * ``export``: remember ``/usage/export``; ``import``: import the export in the body, or the remembered one.
    * ``set`` ``{"details": "absent"}``: any of the proxy's settings; ``clock`` ``{"hours": -3}``.
    * ``fault`` ``{"path": "usage", "kind": "hang", "seconds": 30}``: see ``DemoProxy.fault``; ``clear-faults``.
    * ``counts``: what has happened so far, and the truth about it.
    """
    control = _Control(proxy)
    routes: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "enqueue": control.enqueue,
        "restart": control.restart,
        "upgrade": control.upgrade,
        "export": control.export,
        "import": control.import_,
        "set": control.set,
        "clock": control.clock,
        "fault": control.fault,
        "clear-faults": control.clear_faults,
    }

    def answering(action: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[], Any]:
        def answer() -> Response | tuple[Response, int]:
            body = request.get_json(silent=True)
            try:
                return jsonify(action(body if isinstance(body, dict) else {}))
            except (ValueError, TypeError) as error:
                return jsonify(error=str(error)), 400

        return answer

    def only_loopback() -> tuple[Response, int] | None:
        peer = request.remote_addr or ""
        if request.path.startswith("/demo/") and not (peer and ipaddress.ip_address(peer).is_loopback):
            return jsonify(error="The demo can only be steered from this machine."), 403
        return None

    app.before_request(only_loopback)
    for name, action in routes.items():
        app.add_url_rule(f"/demo/{name}", f"demo_{name}", answering(action), methods=["POST"])
    app.add_url_rule("/demo/counts", "demo_counts", lambda: jsonify(control.counts()), methods=["GET"])


class _Control:
    """The actions of the routes. Raises ``ValueError`` or ``TypeError`` with a sentence about a wrong body."""

    def __init__(self, proxy: DemoProxy) -> None:
        self._proxy = proxy
        self._traffic = Traffic(seed=_SEED, zone=proxy.zone)
        self._saved: dict[str, Any] = {}
        self._lock = threading.Lock()

    def enqueue(self, body: dict[str, Any]) -> dict[str, Any]:
        records: Any = body.get("records")
        copies: Any = body.get("copies", 1)
        if not _is_count(records) or not _is_count(copies):
            raise ValueError('Send {"records": n} with a positive number n.')
        proxy = self._proxy
        with self._lock:
            self._traffic.credentials, self._traffic.shape = proxy.credentials, proxy.shape
            attempts = self._traffic.batch(records, ending=proxy.clock.now())
        proxy.publish(attempt for attempt in attempts for _ in range(copies))
        return {"enqueued": records * copies}

    def restart(self, _: dict[str, Any]) -> dict[str, Any]:
        self._proxy.restart()
        return {"status": "ok"}

    def upgrade(self, body: dict[str, Any]) -> dict[str, Any]:
        wanted = dict(body)
        version = parse_version(str(wanted.pop("version", "")))
        self._proxy.upgrade(version, **wanted)
        return {"version": version}

    def export(self, _: dict[str, Any]) -> dict[str, Any]:
        self._saved = self._proxy.export_usage()
        return {"total_requests": self._saved["usage"]["total_requests"]}

    def import_(self, body: dict[str, Any]) -> dict[str, Any]:
        return dict(self._proxy.import_usage(body or self._saved))

    def set(self, body: dict[str, Any]) -> dict[str, Any]:
        for name, value in body.items():
            if name not in _SETTINGS or not _SETTINGS[name](value):
                raise ValueError(f"{name} cannot be set to {value!r}. Settings: {', '.join(_SETTINGS)}.")
        for name, value in body.items():
            setattr(self._proxy, name, value)
        return {"status": "ok"}

    def clock(self, body: dict[str, Any]) -> dict[str, Any]:
        self._proxy.turn_clock(float(body.get("hours", "")))
        return {"status": "ok"}

    def fault(self, body: dict[str, Any]) -> dict[str, Any]:
        order = dict(body)
        for name in ("body", "elements"):  # bytes, which JSON lacks
            if name in order:
                order[name] = order[name].encode() if name == "body" else tuple(text.encode() for text in order[name])
        self._proxy.fault(**order)
        return {"status": "ok"}

    def clear_faults(self, _: dict[str, Any]) -> dict[str, Any]:
        self._proxy.clear_faults()
        return {"status": "ok"}

    def counts(self) -> dict[str, Any]:
        proxy = self._proxy
        rows: dict[str, Any] = asdict(proxy.counts())
        return rows | {"truth": proxy.truth.as_rows(), "delivered_truth": proxy.delivered_truth.as_rows()}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
