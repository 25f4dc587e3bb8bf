"""A connection to a proxy over RESP, the protocol of Redis. CPA speaks it on the port that also speaks HTTP.

CPA knows a handful of commands (7.2.140: AUTH, LPOP, RPOP and SUBSCRIBE; then PING, UNSUBSCRIBE and QUIT). Any other
command before AUTH is a failed login, and five of those ban the address. redis-py's settings can stop it from sending
its own commands today, but its releases keep adding more (CLIENT SETINFO, CLIENT MAINT_NOTIFICATIONS), and it reads a
reply of any length. So this module uses hiredis, its parser, and sends nothing but what it is told to.
"""

import socket
import ssl
import time
from contextlib import ExitStack, closing, suppress
from typing import Any, NoReturn

import hiredis
import httpx
import msgspec

from exporter.errors import BadAnswerError, ProxyError, ProxyServerError, ProxyUnreachableError
from exporter.sentences import say
from exporter.sources.http_errors import Answer, forbidden, refused
from exporter.sources.proxy_client import ProxyClient

MAX_REPLY_BYTES = 64 * 1024 * 1024
_CONNECT_SECONDS = 5.0
_REPLY_SECONDS = 5.0
_CHUNK_BYTES = 256 * 1024

Reply = Any
"""Bytes, an integer, None, a list of replies, or a ``hiredis.ReplyError`` whose text is the server's."""


class RespConnection:
    """A connection to the server at ``url``, whose path and query are ignored. For one thread.

    ``where`` begins all sentences. Raises ProxyUnreachableError if there is no connection or it ends, and
    BadAnswerError if the server does not speak RESP.
    """

    def __init__(self, url: httpx.URL, *, where: str) -> None:
        self._where = where
        self._reader = hiredis.Reader()
        self._replies: list[Reply] = []
        self._begun_bytes = 0
        try:
            # Its own context: the HTTP client adds ALPN to the other one, and CPA would take this for HTTP.
            tls = httpx.create_ssl_context() if url.scheme == "https" else None
            address = url.host, url.port or (443 if tls else 80)
            self._socket = socket.create_connection(address, timeout=_CONNECT_SECONDS)
            if tls is not None:
                self._socket = tls.wrap_socket(self._socket, server_hostname=url.host)
        except OSError as exc:
            is_untrusted = isinstance(exc, ssl.SSLCertVerificationError)
            raise ProxyUnreachableError(
                "{where} could not be reached over RESP ({kind}).",
                where=where,
                kind=say("its TLS certificate is not trusted") if is_untrusted else type(exc).__name__,
            ) from exc

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()

    def ask(self, *words: str) -> Reply:
        """The reply to a command, if no other command awaits one. An error after sending has ``answer_lost`` set."""
        self.send(*words)
        deadline = time.monotonic() + _REPLY_SECONDS
        try:
            while (left := deadline - time.monotonic()) > 0:
                if replies := self.receive(left):
                    reply, *self._replies = replies
                    return reply
            raise ProxyUnreachableError("{where} did not answer over RESP in time.", where=self._where)
        except ProxyError as exc:
            exc.answer_lost = True
            raise

    def send(self, *words: str) -> None:
        """Send a command without waiting for a reply."""
        try:
            self._socket.settimeout(_REPLY_SECONDS)
            self._socket.sendall(hiredis.pack_command(words))  # type: ignore[arg-type] # typed for one word
        except OSError as exc:
            self._closed(exc)

    def receive(self, seconds: float) -> list[Reply]:
        """The replies that have arrived, as soon as there is one; none if that takes longer than ``seconds``."""
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
                "{where} does not speak RESP. A reverse proxy passes on HTTP only: use CPA's own address.",
                where=self._where,
            ) from None
        if self._begun_bytes > MAX_REPLY_BYTES:
            raise BadAnswerError(
                "{where} sent more than {most:,} bytes in one reply over RESP.", where=self._where, most=MAX_REPLY_BYTES
            )
        return replies

    def _closed(self, cause: OSError | None) -> NoReturn:
        raise ProxyUnreachableError("{where} closed the connection over RESP.", where=self._where) from cause


def connect(client: ProxyClient) -> RespConnection:
    """A connection that CPA has accepted. Raises ProxyError."""
    with client.logging_in() as (url, key), ExitStack() as stack:
        connection = stack.enter_context(closing(RespConnection(url, where=client.where)))
        reply = connection.ask("AUTH", key)
        if reply != b"OK":
            raise _refusal(reply.args[0] if isinstance(reply, hiredis.ReplyError) else "", client.where)
        stack.pop_all()
        return connection


def _refusal(text: str, where: str) -> ProxyError:
    """The error for CPA's answer to AUTH: an ``ERR`` and the same words as over HTTP."""
    if "home mode" in text or "mTLS" in text:
        return ProxyServerError(
            "{where} has RESP switched off: it is a node of a Home cluster, or CPA 7.1.17.", where=where
        )
    answer = Answer(status=403, headers={}, body=msgspec.json.encode({"error": text}))
    return refused(answer, where) if "invalid management key" in text else forbidden(answer, where)
