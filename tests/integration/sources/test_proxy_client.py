"""The client against real sockets: what it sends, and every way in which an answer can fail to come."""

import threading
import time

import httpx
import pytest

from exporter.errors import (
    BadAnswerError,
    BannedError,
    KeyRefusedError,
    ProxyError,
    ProxyServerError,
    ProxyUnreachableError,
    SettingsError,
)
from exporter.sources.proxy_client import ProxyClient, Timeouts
from tests.fakes.guarding import KEY, TurnableClock, make_guard
from tests.fakes.raw import RawServer, Script, drip, hang, head, send
from tests.fakes.replay import Recording, ReplayProxy
from tests.integration.sources.conftest import DRIPPING, HANGING, Connect
from tests.stack.loopback import has_ipv6
from tests.stack.waiting import PATIENCE_SECONDS

PATH = "/v0/management/usage-statistics-enabled"


def _ok(body: bytes, **headers: str) -> Recording:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Recording("GET", PATH, 200, {"Content-Type": "application/json", **named}, body)


def test_a_call_carries_the_key_and_names_the_exporter(connect: Connect) -> None:
    with ReplayProxy([_ok(b"{}")]) as replay:
        connect(f"{replay.url}/").get(PATH)
        method, path, headers = replay.received[0]
        assert (method, path) == ("GET", PATH)
        assert headers["Authorization"] == f"Bearer {KEY}"
        assert headers["Accept-Encoding"] == "identity"
        assert headers["User-Agent"].startswith("cliproxy-exporter/")


def test_a_url_with_a_path_is_the_prefix_of_a_reverse_proxy(connect: Connect) -> None:
    with ReplayProxy() as replay:
        replay.answer(f"/cpa{PATH}", _ok(b"[1]"))
        assert connect(f"{replay.url}/cpa").get(PATH).body == b"[1]"


