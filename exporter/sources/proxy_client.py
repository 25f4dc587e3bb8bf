"""Calls a proxy's Management API, one call at a time. Each failure raises an error of ours.

It GETs, and POSTs only where that changes nothing. A pop removes records from the proxy, so the client keeps as much of
a broken body as arrived. No call holds its thread forever: ``Timeouts.total`` ends even an answer that drips, and
``cancel`` ends a call from another thread. The key goes out as a bearer token in ``Authorization``, which CPA reads
before any other header.

The client uses environment proxies (HTTP_PROXY …) only for public hosts: a key for loopback, a compose service or
another local host has no business at a company's proxy, which could not reach them anyway. SSL_CERT_FILE and
SSL_CERT_DIR always count, because CPA's own TLS usually has a private certificate.
"""

import ipaddress
import re
import ssl
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from exporter import __version__
from exporter.errors import BadAnswerError, ProxyError, ProxyUnreachableError, SettingsError
from exporter.sentences import say
from exporter.sources.auth_guard import KeyGuard
from exporter.sources.cancellation import Cancellation
from exporter.sources.http_errors import Answer, failure, transport_failure

MAX_BODY_BYTES = 64 * 1024 * 1024

FOUND_OR_NOT = frozenset({200, 404})
_OK = frozenset({200})
_JUDGED = frozenset({200, 400})
"""Statuses that prove that CPA accepted the key; its 404 may come without a login (CPA <= 7.1.46)."""

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
"""After these the request did not leave this machine, so no login was tried."""
_UNPRINTABLE = re.compile(r"[^A-Za-z0-9._+-]")


@dataclass(frozen=True)
class Timeouts:
    """Seconds to connect, to wait for the next byte of the answer, and for one call in all."""

    connect: float = 5.0
    read: float = 20.0
    total: float = 60.0


