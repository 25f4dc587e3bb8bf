"""``/metrics`` of the whole program: one recorded scrape, and real clients of every kind.

``tests/golden/metrics.txt`` is what a script sees after the program has read the recordings below. After an intended
change, regenerate it and read the difference line by line:

UPDATE_GOLDEN=1 .tools/venv/bin/pytest tests/integration/test_scrape.py -k golden
"""

import gzip
import http.client
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from decimal import Decimal
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from pydantic import SecretStr

from exporter.app import Exporter
from exporter.metrics.credentials import QUOTA_FETCHES, QUOTAS
from exporter.metrics.exporter import HISTORY
from exporter.metrics.limits import CAPACITY, POOL_EMPTY
from exporter.metrics.prices import PRICE_FEED
from exporter.settings.proxies import Aliases, ClientAlias, CredentialAlias
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.program import metrics_of, running, settings_for
from tests.fakes.guarding import KEY, TurnableClock
from tests.fakes.replay import Recording, ReplayProxy
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.stack import loopback
from tests.stack.monitoring import VERSION_LINES, binaries_of, promtool_check_metrics, run_prometheus
from tests.stack.pages.reference import FAMILIES
from tests.stack.running import exporter_process, metric_in
from tests.stack.waiting import PATIENCE_SECONDS, wait_until

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "metrics.txt"
OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0"}

# --- the recorded scrape ----------------------------------------------------------------------------------------------

NOW = 1_795_535_400.0
"""2026-11-24 15:50 UTC, a little after the recordings, while accounts in one of them are cooling down."""

RECORDED = "v7.2.140"
MANAGEMENT = "/v0/management"
LISTS = {
    "api-key-usage": "api-key-usage-after",
    "config": "management/config",
    "usage-statistics-enabled": "management/usage-statistics-enabled-on",
    "gemini-api-key": "management/gemini-api-key",
    "claude-api-key": "management/claude-api-key",
    "openai-compatibility": "management/openai-compatibility",
    "vertex-api-key": "management/vertex-api-key",
}
BATCHES = ("claude-oauth", "claude-apikey", "codex-oauth", "openai-compat", "kimi-oauth", "failures-by-status")
LIMITS = """
limits:
  - {id: claude, provider: claude, per: credential, strategy: session, window_minutes: 300, tokens: 1_000_000, usd: 5}
  - {id: hour, client: alpha, strategy: rolling, window_minutes: 60, requests: 100, warning: 0.5}
plans:
  - {credential: claude-main, price_per_month: 200}
"""
NO_RECORD = "a planted element that is no record"


def _recording(name: str) -> Recording:
    return Recording.read(f"{RECORDED}/{name}.json")


def _accounts() -> Recording:
    """The accounts of the recorded traffic; one of them cools down, as in another recording."""
    recording, cooling = _recording("auth-files-after"), _recording("auth-files-cooldown")
    body, state = json.loads(recording.body), json.loads(cooling.body)["files"][1]
    (alice,) = [file for file in body["files"] if file["name"] == state["name"]]
    alice |= {key: state[key] for key in ("status", "unavailable", "next_retry_after")}
    return replace(recording, body=json.dumps(body).encode())


class _RecordedProxy(ReplayProxy):
    """The recorded server, whose queue gives the recorded batches and one element that is not a record, once."""

    def __init__(self) -> None:
        super().__init__()
        self.answer(f"{MANAGEMENT}/auth-files", _accounts())
        for path, name in LISTS.items():
            self.answer(f"{MANAGEMENT}/{path}", _recording(name))
        recordings = [_recording(f"usage-queue/{name}") for name in BATCHES]
        records = [record for recording in recordings for record in json.loads(recording.body)]
        odd = json.loads(_recording("usage-queue/oddities").body)
        records += [record for record in odd if record["token_breakdown"]["quality"] == "inconsistent"]
        # A refusal without a share, which no recorded account sent.
        refused = next(each["response_headers"] for each in records if each["fail"]["status_code"] == 429)
        prefix = "Anthropic-Ratelimit-Unified-7d"
        refused |= {f"{prefix}_oi-Status": ["rejected"], f"{prefix}_oi-Reset": refused[f"{prefix}-Reset"]}
        self._full = [replace(recordings[0], body=json.dumps([*records, NO_RECORD]).encode())]
        self.received_records = len(records) + 1

    def find(self, method: str, path: str) -> Recording:
        if not path.startswith(f"{MANAGEMENT}/usage-queue?"):
            return super().find(method, path)
        if path.endswith("?count=0"):
            return _recording("usage-queue/count-0")
        return self._full.pop() if self._full else _recording("usage-queue/empty")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """The program after it has read everything."""
    clock = TurnableClock(now=NOW)
    aliases = Aliases(
        clients=(ClientAlias(key=SecretStr("sk-client-alpha-planted-41b7"), alias="alpha"),),
        credentials=(CredentialAlias(email=SecretStr("Alice.Claude@planted.example"), alias="claude-main"),),
    )
    with _RecordedProxy() as proxy:
        folder = tmp_path_factory.mktemp("golden")
        limits = folder / "limits.yaml"
        limits.write_text(LIMITS)
        settings = settings_for(
            folder, exporter_limits_file=limits, proxy_url=proxy.url, key=KEY, aliases=aliases, timezone="Europe/Berlin"
        )
        with running(settings, clock=clock) as exporter:
            polls = "cliproxy_exporter_poll_duration_seconds_count"
            wait_until(lambda: metric_in(metrics_of(exporter), polls))
            booked = metric_in(metrics_of(exporter), "cliproxy_exporter_records_booked_total")
            assert booked == proxy.received_records - 1
            exporter.parts.ledger.periods.refresh()  # as it does by itself every few seconds
            exporter.parts.limits.refresh()
            yield exporter


