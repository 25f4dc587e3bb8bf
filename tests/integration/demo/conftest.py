"""Demo proxies over HTTP whose clock only a test moves, and the recorded answers of real servers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from exporter.clock import Clock
from exporter.simulator.world import MANAGEMENT_KEY
from tests.fakes.demo import KEY, Start, demo_starter
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.traffic import Traffic
from tests.stack import loopback

ROOT = Path(__file__).resolve().parents[3]
RECORDINGS = ROOT / "tests" / "fixtures" / "cpa"
NOW = 1795503600.0
QUEUE = "/v0/management/usage-queue"
SWITCH = "/v0/management/usage-statistics-enabled"
# These differ between any two answers or builds, or belong to the connection.
VOLATILE = {"date", "connection", "content-length", "transfer-encoding", "x-cpa-commit"}


class StoppedClock(Clock):
    """A clock that only a test moves."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> float:
        return NOW + self.passed

    def monotonic(self) -> float:
        return 1000.0 + self.passed


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def start(clock: StoppedClock) -> Iterator[Start]:
    """Start a demo proxy of a version; return it and a client that knows the key."""
    with demo_starter("v7.2.140", clock) as starting:
        yield starting


def read_recording(name: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((RECORDINGS / name).read_text())
    return answer


def ask_as_recorded(client: httpx.Client, recorded: dict[str, Any], *, with_key: bool) -> httpx.Response:
    """Send the recorded request with the demo's key: the recording leaves the right key out."""
    headers = dict(recorded["request"].get("headers", {}))
    if "X-Management-Key" in headers:
        headers["X-Management-Key"] = MANAGEMENT_KEY
    plain = loopback.client(base_url=client.base_url)
    with plain:
        return plain.request(
            recorded["request"]["method"], recorded["request"]["path"], headers=headers | (KEY if with_key else {})
        )


def assert_as_recorded(answer: httpx.Response, recorded: dict[str, Any]) -> None:
    assert answer.status_code == recorded["status"]
    if "body" in recorded:
        assert answer.json() == recorded["body"]
    else:
        assert answer.text == recorded["body_text"]
    expected = {name.lower(): value for name, value in recorded["headers"].items() if name.lower() not in VOLATILE}
    assert {name: value for name, value in answer.headers.items() if name not in VOLATILE} == expected


def traffic(count: int, *, shape: Any = "7.2", at: float = NOW) -> list[Any]:
    proxy = SteeredProxy()
    return Traffic(seed=11, zone=proxy.zone, shape=shape).batch(count, ending=at)


def first_types(value: Any) -> Any:
    """The shape of a value: its types, field by field; of a list, only its first element."""
    if isinstance(value, dict):
        return {name: first_types(inner) for name, inner in value.items()}
    return [first_types(inner) for inner in value[:1]] if isinstance(value, list) else type(value)
