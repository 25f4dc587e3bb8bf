"""A real HTTP server that answers as a recorded CPA server did and keeps each request."""

import json
import socket
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "cpa"

_OWN_HEADERS = {"content-length", "transfer-encoding", "date"}


@dataclass(frozen=True)
class Recording:
    """One recorded answer. ``path`` is the requested path with its query."""

    method: str
    path: str
    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def read(cls, name: str) -> "Recording":
        """The recording in this file below the fixtures."""
        data: dict[str, Any] = json.loads((FIXTURES / name).read_text())
        body = json.dumps(data["body"]).encode() if "body" in data else data["body_text"].encode()
        request = data["request"]
        return cls(request["method"], request["path"], data["status"], data["headers"], body)


_UNKNOWN = Recording("GET", "", 404, {"Content-Type": "text/plain"}, b"404 page not found")


class ReplayProxy:
    """Serves recordings by method and path, and CPA's plain 404 on every other path. Use it in a ``with`` statement."""

    def __init__(self, recordings: Iterable[Recording] = (), *, host: str = "127.0.0.1") -> None:
        self._answers = {(recording.method, recording.path): recording for recording in recordings}
        self.requests: Counter[str] = Counter()
        self.received: list[tuple[str, str, Message]] = []
        """Method, path and headers of each request, in order."""
        self.sent_bytes = 0
        server_class = _ServerV6 if ":" in host else _Server
        self._server = server_class((host, 0), _Handler)
        self._server.replay = self
        port = self._server.server_address[1]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def answer(self, path: str, recording: Recording) -> None:
        """From now on, answer GET ``path`` as in ``recording``, whatever path the recording was made with."""
        self._answers["GET", path] = recording

    def find(self, method: str, path: str) -> Recording:
        """The answer to a request. A filter on one account changes nothing."""
        return self._answers.get((method, path.partition("?auth_index=")[0]), _UNKNOWN)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    replay: ReplayProxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: in some tests a client goes away early on purpose."""


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _respond(self) -> None:
        replay = self.server.replay
        replay.requests[self.path] += 1
        replay.received.append((self.command, self.path, self.headers))
        recording = replay.find(self.command, self.path)
        self.send_response(recording.status)
        for name, value in recording.headers.items():
            if name.lower() not in _OWN_HEADERS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(recording.body)))
        self.end_headers()
        for start in range(0, len(recording.body), 65_536):
            chunk = recording.body[start : start + 65_536]
            self.wfile.write(chunk)
            replay.sent_bytes += len(chunk)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _respond  # noqa: N815 - http.server's

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read ``received`` instead."""