_VOLATILE = [
    (r"^(cliproxy_exporter_(?:polls_total|ledger_bytes)\b.*) \S+$", r"\1 <any>"),
    (r"^(cliproxy_exporter_poll_duration_seconds_\w+\{.*\}) \S+$", r"\1 <any>"),
    (
        r'^cliproxy_exporter_build_info\{python=".*",version=".*"\}',
        'cliproxy_exporter_build_info{python="",version=""}',
    ),
]


def _steady(text: str) -> str:
    """The text without what differs between two runs, and without prometheus_client's metrics of the process."""
    text = "".join(line for line in text.splitlines(keepends=True) if not re.match(r"(# \w+ )?(process|python)_", line))
    for pattern, replacement in _VOLATILE:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


def test_golden(recorded: Exporter) -> None:
    text = _steady(metrics_of(recorded))
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text.splitlines() == GOLDEN.read_text(encoding="utf-8").splitlines(), "see the top of this file"


def test_promtool_finds_nothing_wrong(recorded: Exporter) -> None:
    assert promtool_check_metrics(metrics_of(recorded)) == []


def test_no_key_and_no_address_is_shown(recorded: Exporter) -> None:
    text = metrics_of(recorded)
    assert "planted" not in text
    assert not re.search(r"sk-|@|AIza", text)


@pytest.mark.parametrize("accept", ["*/*", OPENMETRICS["Accept"]], ids=["text", "OpenMetrics"])
def test_every_family_is_there_once_with_the_declared_type_help_and_labels(recorded: Exporter, accept: str) -> None:
    parse = parse_openmetrics if accept.startswith("application") else parse_text
    families = list(parse(metrics_of(recorded, accept=accept)))
    assert len({family.name for family in families}) == len(families)
    shown = {family.name: family for family in families}
    assert not {family.name for family in HISTORY} & shown.keys(), "nothing of a history that there is not"
    for family in {*FAMILIES} - {*HISTORY}:
        found = shown.pop(family.name)
        assert (found.type, found.documentation) == (family.kind, family.help)
        # tests/integration/test_prices.py covers a price list on the web, and test_quotas.py covers asking providers. A
        # window's worth takes hours of readings: tests/unit/metrics/test_limits.py. These accounts last longer than a
        # pool's forecast reaches: tests/unit/metrics/test_limits_pools.py.
        told_elsewhere = {PRICE_FEED, POOL_EMPTY, *CAPACITY, QUOTA_FETCHES, *QUOTAS}
        assert found.samples or family in told_elsewhere, f"{family.name} has no sample"
        for sample in found.samples:
            assert set(sample.labels) - {"le"} == set(family.labels), sample
    assert {"process_resident_memory_bytes", "python_info"} <= shown.keys()
    assert not [name for name in shown if not name.startswith(("process_", "python_"))], "declared nowhere"
    samples = [(each.name, tuple(sorted(each.labels.items()))) for family in families for each in family.samples]
    assert len(samples) == len(set(samples))


M = Decimal("1e-6")


