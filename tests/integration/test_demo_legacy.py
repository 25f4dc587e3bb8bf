"""The demo proxy over real HTTP as a server up to 6.9, and as one that is upgraded while it runs."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from exporter.simulator.world import CREDENTIALS, MANAGEMENT_KEY
from tests.fakes.demo import KEY, Start, demo_starter, port_in
from tests.fakes.guarding import TurnableClock
from tests.fakes.recordings import recorded
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.traffic import Attempt, Traffic
from tests.stack import loopback
from tests.stack.waiting import PATIENCE_SECONDS, wait_until

ROOT = Path(__file__).resolve().parents[2]
NOW = 1795503600.0
USAGE = "/v0/management/usage"
QUEUE = "/v0/management/usage-queue"
SWITCH = "/v0/management/usage-statistics-enabled"
LEGACY = ["v6.9.49", "v6.6.96"]
VOLATILE = {"date", "connection", "content-length", "transfer-encoding", "x-cpa-commit"}


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a demo proxy of a version; return it and a client that knows the key."""
    with demo_starter("v6.9.49", TurnableClock(now=NOW)) as starting:
        yield starting


def _ask_as_recorded(client: httpx.Client, answer: dict[str, Any], *, with_key: bool = True) -> httpx.Response:
    asked = answer["request"]
    headers = dict(asked.get("headers", {}))
    if "X-Management-Key" in headers:
        headers["X-Management-Key"] = MANAGEMENT_KEY
    body = asked.get("body")
    content = None if body is None else body if isinstance(body, str) else json.dumps(body)
    with loopback.client(base_url=client.base_url) as plain:
        key = KEY if with_key else {}
        return plain.request(asked["method"], asked["path"], headers=headers | key, content=content)


def _assert_as_recorded(answer: httpx.Response, twin: dict[str, Any], *, body: bool = True) -> None:
    assert answer.status_code == twin["status"]
    if body:
        assert (answer.json() if "body" in twin else answer.text) == twin.get("body", twin.get("body_text"))
    expected = {name.lower(): value for name, value in twin["headers"].items() if name.lower() not in VOLATILE}
    assert {name: value for name, value in answer.headers.items() if name not in VOLATILE} == expected


def _traffic(count: int, *, seed: int = 11) -> list[Attempt]:
    return Traffic(seed=seed, zone=SteeredProxy().zone).batch(count, ending=NOW)


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shape(inner) for name, inner in value.items()}
    return [_shape(inner) for inner in value[:1]] if isinstance(value, list) else type(value)


# --- as recorded ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", LEGACY)
@pytest.mark.parametrize(
    "name",
    [
        "usage/usage-empty",
        "usage-queue-path",
        "management/healthz",
        "management/root",
        "management/usage-statistics-enabled-on",
        "management/usage-statistics-enabled-put-invalid",
        "management/quota-providers",
        "refused/missing-key",
        "refused/remote-disabled",
        "refused/basic-wins-over-x-management-key",
        "refused/unknown-path",
        "refused/unknown-path-no-key",
    ],
)
def test_an_answer_is_the_recorded_one(start: Start, version: str, name: str) -> None:
    _, client = start(version)
    twin = recorded(f"{version}/{name}.json")
    without = name in {
        "refused/missing-key",
        "refused/unknown-path-no-key",
        "refused/basic-wins-over-x-management-key",
    }
    _assert_as_recorded(_ask_as_recorded(client, twin, with_key=not without), twin)


@pytest.mark.parametrize("version", LEGACY)
def test_wrong_keys_are_answered_as_recorded(start: Start, version: str) -> None:
    _, client = start(version)
    for attempt in range(1, 7):
        twin = recorded(f"{version}/refused/wrong-key-{attempt}.json")
        _assert_as_recorded(client.get(SWITCH, headers={"Authorization": "Bearer wrong"}), twin)
    for name in ("banned-with-right-key", "banned-unknown-path"):
        twin = recorded(f"{version}/refused/{name}.json")
        _assert_as_recorded(_ask_as_recorded(client, twin), twin)


@pytest.mark.parametrize("version", LEGACY)
def test_disabled_management_is_the_recorded_404(start: Start, version: str) -> None:
    proxy, client = start(version)
    proxy.management = False
    twin = recorded(f"{version}/refused/management-disabled.json")
    _assert_as_recorded(_ask_as_recorded(client, twin), twin)


