"""Popping and draining: every record that arrived is handed over, and nothing is requested twice."""

import json
from collections.abc import Callable

import pytest

from exporter.errors import BadAnswerError, ProxyError, ProxyServerError, ProxyUnreachableError, SourceGoneError
from exporter.sources.base import Receiver
from exporter.sources.paths import V0
from exporter.sources.proxy_client import ProxyClient, Timeouts
from exporter.sources.usage_queue import UsageQueue
from tests.fakes.raw import RawServer, Script, drip, hang, head, send
from tests.fakes.replay import Recording, ReplayProxy
from tests.integration.sources.conftest import DRIPPING, HANGING, Connect

QUEUE = "/v0/management/usage-queue"


class PoppingProxy(ReplayProxy):
    """A proxy whose queue of numbered records really pops."""

    def __init__(self, records: int, *, record_bytes: int = 0) -> None:
        super().__init__()
        self.waiting = [{"record": number, "text": "x" * record_bytes} for number in range(records)]
        self.asked: list[int] = []

    def find(self, method: str, path: str) -> Recording:
        count = int(path.partition("?count=")[2])
        self.asked.append(count)
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        headers = {"Content-Type": "application/json; charset=utf-8", "X-Cpa-Version": "v7.2.140"}
        return Recording(method, path, 200, headers, json.dumps(taken).encode())


class Kept:
    """Stores bodies as the ledger does, and returns how many elements each has."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.answers_lost: list[bool] = []

    def __call__(self, body: bytes | bytearray) -> int:
        self.bodies.append(bytes(body))
        try:
            return len(json.loads(body))
        except ValueError:
            return 1


def _no_snapshot(*_: object) -> None:
    pytest.fail("A queue has no snapshot.")


def _poll(client: ProxyClient, kept: Callable[[bytes | bytearray], int]) -> bool:
    """Poll once; return whether the queue was emptied."""

    def note(answer_lost: bool) -> None:
        if isinstance(kept, Kept):
            kept.answers_lost.append(answer_lost)

    receiver = Receiver(records=kept, snapshot=_no_snapshot, taken=note)
    return UsageQueue(client, V0).poll(receiver, 0)


@pytest.mark.parametrize(
    ("records", "asked"),
    [
        (0, [500]),
        (1, [500]),
        (499, [500]),
        (500, [500, 1000]),
        (501, [500, 1000]),
        (1499, [500, 1000]),
        (1500, [500, 1000, 1000]),
    ],
)
def test_a_drain_takes_everything_in_order_and_ends(connect: Connect, records: int, asked: list[int]) -> None:
    kept = Kept()
    with PoppingProxy(records) as replay:
        assert _poll(connect(replay.url), kept) is True
        assert [r["record"] for body in kept.bodies for r in json.loads(body)] == list(range(records))
        assert kept.answers_lost == [False] * len(asked)
        assert replay.asked == asked


@pytest.mark.parametrize(("record_bytes", "most"), [(4000, 1000), (20_000, 210), (100_000, 42)])
def test_a_drain_of_large_records_requests_few_at_once(connect: Connect, record_bytes: int, most: int) -> None:
    kept = Kept()
    with PoppingProxy(600, record_bytes=record_bytes) as replay:
        assert _poll(connect(replay.url), kept) is True
        assert not replay.waiting
        assert most * 0.95 <= max(replay.asked[1:]) <= most
        assert max(map(len, kept.bodies[1:])) <= UsageQueue.most_bytes


def test_a_drain_ends_at_its_limit_even_if_traffic_continues(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UsageQueue, "pop_count", 10)
    monkeypatch.setattr(UsageQueue, "most_popped", 10)
    monkeypatch.setattr(UsageQueue, "max_pops", 3)
    kept = Kept()
    with PoppingProxy(1000) as replay:
        assert _poll(connect(replay.url), kept) is False
        assert (len(kept.bodies), sum(len(json.loads(body)) for body in kept.bodies)) == (3, 30)
        assert len(replay.waiting) == 970


def test_a_recorded_batch_is_handed_over(connect: Connect) -> None:
    recording = Recording.read("v7.2.140/usage-queue/claude-apikey.json")
    with ReplayProxy() as replay:
        replay.answer(f"{QUEUE}?count=500", recording)
        popped = UsageQueue(connect(replay.url), V0).pop()
        assert popped.body == recording.body
        assert popped.error is None


def test_nothing_is_popped_while_a_handler_fails(connect: Connect) -> None:
    def full(_body: bytes | bytearray) -> int:
        raise OSError("The disk is full.")

    with PoppingProxy(1000) as replay:
        with pytest.raises(OSError, match="full"):
            _poll(connect(replay.url), full)
        assert len(replay.waiting) == 500


@pytest.mark.parametrize(
    ("script", "timeouts", "sentence"),
    [
        pytest.param(send(head(length=99), b'[{"a":1},'), None, "closed", id="broken off"),
        pytest.param(hang(head(length=99) + b'[{"a":1},'), HANGING, "in time", id="hangs"),
        pytest.param(drip(head(length=9999), b'[{"a":1},'), DRIPPING, "2 seconds", id="drips"),
    ],
)
def test_what_arrived_is_handed_over_before_the_error_is_raised(
    connect: Connect, script: Script, timeouts: Timeouts | None, sentence: str
) -> None:
    kept = Kept()
    with RawServer(script) as server:
        with pytest.raises(ProxyUnreachableError, match=sentence):
            _poll(connect(server.url, timeouts=timeouts), kept)
        assert server.connections_after(1) == 1, "a pop is never repeated"
    (body,) = kept.bodies
    assert body.startswith(b"[{")
    assert kept.answers_lost == [True]


def _answer(body: bytes, *, status: int = 200, **headers: str) -> Recording:
    return Recording("GET", "", status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(_answer(b"404 page not found", status=404), SourceGoneError, id="the queue is gone"),
        pytest.param(_answer(b"", status=503), ProxyServerError, id="server error"),
        pytest.param(_answer(b"<html>", Content_Type="text/html"), BadAnswerError, id="web page"),
        pytest.param(_answer(b"OK"), BadAnswerError, id="some other server"),
        pytest.param(_answer(b""), BadAnswerError, id="nothing"),
        pytest.param(_answer(b"", X_CPA_VERSION="v7.2.140"), BadAnswerError, id="nothing, by CPA"),
    ],
)
def test_an_answer_without_records_is_an_error(connect: Connect, answer: Recording, error: type[ProxyError]) -> None:
    kept = Kept()
    with ReplayProxy() as replay:
        replay.answer(f"{QUEUE}?count=500", answer)
        with pytest.raises(error):
            _poll(connect(replay.url), kept)
        assert replay.requests.total() == 1
    assert kept.bodies == []


@pytest.mark.parametrize("body", [b"\x00garbage", b"<garbage>", b"null"])
def test_everything_that_cpa_itself_popped_is_handed_over(connect: Connect, body: bytes) -> None:
    with ReplayProxy() as replay:
        replay.answer(f"{QUEUE}?count=500", _answer(body, X_CPA_VERSION="v7.2.140"))
        assert UsageQueue(connect(replay.url), V0).pop().body == body
