"""Who may request what, from where, under which host name."""

from base64 import b64encode

import bcrypt
import pytest

from tests.benches.web import WebBench

HASHED = bcrypt.hashpw(b"planted-password", bcrypt.gensalt(4)).decode()
TOKEN = "planted-token"
TRIGGER = "/api/collector/trigger"
HERE = "127.0.0.1"
ELSEWHERE = "192.0.2.7"


def _basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("token", "authorization", "status"),
    [
        pytest.param(TOKEN, f"Bearer {TOKEN}", 200, id="bearer"),
        pytest.param(TOKEN, f"bearer  {TOKEN} ", 200, id="bearer, careless"),
        pytest.param(TOKEN, _basic("", TOKEN), 200, id="basic without a name"),
        pytest.param(TOKEN, _basic("anyone", TOKEN), 200, id="basic with any name"),
        pytest.param("a=b==", "Bearer a=b==", 200, id="a token that looks like parameters"),
        pytest.param("schlüssel", "Bearer schlüssel".encode().decode("latin-1"), 200, id="beyond ASCII, bearer"),
        pytest.param("schlüssel", _basic("", "schlüssel"), 200, id="beyond ASCII, basic"),
        pytest.param("a:b", _basic("x", "a:b"), 200, id="a colon inside"),
        pytest.param(TOKEN, None, 401, id="missing"),
        pytest.param(TOKEN, "Bearer wrong", 401, id="wrong"),
        pytest.param(TOKEN, f"Bearer {TOKEN}x", 401, id="longer"),
        pytest.param(TOKEN, f"Bearer {TOKEN[:-1]}", 401, id="shorter"),
        pytest.param(TOKEN, "Bearer", 401, id="empty"),
        pytest.param(TOKEN, TOKEN, 401, id="without a scheme"),
        pytest.param(TOKEN, f"Token {TOKEN}", 401, id="another scheme"),
        pytest.param(TOKEN, f"Digest password={TOKEN}", 401, id="digest"),
        pytest.param(TOKEN, _basic(TOKEN, ""), 401, id="as the name"),
        pytest.param(TOKEN, "Basic !!!", 401, id="no base64"),
        pytest.param(TOKEN, "Basic " + b64encode(b"\xff\xfe:\xff").decode(), 401, id="no UTF-8"),
    ],
)
def test_a_token_is_demanded(web: WebBench, token: str, authorization: str | None, status: int) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    client = web.client(token=token)
    for path in ("/", "/metrics"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == status
        assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    assert client.post(TRIGGER, headers=headers).status_code == (202 if status == 200 else 401)
    assert web.triggered.is_set() == (status == 200)


@pytest.mark.parametrize(
    ("user", "password", "right"),
    [
        ("alice", "planted-password", True),
        ("alice", "planted", False),
        ("alice", "", False),
        ("bob", "planted-password", False),
        ("", "planted-password", False),
        ("alice", "x" * 100, False),
    ],
)
def test_a_password_belongs_to_its_user(web: WebBench, user: str, password: str, right: bool) -> None:
    client = web.client(users={"alice": HASHED})
    statuses = [client.get("/sd", headers={"Authorization": _basic(user, password)}).status_code for _ in range(2)]

    assert statuses == [200 if right else 401] * 2


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready", "/api/collector/health"])
@pytest.mark.parametrize("token", [None, TOKEN])
def test_health_paths_demand_no_token(web: WebBench, path: str, token: str | None) -> None:
    answer = web.client(token=token).get(path, environ_overrides={"REMOTE_ADDR": ELSEWHERE})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/no-such-page", "/static/x", "/-/healthy/x", "/api/collector/reset/1"])
def test_without_the_token_nobody_can_tell_which_paths_exist(web: WebBench, path: str) -> None:
    assert web.client(token=TOKEN).get(path).status_code == 401


@pytest.mark.parametrize(
    ("token", "authorization", "address", "status"),
    [
        pytest.param(None, None, HERE, 202, id="no token is set, this machine"),
        pytest.param(None, None, "127.9.9.9", 202, id="no token is set, all of 127/8 is this machine"),
        pytest.param(None, None, "::1", 202, id="no token is set, this machine over IPv6"),
        pytest.param(None, None, "::ffff:127.0.0.1", 202, id="no token is set, this machine, IPv4 in IPv6"),
        pytest.param(None, None, ELSEWHERE, 403, id="no token is set, elsewhere"),
        pytest.param(None, None, "172.17.0.1", 403, id="no token is set, a container's host"),
        pytest.param(None, None, "2001:db8::7", 403, id="no token is set, elsewhere over IPv6"),
        pytest.param(None, None, "::ffff:192.0.2.7", 403, id="no token is set, elsewhere, IPv4 in IPv6"),
        pytest.param(None, None, "", 403, id="no token is set, an unknown address"),
        pytest.param(None, f"Bearer {TOKEN}", ELSEWHERE, 403, id="no token is set, but one is sent"),
        pytest.param(TOKEN, f"Bearer {TOKEN}", ELSEWHERE, 202, id="with the token, elsewhere"),
        pytest.param(TOKEN, None, ELSEWHERE, 401, id="without the token, elsewhere"),
        pytest.param(TOKEN, None, HERE, 401, id="without the token, this machine"),
    ],
)
def test_posts_are_for_this_machine_or_for_the_token(
    *, web: WebBench, token: str | None, authorization: str | None, address: str, status: int
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = web.client(token=token).post(TRIGGER, headers=headers, environ_overrides={"REMOTE_ADDR": address})
    assert answer.status_code == status
    assert web.triggered.is_set() == (status == 202)


def test_without_a_token_everybody_may_read(web: WebBench) -> None:
    for address in (HERE, ELSEWHERE, "2001:db8::7"):
        for path in ("/", "/metrics"):
            answer = web.client().get(path, environ_overrides={"REMOTE_ADDR": address})
            assert answer.status_code == 200


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        pytest.param("localhost:9317", None, 202, id="no page sent it"),
        pytest.param("localhost:9317", "http://localhost:9317", 202, id="its own page"),
        pytest.param("LOCALHOST:9317", "http://localhost:9317", 202, id="its own page, capitals"),
        pytest.param("[::1]:9317", "http://[::1]:9317", 202, id="its own page over IPv6"),
        pytest.param("localhost", "http://localhost", 202, id="its own page, port 80"),
        pytest.param("localhost:9317", "https://localhost:9317", 202, id="its own page behind TLS"),
        pytest.param("localhost:9317", "http://evil.example", 403, id="a foreign page"),
        pytest.param("localhost:9317", "http://localhost:3000", 403, id="another server of this machine"),
        pytest.param("localhost:9317", "http://127.0.0.1:9317", 403, id="another name of this server"),
        pytest.param("localhost:9317", "http://localhost:9317.evil.example", 403, id="a name that begins alike"),
        pytest.param("localhost:9317", "null", 403, id="a page that hides where it is from"),
        pytest.param("localhost:9317", "", 403, id="empty"),
        pytest.param("localhost:9317", "http://[::1", 403, id="garbage"),
    ],
)
def test_a_post_from_a_page_must_come_from_the_exporters_own(
    web: WebBench, host: str, origin: str | None, status: int
) -> None:
    headers = {"Host": host} if origin is None else {"Host": host, "Origin": origin}
    assert web.client().post(TRIGGER, headers=headers).status_code == status