@pytest.mark.parametrize("version", LEGACY)
def test_the_recorded_imports_are_answered_as_recorded(start: Start, version: str) -> None:
    _, client = start(version)
    # The one request that the recorded server had served since its restart.
    before = recorded(f"{version}/usage/usage-after-restart-1.json")["body"]
    client.post(f"{USAGE}/import", json={"version": 1, "usage": before["usage"]})
    for name in ("import-1", "import-again", "import-bad-version", "import-not-json"):
        twin = recorded(f"{version}/usage/{name}.json")
        _assert_as_recorded(_ask_as_recorded(client, twin), twin)

    after = client.get(USAGE).json()
    twin = recorded(f"{version}/usage/usage-after-import.json")["body"]
    assert _sorted_details(after) == _sorted_details(twin), "day, hour, keys and sums to the last figure"


def _sorted_details(body: dict[str, Any]) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(body))
    for api in copy["usage"]["apis"].values():
        for model in api["models"].values():
            model["details"].sort(key=json.dumps)
    return copy


@pytest.mark.parametrize("version", LEGACY)
@pytest.mark.parametrize("name", ["usage", "export"])
def test_usage_and_its_export_have_the_recorded_shape(start: Start, version: str, name: str) -> None:
    proxy, client = start(version)
    proxy.publish(_traffic(100))
    twin = recorded(f"{version}/usage/{'usage-2' if name == 'usage' else 'export'}.json")
    answer = _ask_as_recorded(client, twin)
    _assert_as_recorded(answer, twin, body=False)

    def shape(body: dict[str, Any]) -> list[Any]:
        usage = dict(body["usage"])
        api = dict(next(iter(usage.pop("apis").values())))
        model = next(iter(api.pop("models").values()))
        days = [usage.pop(name) for name in list(usage) if "_by_" in name]
        return [
            _shape({**body, "usage": usage}),
            _shape(api),
            _shape(model),
            [re.sub("[0-9]", "0", str(next(iter(day)))) for day in days],
        ]

    assert shape(answer.json()) == shape(twin["body"])


@pytest.mark.parametrize("version", LEGACY)
def test_the_auth_files_have_the_fields_of_the_version(start: Start, version: str) -> None:
    proxy, client = start(version)
    twins = {each["provider"]: each for each in recorded(f"{version}/auth-files-after.json")["body"]["files"]}
    proxy.publish(attempt for attempt in _traffic(300) if not attempt.failed)
    files = client.get("/v0/management/auth-files").json()["files"]

    assert {each["provider"] for each in files} == twins.keys()
    for entry in files:
        assert _shape(entry) == _shape(twins[entry["provider"]])


@pytest.mark.parametrize(
    ("version", "counted", "bucketed"),
    [("v6.9.45", False, False), ("v6.9.46", False, True), ("v6.9.48", False, True), ("v6.9.49", True, True)],
)
def test_the_counts_of_credentials_arrived_version_by_version(
    start: Start, version: str, counted: bool, bucketed: bool
) -> None:
    proxy, client = start(version)
    proxy.publish(_traffic(100))
    entry = client.get("/v0/management/auth-files").json()["files"][0]
    keys = client.get("/v0/management/api-key-usage")

    assert ("success" in entry, "failed" in entry, "recent_requests" in entry) == (counted, counted, bucketed)
    assert keys.status_code == (200 if version >= "v6.9.47" else 404)
    if keys.status_code == 200:
        of_key = next(iter(keys.json()["claude"].items()))
        assert of_key[0].startswith("https://") is counted
        assert isinstance(of_key[1], dict if counted else list)


@pytest.mark.parametrize("version", LEGACY)
@pytest.mark.parametrize("route", ["claude-api-key", "gemini-api-key", "vertex-api-key", "openai-compatibility"])
def test_a_key_list_has_the_recorded_shape(start: Start, version: str, route: str) -> None:
    _, client = start(version)
    answer = client.get(f"/v0/management/{route}").json()
    assert _shape(answer) == _shape(recorded(f"{version}/management/{route}.json")["body"])


def test_every_detail_can_be_joined_with_the_lists(start: Start) -> None:
    proxy, client = start()
    proxy.publish(_traffic(400))
    known = {each["auth_index"] for each in client.get("/v0/management/auth-files").json()["files"]}
    for route in ("claude-api-key", "gemini-api-key", "vertex-api-key"):
        known |= {each["auth-index"] for each in client.get(f"/v0/management/{route}").json()[route]}
    compat = client.get("/v0/management/openai-compatibility").json()["openai-compatibility"]
    known |= {key["auth-index"] for each in compat for key in each["api-key-entries"]}
    usage = client.get(USAGE).json()["usage"]
    used = {
        detail["auth_index"]
        for api in usage["apis"].values()
        for model in api["models"].values()
        for detail in model["details"]
    }

    assert used == known
    assert len(used) == len(CREDENTIALS)


