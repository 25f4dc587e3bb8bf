"""Sends the demo proxy's answers, intact or with a fault that the test orders.

Reports the queue elements in an answer as delivered or lost before the client can have read its end.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence

import msgspec
from werkzeug import Request, Response

from exporter.simulator.proxy import Item
from tests.fakes.steered.counts import Happening
from tests.fakes.steered.faults import HTML_PAGE, Fault, FaultKind
from tests.fakes.steered.proxy import SteeredProxy

Load = Sequence[Item | Happening]
"""The content of an answer: queue elements, or attempts that no answer has shown before."""

_DRIP_PIECES = 20
_LOOK_SECONDS = 0.02
# The bytes that a half-closed answer announces but does not send.
_MISSING_BYTES = 100


class Delivery:
    """Sends the answers of one server. ``released`` ends all waiting."""

    def __init__(self, proxy: SteeredProxy, released: threading.Event) -> None:
        self._proxy = proxy
        self._released = released

    def send(self, call: Request, answer: Response, items: Load, fault: Fault | None) -> Response:
        """The response to a call that gets this answer with this fault."""
        sock: socket.socket = call.environ["werkzeug.socket"]
        proxy = self._proxy
        kind = fault.kind if fault is not None else None
        if kind in {FaultKind.TRUNCATED, FaultKind.HALF_CLOSED, FaultKind.CUT}:
            proxy.lose(items)
            return _broken(answer, kind, sock)
        if fault is not None and kind is FaultKind.HANG and not self._outlasted(sock, fault.seconds):
            proxy.lose(items)
            return _hang_up(sock)
        if fault is not None and kind is FaultKind.DRIP:
            body = answer.get_data()
            answer.response = self._drip(body, items, fault.seconds)
            answer.headers["Content-Length"] = str(len(body))
            return answer
        proxy.delivered(items)
        return answer

    def _outlasted(self, sock: socket.socket, seconds: float) -> bool:
        """Wait, but only while the client stays; return whether it is still there at the end."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._released.wait(min(left, _LOOK_SECONDS)):
            if _has_left(sock):
                return False
        return not _has_left(sock)

    def _drip(self, body: bytes, items: Load, seconds: float) -> Iterator[bytes]:
        size = max(len(body) // _DRIP_PIECES, 1)
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        complete = False
        try:
            for piece in pieces[:-1]:
                yield piece
                self._released.wait(seconds / len(pieces))
            complete = True
            self._proxy.delivered(items)
            yield pieces[-1]
        finally:
            if not complete:
                self._proxy.lose(items)


def front_answer(fault: Fault) -> Response:
    """The answer of something in front of the proxy."""
    if fault.kind is FaultKind.HTML:
        return Response(HTML_PAGE, status=200, content_type="text/html; charset=utf-8")
    if fault.kind is FaultKind.REDIRECT:
        return Response(status=302, headers={"Location": fault.location})
    return Response(fault.body, status=fault.status, content_type="text/plain; charset=utf-8")


def huge_record(size: int) -> bytes:
    """A JSON object of about ``size`` bytes that looks like a failed request, nearly all of it error text."""
    return msgspec.json.encode({"failed": True, "fail": {"status_code": 500, "body": "x" * size}})


def _broken(answer: Response, kind: FaultKind | None, sock: socket.socket) -> Response:
    body = answer.get_data()
    part = body[: max(len(body) // 2, 1)]
    if kind is FaultKind.TRUNCATED:
        answer.set_data(part)
        return answer
    if kind is FaultKind.HALF_CLOSED:
        announced = len(body) + _MISSING_BYTES
        head = f"HTTP/1.1 {answer.status}\r\nContent-Type: {answer.content_type}\r\nContent-Length: {announced}\r\n"
        sock.sendall(head.encode() + b"\r\n" + part)
    return _hang_up(sock)


def _hang_up(sock: socket.socket) -> Response:
    """Close the connection; the response that follows reaches nobody."""
    with contextlib.suppress(OSError):  # the client may have closed it first
        sock.shutdown(socket.SHUT_RDWR)
    return Response()


def _has_left(sock: socket.socket) -> bool:
    """Whether the client has closed its end."""
    try:
        return sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