def test_a_foreign_page_may_not_post_even_with_the_token(web: WebBench) -> None:
    # A browser that has the password adds it to everything that a page makes it send.
    headers = {"Authorization": _basic("", TOKEN), "Origin": "http://evil.example"}
    assert web.client(token=TOKEN).post(TRIGGER, headers=headers).status_code == 403
    garbage = {**headers, "Host": "a b", "Origin": "null"}
    answer = web.client(token=TOKEN).post(TRIGGER, headers=garbage, environ_overrides={"REMOTE_ADDR": ELSEWHERE})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("host", "address", "status"),
    [
        pytest.param("localhost", HERE, 200, id="localhost"),
        pytest.param("localhost:9317", HERE, 200, id="with a port"),
        pytest.param("LocalHost:9317", HERE, 200, id="capitals"),
        pytest.param("127.0.0.1:9317", HERE, 200, id="an address"),
        pytest.param("127.1.2.3", HERE, 200, id="another address of loopback"),
        pytest.param("[::1]:9317", "::1", 200, id="IPv6"),
        pytest.param("[::ffff:127.0.0.1]", HERE, 200, id="IPv4 in IPv6"),
        pytest.param("metrics.example.com", HERE, 200, id="an allowed name"),
        pytest.param("Metrics.Example.com:443", HERE, 200, id="an allowed name with a port"),
        pytest.param("evil.example", HERE, 403, id="a foreign name"),
        pytest.param("evil.example:9317", "::1", 403, id="a foreign name over IPv6"),
        pytest.param("localhost.evil.example", HERE, 403, id="a name that begins alike"),
        pytest.param("evil.localhost", HERE, 403, id="a name that ends alike"),
        pytest.param("192.0.2.7", HERE, 403, id="a foreign address"),
        pytest.param("[2001:db8::1]", HERE, 403, id="a foreign address of IPv6"),
        pytest.param("localhost@evil.example", HERE, 403, id="a user before a foreign name"),
        pytest.param("evil.example#localhost", HERE, 403, id="a fragment"),
        pytest.param("", HERE, 403, id="empty"),
        pytest.param("[::1", HERE, 403, id="half a bracket"),
        pytest.param("a b", HERE, 403, id="garbage"),
        pytest.param("\xff\xfe", HERE, 403, id="garbage bytes"),
        pytest.param("evil.example", ELSEWHERE, 200, id="a foreign name from elsewhere: no browser of this machine"),
        pytest.param("exporter:9317", "172.18.0.3", 200, id="another container"),
    ],
)
def test_only_known_host_names_are_answered(web: WebBench, host: str, address: str, status: int) -> None:
    client = web.client(allowed_hosts=("metrics.example.com",))
    for path in ("/metrics", "/-/healthy", "/no-such-page"):
        answer = client.get(path, headers={"Host": host}, environ_overrides={"REMOTE_ADDR": address})
        assert answer.status_code == (404 if status == 200 and path == "/no-such-page" else status)


def test_a_refused_host_name_gets_advice(web: WebBench) -> None:
    answer = web.client().get("/metrics", headers={"Host": "metrics.example.com"})
    assert "EXPORTER_ALLOWED_HOSTS" in answer.text
    assert "EXPORTER_TOKEN" in web.client().post(TRIGGER, environ_overrides={"REMOTE_ADDR": ELSEWHERE}).text
