"""What each answer of a proxy means for the operator."""

import re
import socket
import ssl
from pathlib import Path

import httpx
import msgspec
import pytest

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
from exporter.sources.http_errors import Answer, ban_seconds, failure, transport_failure
from tests.fakes.replay import FIXTURES, Recording

WHERE = "Proxy 'default' at http://localhost:8317"
PATH = "/v0/management/usage-statistics-enabled"
VERSIONS = ("v6.6.96", "v6.9.49", "v6.10.5", "v7.1.0", "v7.2.140")


def _answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    return Answer(status=status, headers=named, body=body)


def _failure(answer: Answer) -> ProxyError | None:
    return failure(answer, where=WHERE, path=PATH, accept={200})


REFUSED: dict[str, type[ProxyError] | None] = {
    "missing-key": KeyRefusedError,
    "wrong-key-1": KeyRefusedError,
    "wrong-key-5": KeyRefusedError,
    "wrong-key-6": BannedError,
    "basic-wins-over-x-management-key": KeyRefusedError,
    "banned-with-right-key": BannedError,
    "remote-disabled": RemoteDisabledError,
    "management-disabled": ManagementOffError,
    "unknown-path": ManagementOffError,
}
NO_BAN_OF_LOCALHOST = {("v6.6.96", "wrong-key-6"): KeyRefusedError, ("v6.6.96", "banned-with-right-key"): None}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", REFUSED)
def test_every_recorded_refusal_has_its_error(version: str, name: str) -> None:
    recording = Recording.read(f"{version}/refused/{name}.json")
    headers = {key.lower(): value for key, value in recording.headers.items()}
    error = _failure(Answer(status=recording.status, headers=headers, body=recording.body))
    expected = NO_BAN_OF_LOCALHOST.get((version, name), REFUSED[name])
    assert type(error) is (expected or type(None))
    if isinstance(error, BannedError):
        assert error.retry_after_seconds == 1800


def test_no_recorded_refusal_is_left_out() -> None:
    names = {path.stem for version in VERSIONS for path in Path(FIXTURES / version / "refused").glob("*.json")}
    others = {"wrong-key-2", "wrong-key-3", "wrong-key-4", "missing-route-usage"}
    others |= {"unknown-path-no-key", "banned-unknown-path", "resp-while-banned"}
    assert names == set(REFUSED) | others


