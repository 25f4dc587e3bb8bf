"""Steering the demo proxy from another process: ``/demo/...``, only when asked for, only for loopback peers."""

import ipaddress
import threading
from dataclasses import asdict
from typing import Any

from flask import Flask, Response, jsonify, request

from exporter.demo.proxy import DemoProxy
from exporter.demo.traffic import Traffic

_SEED = 7


def register_control(app: Flask, proxy: DemoProxy) -> None:
    """Add ``POST /demo/enqueue`` (``{"records": n}``), ``GET /demo/counts`` and ``POST /demo/restart``."""
    traffic = Traffic(seed=_SEED, zone=proxy.zone, shape=proxy.shape)
    lock = threading.Lock()

    def enqueue() -> Response | tuple[Response, int]:
        body = request.get_json(silent=True)
        records = body.get("records") if isinstance(body, dict) else None
        if not isinstance(records, int) or isinstance(records, bool) or records < 1:
            return jsonify(error='Send {"records": n} with a positive number n.'), 400
        with lock:
            attempts = traffic.batch(records, ending=proxy.clock.now())
        proxy.publish(attempts)
        return jsonify(enqueued=records)

    def counts() -> Response:
        rows: dict[str, Any] = asdict(proxy.counts())
        return jsonify(rows | {"truth": proxy.truth.as_rows(), "delivered_truth": proxy.delivered_truth.as_rows()})

    def restart() -> Response:
        proxy.restart()
        return jsonify(status="ok")

    def only_loopback() -> tuple[Response, int] | None:
        peer = request.remote_addr or ""
        if request.path.startswith("/demo/") and not (peer and ipaddress.ip_address(peer).is_loopback):
            return jsonify(error="The demo can only be steered from this machine."), 403
        return None

    app.before_request(only_loopback)
    app.add_url_rule("/demo/enqueue", "demo_enqueue", enqueue, methods=["POST"])
    app.add_url_rule("/demo/counts", "demo_counts", counts, methods=["GET"])
    app.add_url_rule("/demo/restart", "demo_restart", restart, methods=["POST"])