def test_a_local_proxy_without_tls_needs_no_certificates(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/certificates.pem")
    with ReplayProxy([_ok(b"[1]")]) as replay:
        assert connect(replay.url).get(PATH).body == b"[1]"
    with pytest.raises(SettingsError, match="SSL_CERT_FILE"):
        connect("https://127.0.0.1:1")


def test_an_ipv6_address_is_reached(connect: Connect) -> None:
    if not has_ipv6():
        with pytest.raises(ProxyUnreachableError):
            connect("http://[::1]:8317").get(PATH)
        return
    with ReplayProxy([_ok(b"[1]")], host="::1") as replay:
        assert connect(replay.url).get(PATH).body == b"[1]"


def test_a_key_beyond_ascii_is_sent_as_utf_8(connect: Connect) -> None:
    with ReplayProxy([_ok(b"{}")]) as replay:
        connect(replay.url, key="schlüssel").get(PATH)
        assert replay.received[0][2]["Authorization"].encode("latin-1") == "Bearer schlüssel".encode()


@pytest.mark.parametrize("url", ["http://256.1.1.1:8317", "http://[::1"])
def test_an_unusable_url_is_refused(connect: Connect, url: str) -> None:
    with pytest.raises(SettingsError):
        connect(url)


@pytest.mark.parametrize(
    ("url", "through_proxy"),
    [
        ("http://localhost:1", False),
        ("http://127.0.0.1:1", False),
        ("http://[::1]:1", False),
        ("http://192.168.1.5:1", False),
        ("http://cli-proxy-api:1", False),
        ("http://host.docker.internal:1", False),
        ("http://cpa.example.com", True),
    ],
)
def test_the_environments_proxy_sees_only_calls_to_public_hosts(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, url: str, through_proxy: bool
) -> None:
    with RawServer(send(head("503 Service Unavailable", length=0))) as company:
        monkeypatch.setenv("HTTP_PROXY", company.url)
        monkeypatch.setenv("no_proxy", "")
        client = connect(url, timeouts=Timeouts(connect=0.05, read=1.0, total=1.0))
        with pytest.raises(ProxyError):
            client.get(PATH)
        assert company.connections_after(int(through_proxy)) == int(through_proxy)


def test_the_version_is_remembered_and_its_change_is_seen(connect: Connect) -> None:
    with ReplayProxy([_ok(b"{}", X_CPA_VERSION="v7.2.139", x_cpa_commit="0000001")]) as replay:
        client = connect(replay.url)
        assert (client.version, client.commit) == ("", "")
        client.get(PATH)
        assert (client.version, client.commit) == ("v7.2.139", "0000001")
        replay.answer(PATH, _ok(b"{}", **{"X-Cpa-Version": 'v7.2.140"}\x7f' + "9" * 500}))
        client.get(PATH)
        assert client.version.startswith("v7.2.1409")
        assert len(client.version) == 64
        replay.answer(PATH, _ok(b"{}"))
        client.get(PATH)
        assert client.version.startswith("v7.2.140")


def test_a_redirect_is_not_followed_with_the_key(connect: Connect) -> None:
    with ReplayProxy() as elsewhere, ReplayProxy() as replay:
        replay.answer(PATH, Recording("GET", PATH, 302, {"Location": f"{elsewhere.url}{PATH}"}, b""))
        with pytest.raises(BadAnswerError, match="redirect"):
            connect(replay.url).get(PATH)
        assert elsewhere.requests.total() == 0


def test_a_body_above_the_limit_is_cut_there(connect: Connect) -> None:
    with ReplayProxy([_ok(b"x" * 5_000_000)]) as replay:
        answer = connect(replay.url).get(PATH, max_bytes=1_000_000)
        assert answer.body == b"x" * 1_000_000
        assert isinstance(answer.error, BadAnswerError)


def test_calls_wait_for_each_other(connect: Connect) -> None:
    with ReplayProxy([Recording.read("v7.2.140/refused/wrong-key-1.json")]) as replay:
        client = connect(replay.url)
        errors: list[Exception] = []

        def call() -> None:
            try:
                client.get(PATH)
            except ProxyError as exc:
                errors.append(exc)

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert replay.requests.total() == 1
        assert [type(error) for error in errors] == [KeyRefusedError] * 8


def test_a_ban_stops_all_calls_until_it_has_passed(connect: Connect, clock: TurnableClock) -> None:
    with ReplayProxy([Recording.read("v7.2.140/refused/banned-with-right-key.json")]) as replay:
        for _ in range(3):
            with pytest.raises(BannedError):
                connect(replay.url).get(PATH)
        assert replay.requests.total() == 1
        replay.answer(PATH, _ok(b"{}"))
        clock.advance(1806)
        assert connect(replay.url).get(PATH).status == 200


@pytest.mark.parametrize(
    ("script", "seconds"),
    [
        pytest.param(
            send(head("503 Service Unavailable", length=0)),
            PATIENCE_SECONDS,
            id="a gateway that may have lost the answer",
        ),
        pytest.param(send(b""), PATIENCE_SECONDS, id="closed without an answer"),
        pytest.param(hang(), 0.2, id="no answer in time"),
    ],
)
def test_a_repeated_try_whose_answer_is_lost_is_not_repeated(
    connect: Connect, clock: TurnableClock, script: Script, seconds: float
) -> None:
    refusal = b'{"error":"invalid management key"}'
    # Without this header the client may send its next call on a connection that the server is about to close.
    refused = send(head("401 Unauthorized", length=len(refusal), headers=["Connection: close"]), refusal)
    with RawServer(refused, script) as server:
        client = connect(server.url)
        with pytest.raises(KeyRefusedError):
            client.get(PATH)
        client._client.timeout = httpx.Timeout(seconds)
        clock.advance(150 * 60)
        with pytest.raises((ProxyUnreachableError, ProxyServerError)):
            client.get(PATH)
        with pytest.raises(KeyRefusedError, match="2 times"):
            client.get(PATH)
        assert server.connections_after(2) == 2


CLOSED, NO_HTTP = (ProxyUnreachableError, "closed the connection"), (BadAnswerError, "does not speak HTTP")
FAULTS = [
    pytest.param(send(b""), None, *CLOSED, id="cut before any answer"),
    pytest.param(send(b"HTTP/1.1 200"), None, *CLOSED, id="cut in the status line"),
    pytest.param(send(b"HTTP/1.1 abc\r\n\r\n"), None, *NO_HTTP, id="garbage status"),
    pytest.param(send(b"-NOAUTH planted\r\n\r\n"), None, *NO_HTTP, id="another protocol"),
    pytest.param(send(head("999 Planted", length=0)), None, ProxyServerError, "999", id="a status that does not exist"),
    pytest.param(hang(), HANGING, ProxyUnreachableError, "in time", id="hangs"),
    pytest.param(
        drip(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"), DRIPPING, ProxyUnreachableError, "2 seconds", id="headers drip"
    ),
    pytest.param(
        send(head(length=3, headers=["Content-Encoding: gzip"]), b"abc"),
        None,
        None,
        "cannot be unpacked",
        id="not gzip",
    ),
    pytest.param(send(head(length=100), b"[1,"), None, None, "closed the connection", id="half-closed body"),
    pytest.param(drip(head(length=9999), b"[1,"), DRIPPING, None, "2 seconds", id="the body drips"),
    pytest.param(hang(head(length=9999) + b"[1,"), HANGING, None, "in time", id="the body hangs"),
]


@pytest.mark.parametrize(("script", "timeouts", "error", "sentence"), FAULTS)
def test_faults_of_the_line_have_their_errors(
    connect: Connect, script: Script, timeouts: Timeouts | None, error: type[ProxyError] | None, sentence: str
) -> None:
    started = time.monotonic()
    with RawServer(script) as server:
        client = connect(server.url, timeouts=timeouts)
        if error is None:
            found = client.get(PATH).error
        else:
            with pytest.raises(error) as raised:
                client.get(PATH)
            found = raised.value
        assert server.connections_after(1) == 1, "nothing is asked twice"
    assert found is not None
    assert sentence in str(found)
    assert "planted" not in str(found)
    assert time.monotonic() - started < 10


def test_the_beginning_of_a_broken_body_is_kept(connect: Connect) -> None:
    with RawServer(send(head(length=1000), b'[{"a":1},{"b":')) as server:
        answer = connect(server.url).get(PATH)
        assert answer.body == b'[{"a":1},{"b":'
        assert answer.error is not None


def test_the_next_call_after_a_late_one_works(connect: Connect) -> None:
    with RawServer(drip(head(length=9999), b"x"), send(head(length=2), b"[]")) as server:
        client = connect(server.url, timeouts=DRIPPING)
        assert client.get(PATH).error is not None
        client._timeouts = Timeouts()
        assert client.get(PATH).body == b"[]"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://127.0.0.1:1", "refused the connection"),
        ("http://no-such-host.invalid", "host name has no address"),
    ],
)
def test_an_address_where_nobody_listens_is_unreachable(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, url: str, sentence: str
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ProxyUnreachableError, match=sentence):
        connect(url).get(PATH)


