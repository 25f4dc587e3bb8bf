"""Older and newer demo proxies, live traffic, and the demo proxy as a separate process."""

import os
import signal
import subprocess
import sys

import pytest

from exporter.simulator.live import live_traffic
from exporter.simulator.world import CLIENTS
from tests.fakes.demo import KEY, Start, port_in
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.integration.demo.conftest import (
    QUEUE,
    ROOT,
    SWITCH,
    ask_as_recorded,
    assert_as_recorded,
    first_types,
    read_recording,
    traffic,
)
from tests.stack import loopback
from tests.stack.waiting import wait_until

# --- versions ---------------------------------------------------------------------------------------------------------


def test_an_old_version_answers_the_snapshot_and_has_no_queue(start: Start) -> None:
    proxy, client = start("v6.9.49")
    empty = read_recording("v6.9.49/usage/usage-empty.json")
    assert_as_recorded(ask_as_recorded(client, empty, with_key=True), empty)
    absent = read_recording("v6.9.49/usage-queue-path.json")
    assert_as_recorded(ask_as_recorded(client, absent, with_key=True), absent)
    attempts = traffic(30, shape=proxy.shape)
    proxy.publish(attempts)
    usage = client.get("/v0/management/usage").json()["usage"]
    details = [
        detail for api in usage["apis"].values() for model in api["models"].values() for detail in model["details"]
    ]
    recorded = read_recording("v6.9.49/usage/usage-1.json")["body"]["usage"]

    assert usage["total_requests"] == len(details) == 30
    assert usage["failure_count"] == sum(attempt.failed for attempt in attempts)
    assert usage.keys() == recorded.keys()
    twin = recorded["apis"]["sk-client-alpha-planted-41b7"]["models"]["claude-sonnet-4-5-20250929"]["details"][0]
    assert first_types(details[0]) == first_types(twin)


def test_between_snapshot_and_http_queue_there_is_neither(start: Start) -> None:
    _, client = start("v6.10.5")
    for path in ("usage", "usage-queue?count=0"):
        answer = client.get(f"/v0/management/{path}")
        assert (answer.status_code, answer.text) == (404, "404 page not found")
    assert client.get(SWITCH).headers["X-Cpa-Version"] == "v6.10.5"


@pytest.mark.parametrize(
    "name",
    [
        "usage-queue-count-0",
        "usage-queue-empty",
        "usage-statistics-enabled",
        "config-node-not-found",
        "quota-fetch-501",
    ],
)
def test_a_v8_route_answers_as_documented(start: Start, name: str) -> None:
    _, client = start("v8.0.3")
    recorded = read_recording(f"v8-constructed/{name}.json")
    answer = client.request(
        recorded["request"]["method"], recorded["request"]["path"], json=recorded["request"].get("body")
    )
    assert_as_recorded(answer, recorded)


def test_v8_pops_the_same_queue_under_both_paths(start: Start) -> None:
    proxy, client = start("v8.0.3")
    proxy.enqueue([{"n": 1}, {"n": 2}])

    assert client.get("/v8/management/observability/usage/queue").json() == [{"n": 1}]
    assert client.get(QUEUE).json() == [{"n": 2}]
    assert proxy.requests["usage-queue"] == 2
    files = client.get("/v8/management/credentials", params={"page": 2, "page_size": 5}).json()["files"]
    assert len(files) == 2
    assert client.get("/v8/management/config/access/api-keys").json() == [each.key for each in CLIENTS]


def test_v7_has_no_v8_paths(start: Start) -> None:
    _, client = start()
    assert client.get("/v8/management/observability/usage/queue?count=0").status_code == 404


@pytest.mark.parametrize(("shown", "header"), [("dev", "dev"), ("", None)])
def test_the_shown_version_may_be_empty(start: Start, shown: str, header: str | None) -> None:
    _, client = start(shown_version=shown)
    assert client.get(SWITCH).headers.get("X-Cpa-Version") == header


# --- live traffic -----------------------------------------------------------------------------------------------------


def test_live_traffic_begins_with_a_burst_and_continues(start: Start) -> None:
    proxy, client = start()
    with live_traffic(proxy, rate=200, seed=1, burst=40):
        assert len(client.get(f"{QUEUE}?count=40").json()) == 40
        wait_until(lambda: proxy.counts().enqueued > 60)
    assert sum(proxy.truth.attempts.values()) == proxy.counts().enqueued


def test_a_taken_port_is_an_error_of_the_caller() -> None:
    with SteeredServer(SteeredProxy()) as server, pytest.raises(OSError, match="in use"):
        SteeredServer(SteeredProxy(), port=server.port)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--help"], 0, "Example: python -m exporter.simulator"),
        (["--version", "newest"], 2, "not one of '6.9', '7.2', '8'"),
        (["--port", "taken"], 1, "Cannot listen on 127.0.0.1"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: list[str], code: int, text: str) -> None:
    with SteeredServer(SteeredProxy()) as server:
        asked = [str(server.port) if argument == "taken" else argument for argument in arguments]
        command = [sys.executable, "-m", "exporter.simulator", *asked]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert result.returncode == code
    assert text in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_the_demo_runs_as_a_process_and_ends_on_sigterm() -> None:
    command = [sys.executable, "-m", "exporter.simulator", "--port", "0", "--rate", "5"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = port_in(process.stdout.readline())
        with loopback.client(base_url=f"http://127.0.0.1:{port}", headers=KEY) as client:
            records = client.get(f"{QUEUE}?count=100").json()
        assert len(records) == 100
        os.kill(process.pid, signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, output, errors) == (0, "", "")
