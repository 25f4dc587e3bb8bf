"""A session on a PostgreSQL server that trusts everybody, by the simple query protocol.

Starting psql, and a session for it, takes twenty times longer than most of the statements that tests run.
"""

import socket
import struct
from contextlib import suppress

_SECONDS = 60.0
_PROTOCOL = 3 << 16


class SqlError(Exception):
    """What the server complained about."""


class Session:
    """One session. Close it. Raises SqlError if the server is away."""

    def __init__(self, port: int, *, database: str, user: str) -> None:
        try:
            self._socket = socket.create_connection(("127.0.0.1", port), timeout=_SECONDS)
        except ConnectionError as exc:
            raise SqlError(str(exc)) from None
        self._answers = self._socket.makefile("rb")
        settings = {"user": user, "database": database, "client_encoding": "UTF8", "client_min_messages": "warning"}
        words = "".join(f"{name}\0{value}\0" for name, value in settings.items())
        try:
            self._send(b"", struct.pack("!i", _PROTOCOL) + words.encode() + b"\0")
            self._read()
        except BaseException:
            self.close()
            raise

    def run(self, sql: str) -> str:
        """The rows of a script: a line each, values separated by a bar.

        A script of several statements runs in one transaction. Raises SqlError at the first that fails.
        """
        self._send(b"Q", sql.encode() + b"\0")
        return "".join(f"{'|'.join(row)}\n" for row in self._read())

    def close(self) -> None:
        """Close it, and wait until the server has left its database."""
        with suppress(SqlError, OSError):
            self._send(b"X", b"")
            self._answers.read()
        self._answers.close()
        self._socket.close()

    def _send(self, kind: bytes, content: bytes) -> None:
        try:
            self._socket.sendall(kind + struct.pack("!i", 4 + len(content)) + content)
        except ConnectionError as exc:
            raise SqlError(str(exc)) from None

    def _read(self) -> list[list[str]]:
        """The rows that come until the server is ready for the next question."""
        rows, error = [], ""
        while (kind := self._take(1)) != b"Z":
            content = self._message()
            if kind == b"D":
                rows.append(_values(content))
            elif kind == b"E":
                error = _complaint(content)
        self._message()
        if error:
            raise SqlError(error)
        return rows

    def _message(self) -> bytes:
        (length,) = struct.unpack("!i", self._take(4))
        return self._take(length - 4)

    def _take(self, length: int) -> bytes:
        try:
            found = self._answers.read(length)
        except ConnectionError as exc:
            raise SqlError(str(exc)) from None
        if len(found) < length:
            raise SqlError("The server has closed the session.")
        return found


def _values(row: bytes) -> list[str]:
    (number,), place, values = struct.unpack_from("!h", row), 2, list[str]()
    for _ in range(number):
        (length,) = struct.unpack_from("!i", row, place)
        place += 4
        values.append(row[place : place + max(length, 0)].decode())  # a null is -1 long, and shown as nothing
        place += max(length, 0)
    return values


def _complaint(error: bytes) -> str:
    fields = {part[:1]: part[1:].decode() for part in error.split(b"\0") if part}
    shown = ((b"S", ""), (b"C", ""), (b"M", ""), (b"D", "DETAIL: "), (b"W", "CONTEXT: "))
    return " ".join(f"{before}{fields[name]}" for name, before in shown if name in fields)