def test_tls_to_a_plain_port_is_reported(connect: Connect) -> None:
    with RawServer(send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        client = connect(server.url.replace("http:", "https:"))
        with pytest.raises(ProxyUnreachableError, match="over TLS"):
            client.get(PATH)


def test_http_to_a_tls_port_is_reported(connect: Connect) -> None:
    text = b"Client sent an HTTP request to an HTTPS server.\n"
    with RawServer(send(b"HTTP/1.0 400 Bad Request\r\n\r\n", text)) as server:
        client = connect(server.url)
        with pytest.raises(ProxyUnreachableError, match="https://"):
            client.get(PATH)


@pytest.mark.parametrize(
    "script", [pytest.param(hang(), id="no answer yet"), pytest.param(hang(head(length=9) + b"["), id="in the body")]
)
def test_close_ends_a_call_that_hangs_in_another_thread(connect: Connect, script: Script) -> None:
    with RawServer(script) as server:
        client = connect(server.url, timeouts=Timeouts(connect=2.0, read=60.0, total=60.0))
        outcome: list[str] = []

        def call() -> None:
            try:
                outcome.append(str(client.get(PATH).error))
            except ProxyUnreachableError as exc:
                outcome.append(str(exc))

        thread = threading.Thread(target=call)
        thread.start()
        assert server.asked.wait(PATIENCE_SECONDS)
        started = time.monotonic()
        client.close()
        thread.join(10)
        assert time.monotonic() - started < 5
        assert "is stopping" in outcome[0]
        with pytest.raises(ProxyUnreachableError, match="is stopping"):
            client.get(PATH)


def test_another_transport_can_be_passed_in() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, text=request.url.path))
    url = "http://proxy.example"
    client = ProxyClient(name="default", url=url, key=KEY, guard=make_guard(url=url), transport=transport)
    assert client.get(PATH).body == PATH.encode()
    client.close()