@pytest.mark.parametrize(
    ("labels", "cost"),
    [
        pytest.param(
            # One request has 120 uncached, 4000 read, 300 written and 310 out tokens, one has 120 in and 250 out, and
            # failures cost nothing.
            {"model": "claude-sonnet-4-5-20250929", "credential": "claude-main", "client": "alpha"},
            (120 * 3 + 4000 * Decimal("0.3") + 300 * Decimal("3.75") + 310 * 15 + 120 * 3 + 250 * 15) * M,
            id="Claude: 3 in, 0.30 read, 3.75 write, 15 out",
        ),
        pytest.param(
            {"model": "claude-opus-4-6", "client": "alpha"},
            (120 * 5 + 4000 * Decimal("0.5") + 300 * Decimal("6.25") + 310 * 25 + 120 * 5 + 250 * 25) * M,
            id="Claude: 5 in, 0.50 read, 6.25 write, 25 out",
        ),
        pytest.param(
            # Input includes cache reads and writes here: 4420 = 120 + 4000 + 300. Writes cost as much as other input.
            {"model": "gpt-5.4", "client": "alpha"},
            2 * (420 * Decimal("2.5") + 4000 * Decimal("0.25") + 310 * 15 + 120 * Decimal("2.5") + 250 * 15) * M,
            id="Codex: 2.50 in, 0.25 read, 15 out",
        ),
    ],
)
def test_costs_match_a_calculation_by_hand(recorded: Exporter, labels: dict[str, str], cost: Decimal) -> None:
    (family,) = [each for each in parse_text(metrics_of(recorded)) if each.name == "cliproxy_cost_usd"]
    found = [sample.value for sample in family.samples if labels.items() <= sample.labels.items()]
    assert sum(found) == pytest.approx(float(cost), abs=1e-9)


# --- real clients -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Exporter, SteeredProxy]]:
    """The program beside an empty demo proxy that does nothing."""
    proxy = SteeredProxy(key=MANAGEMENT_KEY)
    with SteeredServer(proxy) as server:
        settings = settings_for(tmp_path_factory.mktemp("served"), proxy_url=server.url, key=MANAGEMENT_KEY)
        with running(settings) as exporter:
            wait_until(lambda: metrics_of(exporter), lambda text: 'cliproxy_up{proxy="default"} 1.0' in text)
            yield exporter, proxy


class _Listener(ThreadingHTTPServer):
    """Answers every scrape with nothing and keeps its headers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ListenerHandler)
        self.line = ""
        self.heard: dict[str, Message] = {}


class _ListenerHandler(BaseHTTPRequestHandler):
    server: _Listener

    def do_GET(self) -> None:
        self.server.heard[self.server.line] = self.headers
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Keep the test's output clean."""


def test_the_headers_that_prometheus_really_sends_are_understood(
    served: tuple[Exporter, SteeredProxy], tmp_path: Path
) -> None:
    heard: dict[str, Message] = {}
    with ExitStack() as stack:
        for line in VERSION_LINES:  # both at once, because each takes five seconds until its first scrape
            workdir = tmp_path / line
            workdir.mkdir()
            listener = stack.enter_context(_Listener())
            thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(thread.join)
            stack.callback(listener.shutdown)
            listener.heard = heard
            listener.line = line
            target = f"127.0.0.1:{listener.server_port}"
            stack.enter_context(run_prometheus(binaries_of(line), targets=[target], workdir=workdir))
        wait_until(lambda: set(heard) == set(VERSION_LINES))
    for line, headers in heard.items():
        sent = {name: headers[name] for name in ("Accept", "Accept-Encoding")}
        answer = loopback.get(f"{served[0].web.url}/metrics", headers=sent)
        assert answer.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8", line
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.text.endswith("\n# EOF\n")
        assert list(parse_openmetrics(answer.text))  # type: ignore[no-untyped-call] # it has no types


@contextmanager
def _connection(exporter: Exporter) -> Iterator[http.client.HTTPConnection]:
    place = urlsplit(exporter.web.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE_SECONDS)
    try:
        yield connection
    finally:
        connection.close()


