"""Turns a proxy's answer, or an exception of httpx, into an error of ours. Pure.

The sentences name the proxy and what to do; they never quote the answer, which may hold anything.
"""

import re
import socket
import ssl
from collections.abc import Collection, Mapping

import httpx
import msgspec

from exporter.errors import (
    BadAnswerError,
    BannedError,
    KeyRefusedError,
    ManagementOffError,
    NoManagementKeySetError,
    ProxyError,
    ProxyServerError,
    ProxyUnreachableError,
    RemoteDisabledError,
)
from exporter.normalize.wire_record import decoded
from exporter.sentences import joined, pattern, say

_BAN_SECONDS = 30 * 60.0
"""How long CPA bans, for when its stated time cannot be read."""

_STATED_WAIT = re.compile(r"try again in (?:(\d{1,4})h)?(?:(\d{1,4})m)?(?:(\d{1,5}(?:\.\d{1,9})?)s)?", re.IGNORECASE)
_WHOLE_SECONDS = re.compile(r"[0-9]{1,5}")
_ERROR_TEXT_BYTES = 64 * 1024
_REVERSE_PROXY = say(
    "Is the proxy's URL right (CLIPROXY_URL)? It looks as if a reverse proxy or another server answered."
)


_CAUSES: tuple[tuple[type[BaseException], str], ...] = (
    (
        ssl.SSLCertVerificationError,
        pattern(
            "has a TLS certificate that is not trusted ({why}). If a private authority made it, name that authority's"
            " file in SSL_CERT_FILE. Use the host name that the certificate is for."
        ),
    ),
    (
        ssl.SSLError,
        say("could not be reached over TLS. If CPA does not have `tls: enable`, write http:// in the proxy's URL."),
    ),
    (
        socket.gaierror,
        say("could not be found: its host name has no address. Is the proxy's URL right (CLIPROXY_URL)?"),
    ),
    (
        ConnectionRefusedError,
        say("refused the connection. Is CPA running, and are host and port of its URL right (CLIPROXY_URL)?"),
    ),
    (
        httpx.ConnectTimeout,
        say("did not take the connection in time. Is it running, and does a firewall let the exporter through?"),
    ),
    (httpx.TimeoutException, say("did not answer in time.")),
    (httpx.ProxyError, say("is called through the environment's HTTP proxy (HTTP_PROXY, HTTPS_PROXY), which refused.")),
    (httpx.ConnectError, say("could not be reached. Is the network up, and is the proxy's URL right (CLIPROXY_URL)?")),
)
"""Endings of sentences about a call without an answer, the most telling cause first."""


class Answer(msgspec.Struct, frozen=True):
    """One HTTP answer. Names of ``headers`` are in lower case.

    ``error`` is None for a complete body; else it says why ``body`` ends early.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes | bytearray
    error: ProxyError | None = None

    def whole(self) -> "Answer":
        """This answer. Raises ``error`` if it is not complete."""
        if self.error is not None:
            raise self.error
        return self

    @property
    def from_cpa(self) -> bool:
        """Whether CPA itself answered, past its login (CPA >= 6.3.36, if no reverse proxy removes its headers)."""
        return "x-cpa-version" in self.headers

    @property
    def looks_like_html(self) -> bool:
        kind = self.headers.get("content-type", "").strip().lower()
        return kind.startswith("text/html") or self.body[:256].lstrip().startswith(b"<")

    @property
    def error_text(self) -> str:
        """CPA's ``{"error": "…"}`` in lower case, or empty. Not for people: it may hold anything."""
        body = decoded(self.body[:_ERROR_TEXT_BYTES], _ErrorBody)
        return "" if body is None else body.error.lower()


class _ErrorBody(msgspec.Struct):
    error: str


def failure(answer: Answer, *, where: str, path: str, accept: Collection[int]) -> ProxyError | None:
    """The error that ``answer`` stands for, or None if its status is in ``accept`` and it is not a web page."""
    if answer.status == 401:
        return refused(answer, where)
    if answer.status == 403:
        return forbidden(answer, where)
    if answer.status not in accept:
        return _unexpected(answer, where, path)
    if answer.looks_like_html and not answer.from_cpa:
        return BadAnswerError(joined(say("{where} answered with a web page.", where=where), _REVERSE_PROXY))
    return None


