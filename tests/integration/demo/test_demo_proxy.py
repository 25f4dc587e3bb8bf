"""The demo proxy answers and bans over real HTTP as the recorded servers do."""

import json

import pytest

from exporter.simulator.world import CLIENTS, CREDENTIALS, MANAGEMENT_KEY
from tests.fakes.demo import Start
from tests.fakes.planted import secrets
from tests.integration.demo.conftest import (
    QUEUE,
    SWITCH,
    StoppedClock,
    ask_as_recorded,
    assert_as_recorded,
    first_types,
    read_recording,
    traffic,
)

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
    recorded = read_recording(f"{version}/refused/{name}.json")

    assert_as_recorded(ask_as_recorded(client, recorded, with_key=with_key), recorded)


@pytest.mark.parametrize("version", ["v7.2.140", "v7.1.0"])
def test_disabled_management_is_the_recorded_404(start: Start, version: str) -> None:
    proxy, client = start(version)
    proxy.management = False
    recorded = read_recording(f"{version}/refused/management-disabled.json")

    assert_as_recorded(ask_as_recorded(client, recorded, with_key=True), recorded)


@pytest.mark.parametrize("version", ["v7.2.140", "v7.1.0"])
def test_five_wrong_keys_end_in_the_recorded_ban(start: Start, version: str) -> None:
    proxy, client = start(version)
    for attempt in range(1, 7):
        recorded = read_recording(f"{version}/refused/wrong-key-{attempt}.json")
        wrong = client.get(SWITCH, headers={"Authorization": "Bearer wrong"})
        assert_as_recorded(wrong, recorded)
    for name in ("banned-with-right-key", "banned-unknown-path"):
        recorded = read_recording(f"{version}/refused/{name}.json")
        assert_as_recorded(ask_as_recorded(client, recorded, with_key=True), recorded)
    assert proxy.counts().refused_logins == 5


def test_a_ban_lasts_thirty_minutes_and_further_tries_do_not_extend_it(start: Start, clock: StoppedClock) -> None:
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


def test_a_success_or_two_quiet_hours_forget_failures(start: Start, clock: StoppedClock) -> None:
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
    proxy.logins.allow_remote = True
    for _ in range(5):
        client.get(SWITCH, headers={"Authorization": "Bearer wrong", "X-Forwarded-For": "203.0.113.9"})

    assert client.get(SWITCH, headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 403
    assert client.get(SWITCH).status_code == 200
    assert client.get("/healthz", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 200


@pytest.mark.parametrize("headers", [{"Authorization": MANAGEMENT_KEY}, {"Authorization": f"bearer {MANAGEMENT_KEY}"}])
def test_the_key_is_accepted_with_and_without_a_scheme(start: Start, headers: dict[str, str]) -> None:
    _, client = start()
    assert client.get(SWITCH, headers=headers).status_code == 200


def test_without_any_key_set_nobody_gets_in(start: Start) -> None:
    _, client = start(key="")
    answer = client.get(SWITCH)
    assert (answer.status_code, answer.json()) == (403, {"error": "remote management key not set"})


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
    recorded = read_recording(f"{version}/{name}.json")
    assert_as_recorded(ask_as_recorded(client, recorded, with_key=True), recorded)


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
    recorded = read_recording(f"{version}/{recording}.json")
    answer = client.get(f"/v0/management/{route}")

    assert answer.status_code == recorded["status"]
    assert first_types(answer.json()) == first_types(recorded["body"])


@pytest.mark.parametrize("version", ["v7.2.140", "v7.1.0"])
def test_the_auth_files_have_the_recorded_shape(start: Start, version: str) -> None:
    proxy, client = start(version)
    recorded = {each["provider"]: each for each in read_recording(f"{version}/auth-files-after.json")["body"]["files"]}
    proxy.publish(attempt for attempt in traffic(400, shape=proxy.shape) if not attempt.failed)
    answer = client.get("/v0/management/auth-files").json()["files"]

    assert [each["name"] for each in answer] == sorted(each["name"] for each in answer)
    assert {each["provider"] for each in answer} == recorded.keys()
    for entry in answer:
        assert first_types(entry) == first_types(recorded[entry["provider"]])
        assert len(entry["recent_requests"]) == 20
        assert sum(bucket["success"] for bucket in entry["recent_requests"]) == entry["success"]
        assert (entry["status"], entry["unavailable"]) == ("active", False)


def test_a_failure_shows_in_the_auth_files_as_recorded(start: Start) -> None:
    proxy, client = start()
    failed = next(attempt for attempt in traffic(3000) if attempt.status == 429 and attempt.credential == "codex-carol")
    proxy.publish([failed])
    name = "codex-carol.codex@demo.example.json"
    entry = client.get("/v0/management/auth-files", params={"name": name}).json()["files"][0]
    recorded = read_recording("v7.2.140/auth-files-cooldown.json")["body"]["files"]
    twin = next(each for each in recorded if each["provider"] == "codex")

    assert first_types(entry) == first_types(twin)
    assert (entry["status"], entry["unavailable"], entry["failed"]) == ("error", True, 1)
    assert entry["status_message"] == failed.error_body


def test_the_counts_of_api_keys_are_under_their_raw_keys(start: Start) -> None:
    proxy, client = start()
    attempts = traffic(300)
    proxy.publish(attempts)
    body = client.get("/v0/management/api-key-usage").json()
    recorded = read_recording("v7.2.140/api-key-usage-after.json")["body"]

    assert set(body) == {"claude", "gemini", "openrouter", "vertex"}
    entry = body["claude"]["https://claude.demo.example|sk-demo-ant-api03-key-1"]
    assert first_types(entry) == first_types(next(iter(recorded["claude"].values())))
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


def test_the_switch_can_be_turned_and_the_call_is_counted(start: Start) -> None:
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
    record = next(each.record for each in traffic(50) if each.credential == alice.name)
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
