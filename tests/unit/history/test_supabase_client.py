"""Each failure of a call to Supabase has a reason by which a user finds what to do."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from exporter.errors import HistoryError
from exporter.history.supabase_client import Remote


class _Gateway(ThreadingHTTPServer):
    """Gives every call the same answer."""

    status = 200
    body: object = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: _Gateway

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps(self.server.body).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[_Gateway]:
    with _Gateway(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, {"message": "Invalid API key", "hint": "Double check your API key."}, "key_refused"),
        (401, {"message": "Unauthorized"}, "key_refused"),
        (404, {"message": "no Route matched with those values"}, "wrong_address"),
        (429, {"message": "API rate limit exceeded"}, "too_many_requests"),
        (502, {"message": "An invalid response was received from the upstream server"}, "server_error"),
        (503, {"error": "name resolution failed"}, "server_error"),
        (400, {"code": "22003", "message": "out of range"}, "bad_data"),
        (500, {"code": "XX000", "message": "internal error"}, "other"),
    ],
)
def test_a_failed_call_has_the_reason_of_its_code_or_else_of_its_status(
    gateway: _Gateway, status: int, body: object, reason: str
) -> None:
    gateway.status, gateway.body = status, body
    with closing(Remote(gateway.url, "sb_secret_of_tests")) as remote, pytest.raises(HistoryError) as failed:
        remote.call("exporter_schema_version")
    assert failed.value.reason == reason
