"""The demo proxy over real HTTP: it answers as the recorded servers do, really pops, bans, and breaks on order."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from exporter.clock import Clock
from exporter.simulator.live import LiveTraffic
from exporter.simulator.world import CLIENTS, CREDENTIALS, MANAGEMENT_KEY
from tests.fakes.demo import KEY, Start, demo_starter
from tests.fakes.planted import secrets
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack import loopback
from tests.stack.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT / "tests" / "fixtures" / "cpa"
NOW = 1795503600.0
QUEUE = "/v0/management/usage-queue"
SWITCH = "/v0/management/usage-statistics-enabled"
# What differs between any two answers or two builds, or belongs to the connection.
VOLATILE = {"date", "connection", "content-length", "transfer-encoding", "x-cpa-commit"}


class _Clock(Clock):
    """A clock that only a test turns."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> float:
        return NOW + self.passed

    def monotonic(self) -> float:
        return 1000.0 + self.passed


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def start(clock: _Clock) -> Iterator[Start]:
    """Start a demo proxy of a version; gives it and a client that knows the key."""
    with demo_starter("v7.2.140", clock) as starting:
        yield starting


def _recording(name: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((RECORDINGS / name).read_text())
    return answer


def _ask_as_recorded(client: httpx.Client, recorded: dict[str, Any], *, with_key: bool) -> httpx.Response:
    """Send the recorded request; the recording leaves the right key out, and its own key means nothing here."""
    headers = dict(recorded["request"].get("headers", {}))
    if "X-Management-Key" in headers:
        headers["X-Management-Key"] = MANAGEMENT_KEY
    plain = loopback.client(base_url=client.base_url)
    with plain:
        return plain.request(
            recorded["request"]["method"], recorded["request"]["path"], headers=headers | (KEY if with_key else {})
        )


def _assert_as_recorded(answer: httpx.Response, recorded: dict[str, Any]) -> None:
    assert answer.status_code == recorded["status"]
    if "body" in recorded:
        assert answer.json() == recorded["body"]
    else:
        assert answer.text == recorded["body_text"]
    expected = {name.lower(): value for name, value in recorded["headers"].items() if name.lower() not in VOLATILE}
    assert {name: value for name, value in answer.headers.items() if name not in VOLATILE} == expected


def _traffic(count: int, *, shape: Any = "7.2", at: float = NOW) -> list[Any]:
    proxy = SteeredProxy()
    return Traffic(seed=11, zone=proxy.zone, shape=shape).batch(count, ending=at)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v7.2.140", "v7.1.0"])
@pytest.mark.parametrize(
    ("name", "with_key"),
    [
        ("missing-key", False),
        ("basic-wins-over-x-management-key", False),
        ("unknown-path-no-key", False),
        ("unknown-path", True),
        ("missing-route-usage", True),
        ("remote-disabled", True),
    ],
)
def test_a_refusal_is_the_recorded_one(start: Start, version: str, name: str, with_key: bool) -> None:
    _, client = start(version)
    recorded = _recording(f"{version}/refused/{name}.json")

    _assert_as_recorded(_ask_as_recorded(client, recorded, with_key=with_key), recorded)


@pytest.mark.parametrize("version", ["v7.2.140", "v7.1.0"])
def test_disabled_management_is_the_recorded_404(start: Start, version: str) -> None:
    proxy, client = start(version)
    proxy.management = False
    recorded = _recording(f"{version}/refused/management-disabled.json")

    _assert_as_recorded(_ask_as_recorded(client, recorded, with_key=True), recorded)


@pytest.mark.parametrize("version", ["v7.2.140", "v7.1.0"])
def test_five_wrong_keys_end_in_the_recorded_ban(start: Start, version: str) -> None:
    proxy, client = start(version)
    for attempt in range(1, 7):
        recorded = _recording(f"{version}/refused/wrong-key-{attempt}.json")
        wrong = client.get(SWITCH, headers={"Authorization": "Bearer wrong"})
        _assert_as_recorded(wrong, recorded)
    for name in ("banned-with-right-key", "banned-unknown-path"):
        recorded = _recording(f"{version}/refused/{name}.json")
        _assert_as_recorded(_ask_as_recorded(client, recorded, with_key=True), recorded)
    assert proxy.counts().refused_logins == 5


def test_a_ban_lasts_thirty_minutes_and_further_tries_do_not_extend_it(start: Start, clock: _Clock) -> None:
    _, client = start()
    for _ in range(5):
        client.get(SWITCH, headers={"Authorization": "Bearer wrong"})
    clock.passed += 2
    assert client.get(SWITCH).json()["error"].endswith("Try again in 29m58s")
    clock.passed += 1797.4
    for _ in range(6):
        refused = client.get(SWITCH, headers={"Authorization": "Bearer wrong"})
        assert (refused.status_code, refused.json()["error"][-2:]) == (403, "1s")
    clock.passed += 0.7
    assert client.get(SWITCH).status_code == 200


def test_a_success_or_two_quiet_hours_forget_failures(start: Start, clock: _Clock) -> None:
    _, client = start()
    for pause in (0.0, 7201.0):
        for _ in range(4):
            assert client.get(SWITCH, headers={"Authorization": "Bearer wrong"}).status_code == 401
        clock.passed += pause
        assert pause or client.get(SWITCH).status_code == 200
    for _ in range(5):
        assert client.get(SWITCH, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get(SWITCH).status_code == 403


def test_the_ban_belongs_to_the_forwarded_address(start: Start) -> None:
    proxy, client = start()
    proxy.door.allow_remote = True
    for _ in range(5):
        client.get(SWITCH, headers={"Authorization": "Bearer wrong", "X-Forwarded-For": "203.0.113.9"})

    assert client.get(SWITCH, headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 403
    assert client.get(SWITCH).status_code == 200
    assert client.get("/healthz", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 200


@pytest.mark.parametrize("headers", [{"Authorization": MANAGEMENT_KEY}, {"Authorization": f"bearer {MANAGEMENT_KEY}"}])
def test_the_key_is_taken_with_and_without_a_scheme(start: Start, headers: dict[str, str]) -> None:
    _, client = start()
    assert client.get(SWITCH, headers=headers).status_code == 200


def test_without_any_key_set_nobody_gets_in(start: Start) -> None:
    _, client = start(key="")
    answer = client.get(SWITCH)
    assert (answer.status_code, answer.json()) == (403, {"error": "remote management key not set"})


# --- the queue --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v7.2.140", "v7.1.0"])
@pytest.mark.parametrize("name", ["count-0", "count-huge", "count-negative", "count-text"])
def test_a_bad_count_is_refused_before_anything_is_popped(start: Start, version: str, name: str) -> None:
    proxy, client = start(version)
    proxy.enqueue([{"n": 1}])
    recorded = _recording(f"{version}/usage-queue/{name}.json")

    _assert_as_recorded(_ask_as_recorded(client, recorded, with_key=True), recorded)
    assert (proxy.counts().popped, proxy.counts().queued) == (0, 1)


@pytest.mark.parametrize(
    ("query", "popped"),
    [("", 1), ("?count=", 1), ("?count=%202%20", 2), ("?count=3", 3), ("?count=9223372036854775807", 5)],
)
def test_as_many_as_asked_for_are_popped(start: Start, query: str, popped: int) -> None:
    proxy, client = start()
    proxy.enqueue([{"n": number} for number in range(5)])

    assert client.get(QUEUE + query).json() == [{"n": number} for number in range(popped)]
    assert proxy.counts().queued == 5 - popped


def test_a_pop_really_pops_in_order(start: Start) -> None:
    proxy, client = start()
    attempts = _traffic(25)
    proxy.publish(attempts)
    batches = [client.get(f"{QUEUE}?count=10").json() for _ in range(4)]

    assert [len(batch) for batch in batches] == [10, 10, 5, 0]
    assert [record for batch in batches for record in batch] == [attempt.record for attempt in attempts]
    counts = proxy.counts()
    assert (counts.enqueued, counts.popped, counts.delivered, counts.queued) == (25, 25, 25, 0)
    assert proxy.delivered_truth.tokens == proxy.truth.tokens


@pytest.mark.parametrize(("retention", "shown"), [(60, 60), (300, 300), (0, 60), (-5, 60), (86400, 3600)])
def test_what_is_older_than_the_retention_is_gone(start: Start, clock: _Clock, retention: int, shown: int) -> None:
    proxy, client = start(retention_seconds=retention)
    proxy.enqueue([{"n": 1}])
    clock.passed += shown - 1
    proxy.enqueue([{"n": 2}])
    clock.passed += 2

    assert client.get(f"{QUEUE}?count=10").json() == [{"n": 2}]
    assert proxy.counts().expired == 1
    config = client.get("/v0/management/config").json()
    assert config["redis-usage-queue-retention-seconds"] == shown


def test_two_pollers_and_busy_traffic_share_the_queue_without_loss(start: Start) -> None:
    proxy, client = start()
    attempts = _traffic(1200)
    popped: list[Any] = []
    done = threading.Event()

    def publish(part: int) -> None:
        for attempt in attempts[part::3]:
            proxy.publish([attempt])

    def poll() -> None:
        with loopback.client(base_url=client.base_url, headers=KEY) as own:
            while not (done.is_set() and proxy.counts().queued == 0):
                popped.extend(own.get(f"{QUEUE}?count=50").json())

    pollers = [threading.Thread(target=poll) for _ in range(2)]
    publishers = [threading.Thread(target=publish, args=(part,)) for part in range(3)]
    for thread in pollers + publishers:
        thread.start()
    for thread in publishers:
        thread.join()
    done.set()
    for thread in pollers:
        thread.join()

    def order(record: dict[str, Any]) -> str:
        return json.dumps(record)

    assert sorted(popped, key=order) == sorted((attempt.record for attempt in attempts), key=order)
    assert proxy.delivered_truth.total() == proxy.truth.total()


@pytest.mark.parametrize("setting", ["publishing", "subscribed"])
def test_nothing_is_queued_without_publishing_or_with_a_subscriber(start: Start, setting: str) -> None:
    proxy, client = start()
    setattr(proxy, setting, setting == "subscribed")
    proxy.publish(_traffic(20))

    assert client.get(f"{QUEUE}?count=10").json() == []
    assert proxy.counts().discarded == 20
    files = client.get("/v0/management/auth-files").json()["files"]
    assert sum(each["success"] + each["failed"] for each in files) > 0, "the credentials' counts go on"


def test_a_restart_loses_the_queue_the_counters_and_the_bans(start: Start) -> None:
    proxy, client = start()
    proxy.publish(_traffic(20))
    for _ in range(5):
        client.get(SWITCH, headers={"Authorization": "Bearer wrong"})
    proxy.restart()

    assert client.get(f"{QUEUE}?count=10").json() == []
    files = client.get("/v0/management/auth-files").json()["files"]
    assert {(each["success"], each["failed"]) for each in files} == {(0, 0)}
    assert proxy.counts().dropped == 20


# --- other routes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v7.2.140", "v7.1.0"])
@pytest.mark.parametrize(
    "name",
    [
        "management/healthz",
        "management/root",
        "management/usage-statistics-enabled-on",
        "management/quota-providers",
        "management/redis-usage-queue-retention-seconds",
        "usage-queue/empty",
        "usage-queue/usage-path",
    ],
)
def test_an_answer_without_content_is_the_recorded_one(start: Start, version: str, name: str) -> None:
    _, client = start(version)
    recorded = _recording(f"{version}/{name}.json")
    _assert_as_recorded(_ask_as_recorded(client, recorded, with_key=True), recorded)


@pytest.mark.parametrize("version", ["v7.2.140", "v7.1.0"])
@pytest.mark.parametrize(
    ("route", "recording"),
    [
        ("claude-api-key", "management/claude-api-key"),
        ("gemini-api-key", "management/gemini-api-key"),
        ("vertex-api-key", "management/vertex-api-key"),
        ("openai-compatibility", "management/openai-compatibility"),
        ("api-keys", "management/api-keys"),
        ("latest-version", "management/latest-version"),
    ],
)
def test_a_list_has_the_recorded_shape(start: Start, version: str, route: str, recording: str) -> None:
    _, client = start(version)
    recorded = _recording(f"{version}/{recording}.json")
    answer = client.get(f"/v0/management/{route}")

    assert answer.status_code == recorded["status"]
    assert _first_types(answer.json()) == _first_types(recorded["body"])


@pytest.mark.parametrize("version", ["v7.2.140", "v7.1.0"])
def test_the_auth_files_have_the_recorded_shape(start: Start, version: str) -> None:
    proxy, client = start(version)
    recorded = {each["provider"]: each for each in _recording(f"{version}/auth-files-after.json")["body"]["files"]}
    proxy.publish(attempt for attempt in _traffic(400, shape=proxy.shape) if not attempt.failed)
    answer = client.get("/v0/management/auth-files").json()["files"]

    assert [each["name"] for each in answer] == sorted(each["name"] for each in answer)
    assert {each["provider"] for each in answer} == recorded.keys()
    for entry in answer:
        assert _first_types(entry) == _first_types(recorded[entry["provider"]])
        assert len(entry["recent_requests"]) == 20
        assert sum(bucket["success"] for bucket in entry["recent_requests"]) == entry["success"]
        assert (entry["status"], entry["unavailable"]) == ("active", False)


def test_a_failure_shows_in_the_auth_files_as_recorded(start: Start) -> None:
    proxy, client = start()
    failed = next(
        attempt for attempt in _traffic(3000) if attempt.status == 429 and attempt.credential == "codex-carol"
    )
    proxy.publish([failed])
    name = "codex-carol.codex@demo.example.json"
    entry = client.get("/v0/management/auth-files", params={"name": name}).json()["files"][0]
    recorded = _recording("v7.2.140/auth-files-cooldown.json")["body"]["files"]
    twin = next(each for each in recorded if each["provider"] == "codex")

    assert _first_types(entry) == _first_types(twin)
    assert (entry["status"], entry["unavailable"], entry["failed"]) == ("error", True, 1)
    assert entry["status_message"] == failed.error_body


def test_the_counts_of_api_keys_are_under_their_raw_keys(start: Start) -> None:
    proxy, client = start()
    attempts = _traffic(300)
    proxy.publish(attempts)
    body = client.get("/v0/management/api-key-usage").json()
    recorded = _recording("v7.2.140/api-key-usage-after.json")["body"]

    assert set(body) == {"claude", "gemini", "openrouter", "vertex"}
    entry = body["claude"]["https://claude.demo.example|sk-demo-ant-api03-key-1"]
    assert _first_types(entry) == _first_types(next(iter(recorded["claude"].values())))
    of_key = [attempt for attempt in attempts if attempt.credential == "claude-key"]
    assert entry["success"] + entry["failed"] == len(of_key)


def test_every_credential_of_a_record_can_be_found(start: Start) -> None:
    _, client = start()
    known = {each["auth_index"] for each in client.get("/v0/management/auth-files").json()["files"]}
    for route in ("claude-api-key", "gemini-api-key", "vertex-api-key"):
        known |= {each["auth-index"] for each in client.get(f"/v0/management/{route}").json()[route]}
    compat = client.get("/v0/management/openai-compatibility").json()["openai-compatibility"]
    known |= {key["auth-index"] for each in compat for key in each["api-key-entries"]}

    assert known == {credential.auth_index for credential in CREDENTIALS}


def test_the_configuration_is_full_of_secrets(start: Start) -> None:
    _, client = start()
    text = client.get("/v0/management/config").text

    assert all(each.key in text for each in CLIENTS)
    assert sum(secret in text for secret in secrets()) > len(CLIENTS) + 3
    assert "auth-index" not in text


def test_the_switch_can_be_turned_but_that_is_counted(start: Start) -> None:
    proxy, client = start()
    assert client.put(SWITCH, json={"x": 1}).status_code == 400
    assert client.put(SWITCH, json={"value": False}).json() == {"status": "ok"}
    assert client.get(SWITCH).json() == {"usage-statistics-enabled": False}
    assert client.post("/v0/management/reset-quota", json={}).status_code == 404
    assert proxy.counts().mutating_calls == 3


def test_a_vendor_is_asked_through_the_tunnel(start: Start) -> None:
    proxy, client = start()
    alice = CREDENTIALS[0]
    url = "https://api.anthropic.com/api/oauth/usage"
    sent = {"Authorization": "Bearer $TOKEN$", "User-Agent": "claude-code/2.1.0"}
    call = {"auth_index": alice.auth_index, "method": "GET", "url": url, "header": sent}
    answer = client.post("/v0/management/api-call", json=call).json()
    usage = json.loads(answer["body"])

    assert answer["status_code"] == 200
    # Passive and active readings of a window agree.
    record = next(each.record for each in _traffic(50) if each.credential == alice.name)
    header = float(record["response_headers"]["Anthropic-Ratelimit-Unified-7d-Utilization"][0])
    assert usage["seven_day"]["utilization"] == pytest.approx(header * 100, abs=0.2)
    unknown = client.post("/v0/management/api-call", json=call | {"auth_index": "0" * 16}).json()
    assert unknown["status_code"] == 401
    assert client.post("/v0/management/api-call", json=call | {"url": "https://other.example/"}).status_code == 502
    assert client.post("/v0/management/api-call", json=call | {"data": {}}).json() == {"error": "invalid body"}
    assert client.post("/v0/management/api-call", json=call | {"method": ""}).json() == {"error": "missing method"}
    assert proxy.counts().mutating_calls == 0


def test_head_and_options_are_useless_as_probes(start: Start) -> None:
    proxy, client = start()
    proxy.enqueue([{"n": 1}])

    assert client.head(QUEUE).status_code == 404
    assert client.options(QUEUE).status_code == 204
    assert proxy.counts().popped == 0


# --- versions ---------------------------------------------------------------------------------------------------------


def test_an_old_version_answers_the_snapshot_and_has_no_queue(start: Start) -> None:
    proxy, client = start("v6.9.49")
    empty = _recording("v6.9.49/usage/usage-empty.json")
    _assert_as_recorded(_ask_as_recorded(client, empty, with_key=True), empty)
    absent = _recording("v6.9.49/usage-queue-path.json")
    _assert_as_recorded(_ask_as_recorded(client, absent, with_key=True), absent)
    attempts = _traffic(30, shape=proxy.shape)
    proxy.publish(attempts)
    usage = client.get("/v0/management/usage").json()["usage"]
    details = [
        detail for api in usage["apis"].values() for model in api["models"].values() for detail in model["details"]
    ]
    recorded = _recording("v6.9.49/usage/usage-1.json")["body"]["usage"]

    assert usage["total_requests"] == len(details) == 30
    assert usage["failure_count"] == sum(attempt.failed for attempt in attempts)
    assert usage.keys() == recorded.keys()
    twin = recorded["apis"]["sk-client-alpha-planted-41b7"]["models"]["claude-sonnet-4-5-20250929"]["details"][0]
    assert _first_types(details[0]) == _first_types(twin)


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
    recorded = _recording(f"v8-constructed/{name}.json")
    answer = client.request(
        recorded["request"]["method"], recorded["request"]["path"], json=recorded["request"].get("body")
    )
    _assert_as_recorded(answer, recorded)


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
def test_the_shown_version_may_say_nothing(start: Start, shown: str, header: str | None) -> None:
    _, client = start(shown_version=shown)
    assert client.get(SWITCH).headers.get("X-Cpa-Version") == header


# --- faults -----------------------------------------------------------------------------------------------------------


def _ready(start: Start) -> tuple[SteeredProxy, httpx.Client]:
    proxy, client = start()
    proxy.enqueue([{"n": number} for number in range(6)])
    return proxy, client


@pytest.mark.parametrize("kind", ["status", "html", "redirect"])
def test_a_fault_in_front_of_the_proxy_pops_nothing(start: Start, kind: str) -> None:
    proxy, client = _ready(start)
    details: dict[str, Any] = {"status": 502, "body": b"bad gateway"} if kind == "status" else {}
    proxy.fault(path="usage-queue", kind=kind, **details)
    answer = client.get(f"{QUEUE}?count=2")

    assert answer.status_code == {"status": 502, "html": 200, "redirect": 302}[kind]
    if kind == "html":
        assert answer.headers["Content-Type"].startswith("text/html")
    assert proxy.counts().popped == 0
    assert client.get(f"{QUEUE}?count=2").json() == [{"n": 0}, {"n": 1}], "ordered once, over after once"


def test_a_truncated_body_has_a_right_length_and_is_lost(start: Start) -> None:
    proxy, client = _ready(start)
    proxy.fault(path="usage-queue", kind="truncated")
    answer = client.get(f"{QUEUE}?count=2")

    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    assert proxy.lost == [b'{"n":0}', b'{"n":1}']
    assert (proxy.counts().popped, proxy.counts().delivered) == (2, 0)


@pytest.mark.parametrize("kind", ["half_closed", "cut"])
def test_a_broken_connection_loses_what_was_popped(start: Start, kind: str) -> None:
    proxy, client = _ready(start)
    proxy.fault(path="usage-queue", kind=kind, times=2)
    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(f"{QUEUE}?count=2")

    assert len(proxy.lost) == proxy.counts().popped == 4
    assert client.get(f"{QUEUE}?count=9").json() == [{"n": 4}, {"n": 5}]


def test_an_answer_that_hangs_is_lost_when_the_client_leaves(start: Start) -> None:
    proxy, client = _ready(start)
    proxy.fault(path="usage-queue", kind="hang", seconds=60)
    with pytest.raises(httpx.ReadTimeout):
        client.get(f"{QUEUE}?count=2", timeout=0.2)

    wait_until(lambda: len(proxy.lost) == 2)


def test_an_answer_that_hangs_comes_when_the_client_waits(start: Start) -> None:
    proxy, client = _ready(start)
    proxy.fault(path="usage-queue", kind="hang", seconds=0.2)

    assert client.get(f"{QUEUE}?count=2").json() == [{"n": 0}, {"n": 1}]
    assert (proxy.lost, proxy.counts().delivered) == ([], 2)


def test_a_hanging_answer_is_released_when_the_server_stops() -> None:
    proxy = SteeredProxy()
    proxy.enqueue([{"n": 1}])
    proxy.fault(path="usage-queue", kind="hang", seconds=600)
    server = SteeredServer(proxy)
    server.start()
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(loopback.get(server.url + QUEUE, headers=KEY))

    asking = threading.Thread(target=ask)
    asking.start()
    wait_until(lambda: proxy.counts().popped == 1)
    server.stop()
    asking.join(timeout=60)

    assert [answer.json() for answer in answers] == [[{"n": 1}]]


def test_a_dripping_answer_arrives_whole_or_is_lost(start: Start) -> None:
    proxy, client = _ready(start)
    proxy.fault(path="usage-queue", kind="drip", seconds=0.2)
    assert client.get(f"{QUEUE}?count=3").json() == [{"n": 0}, {"n": 1}, {"n": 2}]
    proxy.fault(path="usage-queue", kind="drip", seconds=60)
    with pytest.raises(httpx.ReadTimeout):
        client.get(f"{QUEUE}?count=3", timeout=0.2)

    wait_until(lambda: proxy.counts().popped == 6)
    assert proxy.counts().delivered == 3


def test_garbage_is_inserted_among_the_records(start: Start) -> None:
    proxy, client = _ready(start)
    proxy.fault(path="usage-queue", kind="insert", elements=(b"null", b"12", b'"text"', b"[]", b"{broken"))
    answer = client.get(f"{QUEUE}?count=1")

    assert answer.content == b'[null,12,"text",[],{broken,{"n":0}]'
    counts = proxy.counts()
    assert (counts.popped, counts.enqueued, counts.queued) == (6, 11, 5)


def test_a_huge_record_has_its_size(start: Start) -> None:
    proxy, client = _ready(start)
    proxy.fault(path="usage-queue", kind="huge", size=3_000_000)
    answer = client.get(f"{QUEUE}?count=1")

    assert 3_000_000 < len(answer.content) < 3_000_200
    assert answer.json()[1] == {"n": 0}


def test_a_fault_can_last_and_meet_every_route(start: Start) -> None:
    proxy, client = _ready(start)
    proxy.fault(path="*", kind="cut", times=None)
    for path in (SWITCH, "/v0/management/auth-files", SWITCH):
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(path)
    proxy.clear_faults()
    assert client.get(SWITCH).status_code == 200


# --- live traffic -----------------------------------------------------------------------------------------------------


def test_live_traffic_begins_with_a_burst_and_goes_on(start: Start) -> None:
    proxy, client = start()
    traffic = LiveTraffic(proxy, rate=200, seed=1, burst=40)
    traffic.start()
    try:
        assert len(client.get(f"{QUEUE}?count=40").json()) == 40
        wait_until(lambda: proxy.counts().enqueued > 60)
    finally:
        traffic.stop()
    assert sum(proxy.truth.attempts.values()) == proxy.counts().enqueued


def test_a_taken_port_is_an_error_of_the_caller() -> None:
    with SteeredServer(SteeredProxy()) as server, pytest.raises(OSError, match="in use"):
        SteeredServer(SteeredProxy(), port=server.port)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--help"], 0, "example: python -m exporter.simulator"),
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
    command = [sys.executable, "-m", "exporter.simulator", "--port", "0", "--print-port", "--rate", "5"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with loopback.client(base_url=f"http://127.0.0.1:{port}", headers=KEY) as client:
            records = client.get(f"{QUEUE}?count=100").json()
        assert len(records) == 100
        os.kill(process.pid, signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, output, errors) == (0, "", "")


def _first_types(value: Any) -> Any:
    """The shape of a value: types, field by field; of a list only its first element."""
    if isinstance(value, dict):
        return {name: _first_types(inner) for name, inner in value.items()}
    return [_first_types(inner) for inner in value[:1]] if isinstance(value, list) else type(value)
