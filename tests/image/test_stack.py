"""docker-compose.yml started by Docker Compose itself, without Grafana."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from exporter.simulator.world import MANAGEMENT_KEY
from tests.fakes.demo import port_in
from tests.fakes.receivers import WebReceiver
from tests.image.engine import Engine
from tests.stack.compose import DEMO_ENV
from tests.stack.running import environment, metric_in
from tests.stack.waiting import wait_until

pytestmark = pytest.mark.usefixtures("image", "stand_ins")

# Podman's name for this machine. Podman knows host-gateway from 4.7 on; another test checks that Compose requests it.
_HOST = "host.containers.internal"

_STARTED = ("exporter", "prometheus", "alertmanager")


def _name(project: str, service: str) -> str:
    return f"{project}-{service}-1"


def _query(engine: Engine, prometheus: str, expression: str) -> list[float]:
    answer = json.loads(engine.fetch(prometheus, f"http://127.0.0.1:9090/api/v1/query?query={quote(expression)}"))
    return [float(sample["value"][1]) for sample in answer["data"]["result"]]


def test_the_demo_starts_with_one_command_fills_prometheus_and_continues_after_a_restart(engine: Engine) -> None:
    exporter, prometheus, alertmanager, demo = (_name("cliproxy-demo", name) for name in (*_STARTED, "demo-proxy"))
    try:
        # The first start builds the image, as Compose does.
        engine.compose("up", "--detach", *_STARTED, "demo-proxy", env_file=DEMO_ENV)
        engine.compose("down", "--volumes", env_file=DEMO_ENV)
        with engine.timed("compose up (exporter, prometheus, alertmanager, demo-proxy)"):
            # A variable of the shell overrides the file's, and this one saves a minute.
            short = {"EXPORTER_SERIES_BIRTH_SECONDS": "15"}
            engine.compose("up", "--detach", *_STARTED, "demo-proxy", env_file=DEMO_ENV, **short)
        with engine.timed("from there until up == 1"):
            wait_until(
                lambda: _query(engine, prometheus, 'up{job="cliproxy-exporter"}'),
                lambda found: found == [1],
                seconds=60,
            )
        with engine.timed("from there until requests are in Prometheus"):
            wait_until(lambda: _query(engine, prometheus, "sum(cliproxy_requests_total) > 0"))

        assert [name for name in (exporter, prometheus, alertmanager) if not engine.is_healthy(name)] == []
        assert _query(engine, prometheus, "cliproxy_up") == [1]
        wait_until(lambda: _query(engine, prometheus, "min(up)"), lambda found: found == [1])
        assert _query(engine, prometheus, 'cliproxy_limit_used_ratio{kind="configured", limit="hour"}')
        found = json.loads(engine.fetch(prometheus, "http://127.0.0.1:9090/api/v1/alertmanagers"))["data"]
        assert [each["url"] for each in found["activeAlertmanagers"]] == ["http://alertmanager:9093/api/v2/alerts"]
        for name in (exporter, prometheus, alertmanager, demo):
            assert engine.exec(name, "id", "-u").stdout.strip() != "0", name
            assert engine.exec(name, "touch", "/opt/x").stderr.strip().endswith("Read-only file system"), name
            assert engine.podman("port", name) == "", "only Grafana may be reached from outside"

        requests = "http://exporter:9317/metrics"
        before = metric_in(engine.fetch(prometheus, requests), "cliproxy_requests_total")
        with engine.timed("compose stop"):
            engine.compose("stop", env_file=DEMO_ENV)
        assert {name: engine.exit_code(name) for name in (exporter, prometheus, alertmanager, demo)} == dict.fromkeys(
            (exporter, prometheus, alertmanager, demo), 0
        )
        engine.compose("up", "--detach", "--no-build", *_STARTED, "demo-proxy", env_file=DEMO_ENV)
        wait_until(lambda: engine.is_healthy(exporter))
        after = metric_in(engine.fetch(demo, requests), "cliproxy_requests_total")
        assert before is not None
        assert after is not None
        assert after >= before > 0, "the ledger is in the volume"
    finally:
        engine.compose("down", "--volumes", "--timeout=1", env_file=DEMO_ENV)


@contextmanager
def _proxy_on_the_host(*options: str) -> Iterator[str]:
    """A simulated CPA on this machine, outside any container, as most users have it; gives its port."""
    command = [sys.executable, "-m", "exporter.simulator", "--host=0.0.0.0", "--port=0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment({})) as process:
        assert process.stdout is not None
        try:
            yield port_in(process.stdout.readline())
        finally:
            process.terminate()


@contextmanager
def _exporter_of(engine: Engine, directory: Path, *lines: str) -> Iterator[str]:
    """The exporter of a stack whose ``.env`` has these lines; gives its container's name."""
    project = "cliproxy-image-test"
    env_file = directory / ".env"
    env_file.write_text(
        "\n".join(["GRAFANA_ADMIN_PASSWORD=my-password", f"COMPOSE_PROJECT_NAME={project}", *lines, ""])
    )
    try:
        engine.compose("up", "--detach", "--no-build", "exporter", env_file=env_file)
        yield _name(project, "exporter")
    finally:
        engine.compose("down", "--volumes", "--timeout=1", env_file=env_file)


def test_a_proxy_on_the_host_is_reached_and_a_message_gets_out(engine: Engine, tmp_path: Path) -> None:
    with WebReceiver("0.0.0.0") as receiver, _proxy_on_the_host("--allow-remote") as port:  # noqa: S104 - from containers
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        lines = (
            f"CLIPROXY_URL=http://{_HOST}:{port}",
            f"CLIPROXY_MANAGEMENT_KEY={MANAGEMENT_KEY}",
            "EXPORTER_PRICES_REFRESH=false",
            f"EXPORTER_NOTIFY_URLS=json://{_HOST}:{receiver.server_port}",
        )
        with _exporter_of(engine, tmp_path, *lines) as exporter:
            with engine.timed("from compose up until the first figures"):
                wait_until(lambda: engine.logs(exporter), lambda log: "state=ok" in log)
            with engine.timed("notify --test until the message"):
                assert engine.exec(exporter, "cliproxy-exporter", "notify", "--test").returncode == 0
                wait_until(lambda: receiver.received)
        receiver.shutdown()
    assert "cliproxy-exporter can reach you" in str(receiver.received[0])


def test_a_proxy_that_allows_only_its_own_machine_is_reported_with_the_remedy(engine: Engine, tmp_path: Path) -> None:
    with (
        _proxy_on_the_host() as port,
        _exporter_of(
            engine,
            tmp_path,
            f"CLIPROXY_URL=http://{_HOST}:{port}",
            f"CLIPROXY_MANAGEMENT_KEY={MANAGEMENT_KEY}",
            "EXPORTER_PRICES_REFRESH=false",
        ) as exporter,
    ):
        wait_until(lambda: engine.logs(exporter), lambda log: "allow-remote: true" in log and "remote_disabled" in log)


def test_without_a_key_the_log_says_what_is_missing(engine: Engine, tmp_path: Path) -> None:
    with _exporter_of(engine, tmp_path) as exporter:
        wait_until(lambda: engine.logs(exporter), lambda log: "It is set without CLIPROXY_MANAGEMENT_KEY." in log)
