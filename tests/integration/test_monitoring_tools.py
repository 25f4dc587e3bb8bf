"""The tests' own tools: real Prometheus servers and Alertmanagers start, scrape and answer."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.stack.monitoring import (
    VERSION_LINES,
    binaries_of,
    prometheus_binaries,
    promtool_check_metrics,
    run_alertmanager,
    run_prometheus,
)

EXPOSITION = """\
# HELP toy_answers_total Answers given so far.
# TYPE toy_answers_total counter
toy_answers_total{kind="right"} 41
toy_answers_total{kind="wrong"} 1
"""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = EXPOSITION.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def target() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("line", VERSION_LINES)
def test_prometheus_scrapes_a_target_and_answers_queries(line: str, target: str, tmp_path: Path) -> None:
    with run_prometheus(binaries_of(line), targets=[target], workdir=tmp_path) as prometheus:
        prometheus.wait_for("up", lambda samples: [each.value for each in samples] == [1])
        version = prometheus.get("status/buildinfo")["version"]
        right = prometheus.query('toy_answers_total{kind="right"}')
        total = prometheus.query("sum(toy_answers_total)")
        scalar = prometheus.query("1 + 1")
        before = prometheus.query("up", time=time.time() - 3600)
        now = time.time()
        series = prometheus.query_range("sum(toy_answers_total)", start=now, end=now + 2, step=1)

    assert version.startswith(line.removesuffix("x"))
    assert [(each.labels["job"], each.labels["instance"], each.value) for each in right] == [
        ("cliproxy-exporter", target, 41)
    ]
    assert [each.value for each in total] == [42]
    assert [each.value for each in scalar] == [2]
    assert before == []
    assert [value for _when, value in series[0].points] == [42, 42, 42]


@pytest.mark.parametrize("line", VERSION_LINES)
def test_alertmanager_takes_alerts_and_sends_them(line: str, tmp_path: Path) -> None:
    config = tmp_path / "alertmanager.yml"
    config.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")

    with run_alertmanager(binaries_of(line), config=config, workdir=tmp_path) as alertmanager:
        alertmanager.post({"labels": {"alertname": "ToyIsBroken"}, "annotations": {"summary": "It is."}})
        (alert,) = alertmanager.alerts()

    assert (alert["labels"], alert["annotations"]) == ({"alertname": "ToyIsBroken"}, {"summary": "It is."})


def test_an_alertmanager_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    config = tmp_path / "alertmanager.yml"
    config.write_text("route: {receiver: nobody}\n")

    with (
        pytest.raises(AssertionError, match=r"(?s)Alertmanager did not start.*undefined receiver"),
        run_alertmanager(prometheus_binaries()[0], config=config, workdir=tmp_path),
    ):
        pass


def test_waiting_in_vain_shows_what_was_seen(tmp_path: Path) -> None:
    with (
        run_prometheus(prometheus_binaries()[0], targets=[], workdir=tmp_path) as prometheus,
        pytest.raises(AssertionError, match=r"absent_metric still gives \[\]; targets: \[\]"),
    ):
        prometheus.wait_for("absent_metric", timeout=0.1)


def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match=r"(?s)did not start.*not a valid duration"),
        run_prometheus(prometheus_binaries()[0], targets=[], workdir=tmp_path, scrape_interval="often"),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        pytest.param(EXPOSITION, None, id="a good exposition"),
        pytest.param(EXPOSITION.replace("counter", "gauge"), "toy_answers_total", id="a gauge named _total"),
        pytest.param(EXPOSITION.replace("41", "many"), "many", id="a value that is no number"),
    ],
)
def test_promtool_judges_an_exposition(text: str, finding: str | None) -> None:
    findings = promtool_check_metrics(text)
    if finding is None:
        assert findings == []
    else:
        assert {each.split(":")[0] for each in findings} == {f"promtool {line}" for line in VERSION_LINES}
        assert any(finding in each for each in findings)


@pytest.mark.parametrize(
    "there",
    [
        pytest.param([], id="an empty folder"),
        pytest.param(["VERSION", "bin/prometheus", "bin/promtool"], id="a folder from before Alertmanager was needed"),
    ],
)
def test_without_the_servers_a_test_fails_and_says_what_to_do(
    there: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in there:
        (tmp_path / "bookworm" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bookworm" / name).write_text("2.42.0+ds\n")
    monkeypatch.setenv("TEST_MONITORING_DIR", str(tmp_path))
    with pytest.raises(pytest.fail.Exception, match=r"2\.42 and 3\.x with Alertmanager.*run make test"):
        prometheus_binaries()
