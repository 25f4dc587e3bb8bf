"""RESP on the port of the demo proxy, with CPA's few commands and its refusals.

A connection that begins with a RESP byte is never HTTP (CPA >= 6.9.38). Before AUTH every other command is a failed
login. SUBSCRIBE came with 7.0.7; only 7.1.17 refused everything. As in CPA, records and answers to commands have no
fixed order, so an UNSUBSCRIBE may overtake records, which are then lost.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import hiredis
from werkzeug.datastructures import Headers

from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.subscribers import Subscriber

FIRST_BYTES = b"*$+-:"
SILENCE_SECONDS = 10.0
"""CPA >= 7.0.3 closes a connection that sends nothing for this long."""
PUSHING = "pushing"
"""The name of the threads that send records. One may count its last record when its subscriber has already left."""

_SUPPORTS_REFRESH = b'{"support_refresh":true}'
_CHUNK = 65_536


def speaks_resp(connection: socket.socket, version: tuple[int, int, int]) -> bool:
    """Whether the client of a new connection starts with RESP, and this version understands it."""
    connection.settimeout(SILENCE_SECONDS)
    first = connection.recv(1, socket.MSG_PEEK)
    connection.settimeout(None)
    return first != b"" and first in FIRST_BYTES and version >= (6, 9, 38)


class RespSession:
    def __init__(self, proxy: SteeredProxy, connection: socket.socket, peer: str) -> None:
        self._proxy = proxy
        self._connection = connection
        self._peer = peer
        self._writing = threading.Lock()
        self._is_in = False

    def serve(self) -> None:
        """Answer until either side closes."""
        with suppress(OSError):
            if self._proxy.version_number == (7, 1, 17):
                self._send(b"-ERR RESP AUTH disabled; use mTLS\r\n")
            elif self._proxy.management:
                self._serve(self._commands())

    def _serve(self, commands: Iterator[list[bytes]]) -> None:
        for command in commands:
            name = command[0].upper().decode("latin-1")
            if name == "AUTH" and len(command) in {2, 3}:
                refusal = self._refusal(f"Bearer {command[-1].decode()}")
                self._is_in = not refusal
                self._send(f"-ERR {refusal}\r\n".encode() if refusal else b"+OK\r\n")
            elif not self._is_in:
                refusal = self._refusal("")
                self._send(f"-ERR {refusal}\r\n".encode() if refusal.startswith("IP banned") else _NO_AUTH)
            elif name == "SUBSCRIBE" and self._proxy.version_number >= (7, 0, 7):
                if command[1].lower() == b"usage":
                    self._follow(commands)
                    return
                self._send(b"-ERR unsupported channel '" + command[1] + b"'\r\n")
            elif name in {"LPOP", "RPOP"}:
                self._pop(command)
            else:
                self._send(f"-ERR unknown command '{name.lower()}'\r\n".encode())

    def _refusal(self, authorization: str) -> str:
        """Why the login is refused; empty if it is not."""
        refusal = self._proxy.logins.check(Headers({"Authorization": authorization}), self._peer)
        return refusal[1] if refusal else ""

    def _pop(self, command: list[bytes]) -> None:
        many = len(command) > 2
        count = int(command[2]) if many and command[2].isdigit() else 1 - many
        if command[1].lower() != b"usage" and self._proxy.version_number >= (7, 1, 44):
            self._send(b"-ERR unsupported channel '" + command[1] + b"'\r\n")
        elif count < 1:
            self._send(b"-ERR value is not an integer or out of range\r\n")
        else:
            items = self._proxy.pop(count)
            texts = b"".join(_bulk(item.raw) for item in items)
            self._send(b"*%d\r\n%b" % (len(items), texts) if many else texts or b"$-1\r\n")
            self._proxy.delivered(items)

    def _follow(self, commands: Iterator[list[bytes]]) -> None:
        subscriber = Subscriber(self._hang_up)
        self._proxy.subscribers.join(subscriber)
        writer = threading.Thread(target=self._push, args=(subscriber,), name=PUSHING, daemon=True)
        try:
            self._send(_message(b"subscribe", b"usage", 1))
            if self._proxy.version_number >= (7, 1, 39):
                self._send(_message(b"message", b"usage", _SUPPORTS_REFRESH))
            writer.start()
            for command in commands:
                name = command[0].upper()
                if name == b"PING":
                    self._send(_message(b"pong", command[1] if len(command) > 1 else b""))
                elif name == b"UNSUBSCRIBE":
                    self._send(_message(b"unsubscribe", b"usage", 0))
                    return
                elif name == b"QUIT":
                    self._send(b"+OK\r\n")
                    return
                else:
                    self._send(b"-ERR unknown command '" + command[0].lower() + b"'\r\n")
        finally:
            self._proxy.subscribers.leave(subscriber)
            self._hang_up()
            if writer.ident is not None:
                writer.join()

    def _push(self, subscriber: Subscriber) -> None:
        while (item := subscriber.take()) is not None:
            try:
                self._send(_message(b"message", b"usage", item.raw))
            except OSError:
                self._proxy.subscribers.was_sent(whole=False)
                break
            self._proxy.pushed(item)
            self._proxy.subscribers.was_sent(whole=True)
        self._hang_up()

    def _commands(self) -> Iterator[list[bytes]]:
        reader = hiredis.Reader()
        while chunk := self._connection.recv(_CHUNK):
            reader.feed(chunk)
            try:
                while (command := reader.gets()) is not False:
                    yield [bytes(word) for word in command] or [b""]
            except (hiredis.ProtocolError, TypeError):
                self._send(b"-ERR protocol error\r\n")
                return

    def _send(self, answer: bytes) -> None:
        with self._writing:
            self._connection.sendall(answer)

    def _hang_up(self) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


_NO_AUTH = b"-NOAUTH Authentication required.\r\n"


def _bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


def _message(*parts: bytes | int) -> bytes:
    texts = (b":%d\r\n" % part if isinstance(part, int) else _bulk(part) for part in parts)
    return b"*%d\r\n%b" % (len(parts), b"".join(texts))