def ban_seconds(text: str) -> float | None:
    """The waiting time in CPA's text about a ban, in seconds, or None if the text is about something else."""
    stated = _STATED_WAIT.search(text)
    if stated is None or not any(stated.groups()):
        return _BAN_SECONDS if "banned" in text.lower() else None
    hours, minutes, seconds = (float(part or 0) for part in stated.groups())
    return hours * 3600 + minutes * 60 + seconds


def transport_failure(exc: httpx.HTTPError | httpx.StreamError, *, where: str) -> ProxyError:
    """The error for an exception of the HTTP library, with its cause in plain words."""
    if isinstance(exc, httpx.DecodingError):
        return BadAnswerError(
            joined(say("{where} sent a compressed answer that cannot be unpacked.", where=where), _REVERSE_PROXY)
        )
    # Only httpcore's text tells whether the other side closed the connection or sent something odd.
    cut_off = "disconnected" in str(exc) or "closed connection" in str(exc)
    if isinstance(exc, httpx.RemoteProtocolError) and not cut_off:
        return BadAnswerError(joined(say("{where} does not speak HTTP as CPA does.", where=where), _REVERSE_PROXY))
    return ProxyUnreachableError("{where} {cause}", where=where, cause=_cause(exc))


def refused(answer: Answer, where: str) -> ProxyError:
    """The error for a 401."""
    if "www-authenticate" in answer.headers and not answer.from_cpa:
        return KeyRefusedError(
            "{where} answered 401, and it was a reverse proxy that asks for a password of its own. CPA takes any"
            " Authorization header for its key, so let the reverse proxy pass the path /v0/management.",
            where=where,
        )
    return KeyRefusedError("{where} answered 401: it does not accept the key.", where=where)


def _unexpected(answer: Answer, where: str, path: str) -> ProxyError:
    status = answer.status
    if 300 <= status < 400:
        return BadAnswerError(
            "{where} answered {status}, a redirect, which is not followed with a management key. Set the proxy's URL"
            " (CLIPROXY_URL) to the address it leads to; often it is the same one with https://.",
            where=where,
            status=status,
        )
    if status == 404:
        return ManagementOffError(
            "{where} has no {path} (404). Its management is off, its version has changed, or the URL is not CPA's.",
            where=where,
            path=path,
        )
    if status == 400 and b"HTTP request to an HTTPS server" in answer.body:
        return ProxyUnreachableError("{where} speaks TLS only. Write https:// in the proxy's URL.", where=where)
    return ProxyServerError(
        "{where} answered {status} to {path}. Its log says more, if it was CPA that answered.",
        where=where,
        status=status,
        path=path,
    )


def forbidden(answer: Answer, where: str) -> ProxyError:
    """The error for a 403."""
    text, stated = answer.error_text, answer.headers.get("retry-after", "")
    seconds = ban_seconds(text)
    if seconds is None and _WHOLE_SECONDS.fullmatch(stated):
        seconds = float(stated)
    if seconds is not None:
        return BannedError(
            "{where} has banned this address after too many failed logins, of this or of another program.",
            where=where,
            retry_after_seconds=seconds,
        )
    if "remote management disabled" in text:
        return RemoteDisabledError(
            "{where} lets only its own machine manage it (403). Set `allow-remote: true` below `remote-management` in"
            " CPA's configuration, or start CPA with MANAGEMENT_PASSWORD. A container is not CPA's own machine.",
            where=where,
        )
    if "key not set" in text:
        return NoManagementKeySetError(
            "{where} has no management key (403). Set `secret-key` below `remote-management` in CPA's configuration,"
            " or start CPA with MANAGEMENT_PASSWORD.",
            where=where,
        )
    if answer.looks_like_html:
        return BadAnswerError(joined(say("{where} answered 403 with a web page.", where=where), _REVERSE_PROXY))
    return ProxyServerError("{where} answered 403 for a reason that is not known. CPA's log may say more.", where=where)


def _cause(exc: BaseException) -> str:
    """The ending of a sentence that begins with the proxy."""
    chain = [exc]
    while link := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(link)
    for kind, sentence in _CAUSES:
        for link in chain:
            if isinstance(link, kind):
                return say(sentence, why=getattr(link, "verify_message", "").rstrip("."))
    return say("closed the connection before its answer was complete.")
