"""The demo proxy's queue over real HTTP: it really pops, and it fails on demand."""

import json
import threading
from typing import Any

import httpx
import pytest

from tests.fakes.demo import KEY, Start
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.integration.demo.conftest import (
    QUEUE,
    SWITCH,
    StoppedClock,
    ask_as_recorded,
    assert_as_recorded,
    read_recording,
    traffic,
)
from tests.stack import loopback
from tests.stack.waiting import wait_until

# --- the queue --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v7.2.140", "v7.1.0"])
@pytest.mark.parametrize("name", ["count-0", "count-huge", "count-negative", "count-text"])
def test_a_bad_count_is_refused_before_anything_is_popped(start: Start, version: str, name: str) -> None:
    proxy, client = start(version)
    proxy.enqueue([{"n": 1}])
    recorded = read_recording(f"{version}/usage-queue/{name}.json")

    assert_as_recorded(ask_as_recorded(client, recorded, with_key=True), recorded)
    assert (proxy.counts().popped, proxy.counts().queued) == (0, 1)


@pytest.mark.parametrize(
    ("query", "popped"),
    [("", 1), ("?count=", 1), ("?count=%202%20", 2), ("?count=3", 3), ("?count=9223372036854775807", 5)],
)
def test_a_call_pops_as_many_records_as_it_requests(start: Start, query: str, popped: int) -> None:
    proxy, client = start()
    proxy.enqueue([{"n": number} for number in range(5)])

    assert client.get(QUEUE + query).json() == [{"n": number} for number in range(popped)]
    assert proxy.counts().queued == 5 - popped


def test_a_pop_really_pops_in_order(start: Start) -> None:
    proxy, client = start()
    attempts = traffic(25)
    proxy.publish(attempts)
    batches = [client.get(f"{QUEUE}?count=10").json() for _ in range(4)]

    assert [len(batch) for batch in batches] == [10, 10, 5, 0]
    assert [record for batch in batches for record in batch] == [attempt.record for attempt in attempts]
    counts = proxy.counts()
    assert (counts.enqueued, counts.popped, counts.delivered, counts.queued) == (25, 25, 25, 0)
    assert proxy.delivered_truth.tokens == proxy.truth.tokens


@pytest.mark.parametrize(("retention", "shown"), [(60, 60), (300, 300), (0, 60), (-5, 60), (86400, 3600)])
def test_records_older_than_the_retention_are_gone(
    start: Start, clock: StoppedClock, retention: int, shown: int
) -> None:
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
    attempts = traffic(1200)
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
    proxy.publish(traffic(20))

    assert client.get(f"{QUEUE}?count=10").json() == []
    assert proxy.counts().discarded == 20
    files = client.get("/v0/management/auth-files").json()["files"]
    assert sum(each["success"] + each["failed"] for each in files) > 0, "the credentials' counts go on"


def test_a_restart_loses_the_queue_the_counters_and_the_bans(start: Start) -> None:
    proxy, client = start()
    proxy.publish(traffic(20))
    for _ in range(5):
        client.get(SWITCH, headers={"Authorization": "Bearer wrong"})
    proxy.restart()

    assert client.get(f"{QUEUE}?count=10").json() == []
    files = client.get("/v0/management/auth-files").json()["files"]
    assert {(each["success"], each["failed"]) for each in files} == {(0, 0)}
    assert proxy.counts().dropped == 20


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


def test_a_truncated_body_has_its_full_length_and_is_lost(start: Start) -> None:
    proxy, client = _ready(start)
    proxy.fault(path="usage-queue", kind="truncated")
    answer = client.get(f"{QUEUE}?count=2")

    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    assert proxy.lost == [b'{"n":0}', b'{"n":1}']
    assert (proxy.counts().popped, proxy.counts().delivered) == (2, 0)


@pytest.mark.parametrize("kind", ["half_closed", "cut"])
def test_a_broken_connection_loses_the_popped_records(start: Start, kind: str) -> None:
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


def test_an_answer_that_hangs_arrives_when_the_client_waits(start: Start) -> None:
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


def test_a_fault_can_last_and_affect_every_route(start: Start) -> None:
    proxy, client = _ready(start)
    proxy.fault(path="*", kind="cut", times=None)
    for path in (SWITCH, "/v0/management/auth-files", SWITCH):
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(path)
    proxy.clear_faults()
    assert client.get(SWITCH).status_code == 200
