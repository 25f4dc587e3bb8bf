"""One connection to a proxy in RESP, the protocol of Redis, on the port that speaks HTTP as well.

CPA knows a handful of commands (7.2.140: AUTH, LPOP, RPOP and SUBSCRIBE; then PING, UNSUBSCRIBE and QUIT), and each
other one before AUTH is a failed login, five of which ban the address. redis-py can be told today to send none of its
own, but its releases keep adding to what it says first (CLIENT SETINFO, CLIENT MAINT_NOTIFICATIONS), and it reads a
reply of any length. So hiredis, its parser, reads and writes here, and what is sent is what stands below.
"""

import socket
import ssl
import time
from contextlib import ExitStack, suppress
from typing import Any, NoReturn, Self

import hiredis
import httpx

from exporter.errors import BadAnswerError, ProxyError, ProxyUnreachableError
from exporter.sentences import say

MAX_REPLY_BYTES = 64 * 1024 * 1024
_CONNECT_SECONDS = 5.0
_REPLY_SECONDS = 5.0
_CHUNK_BYTES = 256 * 1024

Reply = Any
"""Bytes, an integer, None, a list of replies, or a ``hiredis.ReplyError`` whose text is the server's."""


class RespConnection:
    """A connection to the server at ``url``, whose path and query do not count. For one thread at a time.

    ``where`` begins all sentences. Raises ProxyUnreachableError if there is no connection, or none any more, and
    BadAnswerError if the server does not speak RESP. Close it in the end, or use it in a ``with`` statement.
    """

    def __init__(self, url: httpx.URL, *, where: str) -> None:
        self._where = where
        self._reader = hiredis.Reader()
        self._replies: list[Reply] = []
        self._begun_bytes = 0
        tls = url.scheme == "https"
        address = url.host, url.port or (443 if tls else 80)
        try:
            with ExitStack() as stack:
                self._socket = stack.enter_context(socket.create_connection(address, timeout=_CONNECT_SECONDS))
                if tls:
                    # A context of its own: the HTTP client adds ALPN to its one, and CPA then takes this for HTTP.
                    self._socket = httpx.create_ssl_context().wrap_socket(self._socket, server_hostname=url.host)
                stack.pop_all()
        except OSError as exc:
            raise ProxyUnreachableError(
                "{where} could not be reached over RESP ({kind}).", where=where, kind=_kind(exc)
            ) from exc

    def ask(self, *words: str) -> Reply:
        """The reply to a command, none being under way. An error after it was sent has ``answer_lost``."""
        self.send(*words)
        try:
            reply, *self._replies = self._first_replies()
        except ProxyError as exc:
            exc.answer_lost = True
            raise
        return reply

    def _first_replies(self) -> list[Reply]:
        deadline = time.monotonic() + _REPLY_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            if replies := self.receive(left):
                return replies
        raise ProxyUnreachableError("{where} did not answer over RESP in time.", where=self._where)

    def send(self, *words: str) -> None:
        """Send a command and wait for nothing."""
        try:
            self._socket.settimeout(_REPLY_SECONDS)
            self._socket.sendall(hiredis.pack_command(words))  # type: ignore[arg-type] # typed for one word
        except OSError as exc:
            self._closed(exc)

    def receive(self, seconds: float) -> list[Reply]:
        """What has arrived, as soon as anything has; nothing if that takes longer than ``seconds``."""
        replies, self._replies = self._replies, []
        if replies:
            return replies
        self._socket.settimeout(max(0.001, seconds))
        try:
            chunk = self._socket.recv(_CHUNK_BYTES)
        except TimeoutError:
            return []
        except OSError as exc:
            self._closed(exc)
        if not chunk:
            self._closed(None)
        self._begun_bytes += len(chunk)
        self._reader.feed(chunk)
        try:
            while (reply := self._reader.gets()) is not False:
                replies.append(reply)
                self._begun_bytes = 0
        except hiredis.ProtocolError:
            # Not chained: the parser's text quotes the answer.
            raise BadAnswerError(
                "{where} does not speak RESP. A reverse proxy hands on HTTP alone: use CPA's own address.",
                where=self._where,
            ) from None
        if self._begun_bytes > MAX_REPLY_BYTES:
            raise BadAnswerError(
                "{where} sent more than {most:,} bytes in one reply over RESP.", where=self._where, most=MAX_REPLY_BYTES
            )
        return replies

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _closed(self, cause: OSError | None) -> NoReturn:
        raise ProxyUnreachableError("{where} closed the connection over RESP.", where=self._where) from cause


def _kind(exc: OSError) -> str:
    """What failed, in a word that holds nothing from outside."""
    return (
        say("its TLS certificate is not trusted")
        if isinstance(exc, ssl.SSLCertVerificationError)
        else type(exc).__name__
    )
