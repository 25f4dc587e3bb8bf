"""A gate in front of the API: every call passes through it, and any of them can go wrong there.

The faults are those of a network, a gateway and a busy server. The question may get lost or, worse, the answer: then
the call was done, and the exporter does not know.
"""

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import httpx

from tests.stack import loopback

FAULTS = (
    "question_lost",
    "answer_lost",
    "answer_cut",
    "answer_late",
    "busy",
    "bad_gateway",
    "gateway_timeout",
    "statement_timeout",
    "database_away",
)
"""What can happen to a call. The first and the last five leave it undone; the others do it. There are two more:
``web_page``, when something else is at the address, and ``strange``, an answer that fits no question."""

_REFUSED = {
    "busy": (429, "text/html", b"<html>slow down</html>"),
    "bad_gateway": (502, "text/html", b"<html>bad gateway</html>"),
    "gateway_timeout": (504, "text/html", b"<html>gateway timeout</html>"),
    "statement_timeout": (500, "application/json", b'{"code": "57014", "message": "canceling statement"}'),
    "database_away": (503, "application/json", b'{"code": "PGRST001", "message": "no connection"}'),
}
_REFUSED["web_page"] = (200, "text/html", b"<html>welcome</html>")
_REFUSED["strange"] = (200, "application/json", b'{"something": "else"}')
_PASSED_ON = ("apikey", "authorization", "content-type", "prefer", "accept", "accept-profile", "content-profile")


class Gate:
    """A server that passes calls on to ``target``.

    ``fault`` returns the fault of each call, or empty; ``fault_of`` also gets the call's body. ``late_seconds`` is how
    long a late answer takes. ``met`` counts what happened.
    """

    def __init__(self, target: Callable[[], str], *, late_seconds: float = 1.0) -> None:
        self.fault: Callable[[str], str] = lambda _path: ""
        self.fault_of: Callable[[str, bytes], str] = lambda path, _body: self.fault(path)
        self.met: Counter[str] = Counter()
        self.late_seconds = late_seconds
        self.ended = threading.Event()
        self._target = target
        self._http = loopback.client()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Gate":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._http.close()

    def _handler(gate) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - "self" is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._pass()

            do_POST = do_PATCH = do_DELETE = do_HEAD = do_GET  # noqa: N815

            def handle(self) -> None:
                with suppress(ConnectionError):  # the caller is gone
                    super().handle()

            def log_message(self, format: str, *arguments: object) -> None:
                pass

            def _pass(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                fault = gate.fault_of(self.path, body)
                gate.met[fault] += 1
                if fault == "question_lost":
                    self._break_off()
                    return
                if fault in _REFUSED:
                    status, kind, text = _REFUSED[fault]
                    self._answer(status, {"Content-Type": kind}, text)
                    return
                try:
                    done = gate._http.request(
                        self.command,
                        gate._target() + self.path,
                        content=body,
                        headers={name: self.headers[name] for name in _PASSED_ON if name in self.headers},
                    )
                except httpx.TransportError:
                    gate.met["api_away"] += 1
                    self._break_off()
                    return
                if fault == "answer_lost":
                    self._break_off()
                    return
                if fault == "answer_late":
                    gate.ended.wait(gate.late_seconds)
                kept = {name: done.headers[name] for name in ("content-type", "content-range") if name in done.headers}
                self._answer(done.status_code, kept, done.content, cut=fault == "answer_cut")

            def _answer(self, status: int, headers: dict[str, str], body: bytes, *, cut: bool = False) -> None:
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(body) + cut))
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(body)
                except OSError:
                    self.close_connection = True
                if cut:
                    self._break_off()

            def _break_off(self) -> None:
                self.close_connection = True

        Handler.timeout = 60
        return Handler