def test_an_old_server_shows_no_version(start: Start) -> None:
    for version, shown in (("v6.3.35", None), ("v6.3.36", "v6.3.36")):
        _, client = start(version)
        assert client.get(SWITCH).headers.get("X-Cpa-Version") == shown
    assert start("v6.0.4")[1].get(SWITCH).status_code == 404
    assert start("v6.6.55")[1].get(f"{USAGE}/export").status_code == 404


def test_a_vendor_is_asked_through_the_tunnel_with_the_old_handle(start: Start) -> None:
    proxy, client = start()
    header = {"Authorization": "Bearer $TOKEN$", "User-Agent": "claude-code/2.1.0"}
    call = {"method": "GET", "url": "https://api.anthropic.com/api/oauth/usage", "header": header}
    own = client.post("/v0/management/api-call", json=call | {"auth_index": proxy.auth_index(CREDENTIALS[0])})
    new = client.post("/v0/management/api-call", json=call | {"auth_index": CREDENTIALS[0].auth_index})

    assert (own.json()["status_code"], new.json()["status_code"]) == (200, 401)


# --- upgrades and forks -----------------------------------------------------------------------------------------------


def test_an_upgrade_removes_the_snapshot_and_brings_the_queue(start: Start) -> None:
    proxy, client = start()
    proxy.publish(_traffic(30))
    old = {each["name"]: each["auth_index"] for each in client.get("/v0/management/auth-files").json()["files"]}
    assert client.get(f"{QUEUE}?count=0").status_code == 404
    proxy.upgrade("v7.2.140")
    proxy.publish(_traffic(20, seed=12))

    assert client.get(USAGE).status_code == 404
    assert client.get(f"{USAGE}/export").status_code == 404
    assert client.get(f"{QUEUE}?count=0").status_code == 400
    assert len(client.get(f"{QUEUE}?count=100").json()) == 20
    files = client.get("/v0/management/auth-files")
    assert files.headers["X-Cpa-Version"] == "v7.2.140"
    new = {each["name"]: each["auth_index"] for each in files.json()["files"]}
    assert not set(old.values()) & set(new.values())
    assert old.keys() == new.keys()
    assert sum(proxy.delivered_truth.attempts.values()) == 20, "nobody had read the snapshot"
    proxy.upgrade("v6.9.49")
    assert client.get(USAGE).json()["usage"]["total_requests"] == 0
    assert client.get(QUEUE).status_code == 404


def test_a_server_moves_to_v8_paths(start: Start) -> None:
    proxy, client = start()
    proxy.upgrade("v8.0.3")
    proxy.without_v0 = True
    proxy.publish(_traffic(20))

    assert client.get(QUEUE).status_code == client.get(SWITCH).status_code == 404
    assert len(client.get("/v8/management/observability/usage/queue?count=100").json()) == 20
    assert client.get("/v8/management/usage").status_code == 404


def test_a_fork_says_dev_and_keeps_the_snapshot(start: Start) -> None:
    proxy, client = start("v7.2.140", shown_version="dev", with_usage=True, with_queue=False)
    proxy.publish(_traffic(20))
    answer = client.get(USAGE)

    assert answer.headers["X-Cpa-Version"] == "dev"
    assert answer.json()["usage"]["total_requests"] == 20
    assert client.get(f"{QUEUE}?count=0").status_code == 404


# --- answers that go wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["truncated", "half_closed", "cut", "html", "status"])
def test_a_broken_answer_delivers_nothing_and_the_next_one_everything(start: Start, kind: str) -> None:
    proxy, client = start()
    proxy.publish(_traffic(50))
    proxy.fault(path="usage", kind=kind)
    with pytest.raises((httpx.RemoteProtocolError, json.JSONDecodeError)):
        client.get(USAGE).json()
    assert proxy.delivered_truth.attempts == {}
    assert client.get(USAGE).json()["usage"]["total_requests"] == proxy.counts().counted
    assert proxy.delivered_truth.attempts == proxy.truth.attempts
    assert proxy.lost == []


def test_a_snapshot_can_hang(start: Start) -> None:
    proxy, client = start()
    proxy.publish(_traffic(50))
    proxy.fault(path="usage", kind="hang", seconds=60)
    with pytest.raises(httpx.ReadTimeout):
        client.get(USAGE, timeout=0.2)
    wait_until(lambda: not proxy._faults)  # otherwise it would affect the next call
    assert proxy.counts().shown == 0
    assert client.get(USAGE).status_code == 200
    assert proxy.counts().shown == proxy.counts().counted


