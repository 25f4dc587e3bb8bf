"""Popping and draining: every record that arrived is handed over, and nothing is asked for twice."""

import json

import pytest

from exporter.errors import BadAnswerError, ProxyError, ProxyServerError, ProxyUnreachableError, SourceGoneError
from exporter.sources.detect import Flags, Paths, Source
from exporter.sources.usage_queue import drain, pop
from tests.fakes.raw import RawServer, Script, drip, hang, head, send
from tests.fakes.replay import Recording, ReplayProxy
from tests.integration.sources.conftest import QUICK, Connect

QUEUE = "/v0/management/usage-queue"
SOURCE = Source(
    kind="queue",
    api="v0",
    paths=Paths(queue=QUEUE, usage="", credentials="", api_key_usage="", config="", publishing="", key_lists=()),
    flags=Flags(publishing_enabled=True, retention_seconds=60),
    version="v7.2.140",
    commit="",
)


class PoppingProxy(ReplayProxy):
    """Has a queue of numbered records that really pops."""

    def __init__(self, records: int) -> None:
        super().__init__()
        self.waiting = [{"record": number} for number in range(records)]

    def find(self, method: str, path: str) -> Recording:
        count = int(path.partition("?count=")[2])
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        headers = {"Content-Type": "application/json; charset=utf-8", "X-Cpa-Version": "v7.2.140"}
        return Recording(method, path, 200, headers, json.dumps(taken).encode())


class Kept:
    """Stores bodies as the ledger does, and says how many elements each has."""

    def __init__(self) -> None:
        self.bodies: list[tuple[bytes, bool]] = []

    def __call__(self, body: bytes, complete: bool) -> int:
        self.bodies.append((body, complete))
        return len(json.loads(body)) if complete else 1


@pytest.mark.parametrize(
    ("records", "pops"),
    [(0, 1), (1, 1), (499, 1), (500, 2), (501, 2), (1250, 3)],
)
def test_a_drain_takes_everything_in_order_and_ends(connect: Connect, records: int, pops: int) -> None:
    kept = Kept()
    with PoppingProxy(records) as replay:
        drained = drain(connect(replay.url), SOURCE, handle=kept)
        assert (drained.pops, drained.elements, drained.emptied) == (pops, records, True)
        assert [r["record"] for body, _ in kept.bodies for r in json.loads(body)] == list(range(records))
        assert dict(replay.requests) == {f"{QUEUE}?count=500": pops}


def test_a_drain_ends_at_its_limit_though_traffic_does_not(connect: Connect) -> None:
    with PoppingProxy(1000) as replay:
        drained = drain(connect(replay.url), SOURCE, handle=Kept(), count=10, max_pops=3)
        assert (drained.pops, drained.elements, drained.emptied) == (3, 30, False)
        assert len(replay.waiting) == 970


def test_a_recorded_batch(connect: Connect) -> None:
    recording = Recording.read("v7.2.140/usage-queue/claude-apikey.json")
    with ReplayProxy() as replay:
        replay.answer(f"{QUEUE}?count=500", recording)
        popped = pop(connect(replay.url), SOURCE)
        assert popped.body == recording.body
        assert popped.complete


def test_nothing_is_popped_while_a_handler_fails(connect: Connect) -> None:
    def full(_body: bytes, _complete: bool) -> int:
        raise OSError("The disk is full.")

    with PoppingProxy(1000) as replay:
        with pytest.raises(OSError, match="full"):
            drain(connect(replay.url), SOURCE, handle=full)
        assert len(replay.waiting) == 500


@pytest.mark.parametrize(
    ("script", "error", "sentence"),
    [
        pytest.param(send(head(length=99), b'[{"a":1},'), ProxyUnreachableError, "closed", id="broken off"),
        pytest.param(hang(head(length=99) + b'[{"a":1},'), ProxyUnreachableError, "in time", id="hangs"),
        pytest.param(drip(head(length=9999), b'[{"a":1},'), ProxyUnreachableError, "2 seconds", id="drips"),
    ],
)
def test_what_arrived_is_handed_over_before_the_error_is_raised(
    connect: Connect, script: Script, error: type[ProxyError], sentence: str
) -> None:
    kept = Kept()
    with RawServer(script) as server:
        with pytest.raises(error, match=sentence):
            drain(connect(server.url, timeouts=QUICK), SOURCE, handle=kept)
        assert server.connections_after(1) == 1, "a pop is never repeated"
    assert len(kept.bodies) == 1
    body, complete = kept.bodies[0]
    assert body.startswith(b"[{")
    assert not complete


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
def test_an_answer_without_records(connect: Connect, answer: Recording, error: type[ProxyError]) -> None:
    kept = Kept()
    with ReplayProxy() as replay:
        replay.answer(f"{QUEUE}?count=500", answer)
        with pytest.raises(error):
            drain(connect(replay.url), SOURCE, handle=kept)
        assert replay.requests.total() == 1
    assert kept.bodies == []


@pytest.mark.parametrize("body", [b"\x00garbage", b"<garbage>", b"null"])
def test_whatever_cpa_itself_popped_is_handed_over(connect: Connect, body: bytes) -> None:
    with ReplayProxy() as replay:
        replay.answer(f"{QUEUE}?count=500", _answer(body, X_CPA_VERSION="v7.2.140"))
        assert pop(connect(replay.url), SOURCE).body == body
