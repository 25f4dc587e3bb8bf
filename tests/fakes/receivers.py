"""Receivers of notices: an HTTP server that stands in for Slack, Discord, Telegram or a webhook, and a mail server."""

import base64
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Telegram answers this; the others only look at the status.
_ANSWER = {"ok": True, "result": {"message_id": 1, "date": 1, "chat": {"id": 1, "type": "private"}}}


@dataclass(frozen=True)
class Posted:
    """A request that arrived, its body as JSON."""

    path: str
    body: Any


@dataclass(frozen=True)
class Mailed:
    """A mail that arrived, and the login that came with it."""

    login: str
    sender: str
    recipient: str
    message: EmailMessage

    @property
    def text(self) -> str:
        """The text of a mail that has only a plain-text part."""
        (part,) = [part for part in self.message.walk() if not part.is_multipart()]
        assert part.get_content_type() == "text/plain"
        content = part.get_content()
        assert isinstance(content, str)
        return content.replace("\r\n", "\n")


class WebReceiver(ThreadingHTTPServer):
    """Takes every POST. ``received`` holds what has arrived so far."""

    daemon_threads = True

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), _WebHandler)
        self.received: list[Posted] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _WebHandler(BaseHTTPRequestHandler):
    server: WebReceiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(Posted(self.path, json.loads(body)))
        answer = json.dumps(_ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_arguments: object) -> None:
        """Keep the test's output clean."""


class MailReceiver(socketserver.ThreadingTCPServer):
    """Takes every mail, with any login. ``received`` holds what has arrived so far."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _MailHandler)
        self.received: list[Mailed] = []

    @property
    def address(self) -> str:
        host, port = self.server_address[:2]
        return f"{host!s}:{port}"


class _MailHandler(socketserver.StreamRequestHandler):
    server: MailReceiver

    def handle(self) -> None:
        login = sender = recipient = ""
        self._say("220 test")
        while line := self.rfile.readline().decode().rstrip("\r\n"):
            match line.split(" ")[0].upper():
                case "EHLO":
                    self._say("250-test\r\n250 AUTH PLAIN")
                case "AUTH":
                    login = base64.b64decode(line.split(" ")[2]).decode().replace("\0", " ").strip()
                    self._say("235 welcome")
                case "MAIL":
                    sender = line.partition("<")[2].partition(">")[0]
                    self._say("250 ok")
                case "RCPT":
                    recipient = line.partition("<")[2].partition(">")[0]
                    self._say("250 ok")
                case "DATA":
                    self._say("354 go on")
                    message = message_from_bytes(self._read_data(), policy=default)
                    assert isinstance(message, EmailMessage)
                    self.server.received.append(Mailed(login, sender, recipient, message))
                    self._say("250 ok")
                case "QUIT":
                    self._say("221 bye")
                    return
                case _:
                    self._say("500 what?")

    def _read_data(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        return b"".join(lines)

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@contextmanager
def web_receiver() -> Iterator[WebReceiver]:
    """A web receiver that serves until the end of the ``with`` block."""
    with WebReceiver() as server, _serving(server):
        yield server


@contextmanager
def mail_receiver() -> Iterator[MailReceiver]:
    """A mail receiver that serves until the end of the ``with`` block."""
    with MailReceiver() as server, _serving(server):
        yield server


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