def test_a_huge_snapshot_stays_readable(start: Start) -> None:
    proxy, client = start()
    proxy.publish(_traffic(50))
    proxy.fault(path="usage", kind="huge", size=3_000_000)
    answer = client.get(USAGE)

    assert len(answer.content) > 3_000_000
    assert answer.json()["usage"] == client.get(USAGE).json()["usage"]


def test_records_added_while_an_answer_is_on_its_way_are_not_in_it(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, client = start()
    proxy.publish(_traffic(50))
    snapshot, taken = proxy.usage_snapshot, threading.Event()

    def noted() -> Any:
        found = snapshot()
        taken.set()
        return found

    monkeypatch.setattr(proxy, "usage_snapshot", noted)
    proxy.fault(path="usage", kind="hang", seconds=0.3)
    answers: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: answers.append(client.get(USAGE).json()))
    asking.start()
    assert taken.wait(PATIENCE_SECONDS)
    proxy.publish(_traffic(50, seed=12))
    asking.join(timeout=60)

    assert answers[0]["usage"]["total_requests"] == proxy.counts().shown
    assert proxy.counts().shown < proxy.counts().counted


# --- many orders, one after another -----------------------------------------------------------------------------------


def test_a_server_obeys_one_order_after_the_other(start: Start) -> None:
    proxy, client = start()
    traffic = Traffic(seed=7, zone=proxy.zone)

    def publish(attempts: int, copies: int = 1) -> None:
        traffic.credentials, traffic.shape = proxy.credentials, proxy.shape
        made = traffic.batch(attempts, ending=proxy.clock.now())
        proxy.publish(attempt for attempt in made for _ in range(copies))

    def total() -> int:
        requests: int = client.get(USAGE).json()["usage"]["total_requests"]
        return requests

    publish(30, copies=2)
    assert total() == 60
    assert "grace.xai" not in client.get(USAGE).text, "CPA learned to call xai later"
    exported = proxy.export_usage()
    assert exported["usage"]["total_requests"] == 60
    proxy.restart()
    assert total() == 0
    assert proxy.import_usage(exported)["added"] == 30
    proxy.details, proxy.shuffle_details, proxy.details_cap = "absent", True, 5
    assert "details" not in client.get(USAGE).text
    proxy.details = "full"
    proxy.turn_clock(-3)
    proxy.fault(path="usage", kind="status", status=502, body=b"bad gateway", times=None)
    assert (client.get(USAGE).status_code, client.get(USAGE).text) == (502, "bad gateway")
    proxy.clear_faults()
    assert total() == 30
    proxy.upgrade("v7.2.140")
    publish(5)
    assert len(client.get(f"{QUEUE}?count=9").json()) == 5
    proxy.upgrade("v6.9.49", shown_version="dev")
    assert client.get(USAGE).headers["X-Cpa-Version"] == "dev"
    assert sum(proxy.truth.attempts.values()) == 65
    counts = proxy.counts()
    assert (counts.restarts, counts.counted, counts.enqueued) == (3, 60, 5)


@contextmanager
def _process(*arguments: str, said: str = "") -> Iterator[httpx.Client]:
    """A demo proxy in its own process, which has said this at its end."""
    command = [sys.executable, "-m", "exporter.simulator", "--port", "0", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = port_in(process.stdout.readline())
        with loopback.client(base_url=f"http://127.0.0.1:{port}", headers=KEY) as client:
            yield client
    finally:
        process.terminate()
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (0, said, "")


def test_a_process_has_a_history() -> None:
    with _process("--version", "6.9", "--rate", "20", "--history-hours", "0.05") as client:
        apis = client.get(USAGE).json()["usage"]["apis"]

    requests = sum(model["total_requests"] for api in apis.values() for model in api["models"].values())
    assert requests >= 3600 + 150, "three minutes at 20 a second, and the burst"


def test_a_process_is_upgraded_while_it_runs() -> None:
    arguments = ("--version", "6.9", "--rate", "20", "--upgrade-after", "0.1")
    with _process(*arguments, said="Now it is v7.2.140.\n") as client:
        wait_until(lambda: client.get(SWITCH).headers["X-Cpa-Version"], lambda shown: shown == "v7.2.140")
        assert client.get(USAGE).status_code == 404
        wait_until(lambda: client.get(f"{QUEUE}?count=9").json(), bool)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--version", "5"], "not one of '6.9', '7.2', '8'"),
        (["--upgrade-to", "9"], "not one of '6.9', '7.2', '8'"),
        (["--history-hours", "3"], "v7.2.140 has a queue"),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], text: str) -> None:
    command = [sys.executable, "-m", "exporter.simulator", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert text in done.stderr