@pytest.mark.parametrize(
    ("answer", "error", "advice"),
    [
        pytest.param(
            _answer(403, b'{"error":"remote management disabled"}'),
            RemoteDisabledError,
            "`allow-remote: true`.*MANAGEMENT_PASSWORD",
            id="not local to the proxy",
        ),
        pytest.param(
            _answer(403, b'{"error":"remote management key not set"}'),
            NoManagementKeySetError,
            "secret-key",
            id="the proxy has no key",
        ),
        pytest.param(_answer(403, b'{"error":"no"}'), ProxyServerError, "not known", id="403 for another reason"),
        pytest.param(_answer(403, b"<html>WAF"), BadAnswerError, "CLIPROXY_URL", id="403 of a web server"),
        pytest.param(_answer(401, www_authenticate="Basic"), KeyRefusedError, "reverse proxy", id="401 of nginx"),
        pytest.param(_answer(302, location="/login"), BadAnswerError, "redirect.*https", id="redirect"),
        pytest.param(
            _answer(200, b"hello", content_type="text/html"), BadAnswerError, "web page", id="HTML by its type"
        ),
        pytest.param(_answer(200, b"\n <!doctype html>"), BadAnswerError, "web page", id="HTML by its look"),
        pytest.param(_answer(500, b'{"error":"x"}'), ProxyServerError, "500", id="server error"),
        pytest.param(_answer(502, b"<html>"), ProxyServerError, "502", id="bad gateway"),
        pytest.param(_answer(418), ProxyServerError, "418", id="a status CPA does not have"),
        pytest.param(
            _answer(400, b"Client sent an HTTP request to an HTTPS server.\n"),
            ProxyUnreachableError,
            "https://",
            id="http to a TLS port",
        ),
        pytest.param(_answer(404), ManagementOffError, PATH, id="no such path"),
    ],
)
def test_the_sentence_says_what_to_do(answer: Answer, error: type[ProxyError], advice: str) -> None:
    found = _failure(answer)
    assert type(found) is error
    assert str(found).startswith(WHERE)
    assert re.search(advice, str(found))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("IP banned due to too many failed attempts. Try again in 30m0s", 1800),
        ("IP banned due to too many failed attempts. Try again in 29m58s", 1798),
        ("ip banned due to too many failed attempts. try again in 45s", 45),
        ("IP banned due to too many failed attempts. Try again in 1h2m3s", 3723),
        ("IP banned. Try again in 2h", 7200),
        ("IP banned. Try again in 1m0.5s", 60.5),
        pytest.param("IP banned. Try again in a while", 1800, id="unreadable: as long as CPA bans"),
        pytest.param("IP banned. Try again in 99999999999999999999h", 1800, id="absurd: as long as CPA bans"),
        ("IP banned", 1800),
        ("Too many failed attempts. Try again in 29m58s", 1798),
        ("Try again in a while", None),
        ("remote management disabled", None),
        ("", None),
    ],
)
def test_stated_waiting_times_are_read(text: str, seconds: float | None) -> None:
    assert ban_seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "stated", "seconds"),
    [("no", "900", 900), ("no", "0", 0), ("IP banned. Try again in 29m58s", "0", 1798), ("IP banned", "60", 1800)],
)
def test_a_waiting_time_in_a_header_of_a_403_counts_if_its_text_has_none(
    text: str, stated: str, seconds: float
) -> None:
    error = _failure(_answer(403, msgspec.json.encode({"error": text}), retry_after=stated))
    assert isinstance(error, BannedError)
    assert error.retry_after_seconds == seconds


@pytest.mark.parametrize("stated", ["soon", "9" * 20, "-5", ""])
def test_a_403_with_an_odd_waiting_time_is_no_ban(stated: str) -> None:
    assert type(_failure(_answer(403, b'{"error":"no"}', retry_after=stated))) is ProxyServerError


def test_no_sentence_quotes_the_answer() -> None:
    planted = b'{"error":"planted-secret"} planted-secret <html>'
    for status in (200, 302, 400, 401, 403, 404, 418, 500):
        error = _failure(_answer(status, planted, x_planted="planted-secret", location="planted-secret"))
        assert "planted-secret" not in str(error)


def _untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError()
    error.verify_message = "certificate has expired"
    return error


def _caused(cause: Exception) -> httpx.ConnectError:
    error = httpx.ConnectError("library text")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("exc", "sentence"),
    [
        pytest.param(
            _caused(_untrusted()), r"not trusted \(certificate has expired\)\. If .*SSL_CERT_FILE", id="certificate"
        ),
        pytest.param(_caused(ssl.SSLError()), "over TLS.*http://", id="TLS"),
        pytest.param(_caused(socket.gaierror()), "host name", id="name"),
        pytest.param(_caused(ConnectionRefusedError()), "Is CPA running", id="refused"),
        pytest.param(_caused(OSError(101, "unreachable")), "Is the network up", id="network"),
        pytest.param(httpx.ConnectTimeout("library text"), "firewall", id="connection timed out"),
        pytest.param(httpx.ReadTimeout("library text"), "in time", id="answer timed out"),
        pytest.param(httpx.ProxyError("library text"), "HTTPS_PROXY", id="the environment's proxy"),
        pytest.param(httpx.ReadError("library text"), "closed the connection", id="reset"),
    ],
)
def test_each_cause_of_a_missing_answer_has_its_error(exc: httpx.HTTPError, sentence: str) -> None:
    error = transport_failure(exc, where=WHERE)
    assert type(error) is ProxyUnreachableError
    assert "library text" not in str(error)
    assert re.search(sentence, str(error))