class ProxyClient:
    """The connection to one proxy, for its lifetime. Any thread may call; calls wait for one another.

    ``guard`` decides about each call and belongs to this client alone. ``subscribes``: the user wants a subscription to
    the proxy's usage. Raises SettingsError for a URL that httpx cannot read, such as ``http://256.1.1.1``.
    """

    def __init__(
        self,
        *,
        name: str,
        url: str,
        key: str,
        guard: KeyGuard,
        subscribes: bool = False,
        timeouts: Timeouts | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as exc:
            raise SettingsError(f"The URL of proxy {name!r} cannot be read.") from exc
        self.name = name
        self.subscribes = subscribes
        self._url = parsed
        self._key = key
        self.network = "" if _is_local(parsed.host) else parsed.host
        """The host of its URL, empty for the local network: proxies on one host share an outgoing address."""
        self._base = url.rstrip("/")
        self.where = say("Proxy {name!r} at {base}", name=name, base=self._base)
        """The proxy's name and URL, as the beginning of a sentence."""
        self.guard = guard
        self._timeouts = timeouts or Timeouts()
        self._authorization = {b"Authorization": b"Bearer " + key.encode()}
        self._lock = threading.Lock()
        self._cancellation = Cancellation()
        self.version = ""
        """The last version that the proxy stated; empty if it never did."""
        self.commit = ""
        """The last commit that the proxy stated; empty if it never did."""
        trust_env = bool(self.network)
        if trust_env or parsed.scheme == "https":
            try:
                context = httpx.create_ssl_context()
            except OSError as exc:
                raise SettingsError("SSL_CERT_FILE or SSL_CERT_DIR names no readable certificates.") from exc
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used; loading all authorities takes 2 MB
        self._client = httpx.Client(
            transport=transport,
            verify=context,
            trust_env=trust_env,
            follow_redirects=False,
            timeout=httpx.Timeout(self._timeouts.read, connect=self._timeouts.connect),
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
            headers={
                "Accept": "application/json",
                # A compressed body that breaks off could not be unpacked to its last whole record.
                "Accept-Encoding": "identity",
                "User-Agent": f"cliproxy-exporter/{__version__}",
            },
        )

    def get(self, path: str, *, accept: Collection[int] = _OK, max_bytes: int = MAX_BODY_BYTES) -> Answer:
        """The answer to GET ``path`` with the key. Its body may be incomplete: see ``Answer.error``.

        Cuts a body at ``max_bytes`` and closes the connection. Raises a ProxyError for a status outside ``accept``, for
        a web page, and if no answer came; the guard's errors if it allows no call.
        """
        return self._ask(path, None, accept=accept, max_bytes=max_bytes)

    def post(self, path: str, body: bytes, *, accept: Collection[int] = _OK, max_bytes: int) -> Answer:
        """The answer to a POST of JSON, otherwise like ``get``. Only for paths that change nothing at the proxy."""
        return self._ask(path, body, accept=accept, max_bytes=max_bytes)

    def _ask(self, path: str, body: bytes | None, *, accept: Collection[int], max_bytes: int) -> Answer:
        with self._lock, self.guard.trying():
            answer = self._fetch(path, body, headers=self._authorization, max_bytes=max_bytes)
            if answer.from_cpa:
                self.version = _clean(answer.headers["x-cpa-version"])
                self.commit = _clean(answer.headers.get("x-cpa-commit", ""))
            if error := failure(answer, where=self.where, path=path, accept=accept):
                raise error
            if answer.status in _JUDGED:
                self.guard.accepted()
            return answer

    def get_public(self, path: str, *, max_bytes: int) -> Answer:
        """The answer to GET ``path`` without the key, whatever its status. For pages that need none."""
        with self._lock:
            return self._fetch(path, None, headers={}, max_bytes=max_bytes)

    @contextmanager
    def logging_in(self) -> Iterator[tuple[httpx.URL, str]]:
        """The proxy's URL and the key, for a login by another protocol: the block is guarded like a call.

        The block must raise a ProxyError if the proxy does not accept the key. Raises the guard's errors if it allows
        no login.
        """
        with self._lock, self.guard.trying():
            yield self._url, self._key
            self.guard.accepted()

    def cancel(self) -> None:
        """End a call in progress, in any thread. Later calls fail."""
        self._cancellation.cancel()

    def close(self) -> None:
        """Cancel, and close the connection."""
        self.cancel()
        # Only a look-up of the host name or a new connection can hold the lock now.
        if self._lock.acquire(timeout=self._timeouts.connect + 1.0):
            try:
                self._client.close()
            finally:
                self._lock.release()

    def _fetch(self, path: str, content: bytes | None, *, headers: Mapping[bytes, bytes], max_bytes: int) -> Answer:
        if self._cancellation.cancelled:
            raise self._stopped()
        body = bytearray()
        response: httpx.Response | None = None
        error: ProxyError | None = None
        try:
            with (
                self._cancellation.limited(self._timeouts.total),
                self._client.stream(
                    "GET" if content is None else "POST",
                    self._base + path,
                    content=content,
                    headers=headers if content is None else {**headers, b"Content-Type": b"application/json"},
                    extensions={"trace": self._cancellation.trace},
                ) as response,
            ):
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > max_bytes:
                        del body[max_bytes:]
                        error = BadAnswerError(
                            "{where} answered {path} with more than {max_bytes:,} bytes.",
                            where=self.where,
                            path=path,
                            max_bytes=max_bytes,
                        )
                        break
        except (httpx.HTTPError, httpx.StreamError) as exc:
            error = self._explain(exc)
            if response is None:
                error.answer_lost = not isinstance(exc, _NOT_SENT)
                raise error from exc
        return Answer(status=response.status_code, headers=dict(response.headers), body=body, error=error)

    def _explain(self, exc: httpx.HTTPError | httpx.StreamError) -> ProxyError:
        if self._cancellation.cancelled:
            return self._stopped()
        if self._cancellation.timed_out:
            return ProxyUnreachableError(
                "{where} did not finish its answer within {seconds:g} seconds.",
                where=self.where,
                seconds=self._timeouts.total,
            )
        return transport_failure(exc, where=self.where)

    def _stopped(self) -> ProxyUnreachableError:
        return ProxyUnreachableError("{where} is not called any more: the exporter is stopping.", where=self.where)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".internal"))


def _clean(value: str) -> str:
    """A header's text fit for a label: short, and harmless characters only."""
    return _UNPRINTABLE.sub("", value)[:64]