def _say(exporter: Exporter, request: bytes) -> bytes:
    """The server's answer to these bytes, until it closes the connection."""
    place = urlsplit(exporter.web.url)
    with socket.create_connection((place.hostname, place.port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
        return answer


def test_compression_does_not_change_the_content(recorded: Exporter) -> None:
    with _connection(recorded) as connection:
        bodies = []
        for encoding in ("gzip", "identity"):
            connection.request("GET", "/metrics", headers={"Accept-Encoding": encoding})
            answer = connection.getresponse()
            body = answer.read()
            assert int(answer.headers["Content-Length"]) == len(body)
            assert answer.headers["Vary"] == "Accept, Accept-Encoding"
            bodies.append(gzip.decompress(body) if encoding == "gzip" else body)
        assert _steady(bodies[0].decode()) == _steady(bodies[1].decode())


def test_head_keeps_the_connection_usable(served: tuple[Exporter, SteeredProxy]) -> None:
    with _connection(served[0]) as connection:
        for method in ("HEAD", "GET", "HEAD"):
            connection.request(method, "/metrics")
            answer = connection.getresponse()
            assert (answer.status, bool(answer.read())) == (200, method == "GET")
            assert int(answer.headers["Content-Length"]) > 1000


@pytest.mark.parametrize("path", ["/metrics", "/-/healthy", "/"])
def test_http_1_0_without_a_host_is_answered(served: tuple[Exporter, SteeredProxy], path: str) -> None:
    answer = _say(served[0], f"GET {path} HTTP/1.0\r\n\r\n".encode())
    assert re.match(rb"HTTP/1\.[01] 200 OK\r\n", answer)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(
            b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 403, id="foreign host"
        ),
        pytest.param(b"GET /metrics HTTP/1.1\r\nHost: \xff\xfe\r\nConnection: close\r\n\r\n", 403, id="garbage host"),
        pytest.param(
            b"GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            400,
            id="an address as to a proxy",
        ),
        pytest.param(b"\x16\x03\x01 TLS hello\r\n\r\n", 400, id="TLS"),
        pytest.param(
            b"POST /api/collector/trigger HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n"
            b"Content-Length: 0\r\nConnection: close\r\n\r\n",
            403,
            id="foreign page",
        ),
        pytest.param(
            b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", 413, id="100 KB header"
        ),
        pytest.param(b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, id="100 KB path"),
    ],
)
def test_bad_requests_are_refused_at_the_socket(
    served: tuple[Exporter, SteeredProxy], request_bytes: bytes, status: int
) -> None:
    assert re.match(rb"HTTP/1\.1 %d " % status, _say(served[0], request_bytes))
    assert metrics_of(served[0])


def test_a_large_body_is_refused(served: tuple[Exporter, SteeredProxy]) -> None:
    answer = loopback.post(f"{served[0].web.url}/api/collector/trigger", content=b"x" * 100_000)
    assert answer.status_code == 413


def test_a_trigger_polls_at_once(served: tuple[Exporter, SteeredProxy]) -> None:
    exporter, proxy = served
    before = proxy.requests["usage-queue"]
    answer = loopback.post(f"{exporter.web.url}/api/collector/trigger")
    assert answer.status_code == 202
    wait_until(lambda: proxy.requests["usage-queue"] > before)


def test_over_ipv6_it_is_reached_at_the_url_that_it_names(tmp_path: Path) -> None:
    if not loopback.has_ipv6():
        with exporter_process(tmp_path, proxy_url="http://127.0.0.1:9", key="k", EXPORTER_HOST="::1") as program:
            assert program.wait() == 1
            assert "The exporter cannot listen on ::1:0" in program.log[0]
        return
    settings = settings_for(tmp_path, proxy_url="http://127.0.0.1:9", key=MANAGEMENT_KEY, exporter_host="::1")
    with running(settings) as exporter:
        assert exporter.web.url.startswith("http://[::1]:")
        assert "cliproxy_exporter_build_info{" in metrics_of(exporter)


@pytest.mark.parametrize(
    "dawdle",
    [
        pytest.param(b"", id="clients that say nothing"),
        pytest.param(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Sl", id="clients that break off"),
        pytest.param(
            b"POST /api/collector/trigger HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1",
            id="clients that owe a body",
        ),
    ],
)
def test_two_hundred_slow_clients_do_not_stop_a_scrape(served: tuple[Exporter, SteeredProxy], dawdle: bytes) -> None:
    place = urlsplit(served[0].web.url)
    with ExitStack() as stack:
        for _ in range(200):
            connection = stack.enter_context(socket.create_connection((place.hostname, place.port), timeout=5))
            if dawdle:
                connection.sendall(dawdle)
        started = time.monotonic()
        for _ in range(3):
            assert "cliproxy_up" in metrics_of(served[0])
        assert time.monotonic() - started < 8
    wait_until(lambda: sum(thread.name == "web-client" for thread in threading.enumerate()) < 5)


def test_slow_clients_do_not_delay_a_stop(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, proxy_url="http://127.0.0.1:9", key=MANAGEMENT_KEY)
    with ExitStack() as stack:
        with running(settings) as exporter:
            place = urlsplit(exporter.web.url)
            for _ in range(20):
                connection = stack.enter_context(socket.create_connection((place.hostname, place.port), timeout=5))
                connection.sendall(b"GET / HTTP/1.1\r\nHost: loc")
            assert metrics_of(exporter)
            started = time.monotonic()
        assert time.monotonic() - started < 8
