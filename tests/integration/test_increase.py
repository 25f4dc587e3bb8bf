"""Prometheus' ``increase()`` shows the truth over a life with births, restarts, outages and a lost ledger.

``increase()`` counts from the first sample that it sees, so a series that appears at 5 would hide its first five
requests. It also stretches the rise that it saw by up to two intervals between samples, because its window begins and
ends between samples, so it is never exact. These tests read the samples themselves and add them up by the rule of
``increase()`` (a fall is a reset, and the value after it is new); its own answer may exceed that only by the
stretching.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby, pairwise
from typing import Any

import pytest

from exporter.app import Exporter
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.program import metrics_of, running, settings_for
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.stack import loopback
from tests.stack.monitoring import VERSION_LINES, Prometheus, binaries_of, run_prometheus
from tests.stack.waiting import wait_until

BIRTH_SECONDS = 2
FIRST, SECOND, THIRD = "claude-sonnet-4-5", "claude-opus-4-6", "claude-haiku-4-5"

# The number of each model's requests over everything that happens below. A request takes 1.5 s and costs 1000 tokens in
# and 100 out: 3 + 15, 5 + 25 and 1 + 5 dollars per million.
TRUTH = {FIRST: 5 + 3 + 2 + 4, SECOND: 7, THIRD: 6 + 1}
USD_PER_REQUEST = {
    FIRST: (1000 * 3 + 100 * 15) / 1e6,
    SECOND: (1000 * 5 + 100 * 25) / 1e6,
    THIRD: (1000 * 1 + 100 * 5) / 1e6,
}


def _record(model: str, number: int) -> dict[str, Any]:
    return {
        "timestamp": datetime.now(UTC).isoformat(),
        "provider": "claude",
        "executor_type": "ClaudeExecutor",
        "model": model,
        "auth_type": "apikey",
        "auth_index": "0123456789abcdef",
        "api_key": "sk-demo-client",
        "request_id": f"{number}",
        "latency_ms": 1500,
        "ttft_ms": 300,
        "tokens": {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100},
        "failed": False,
        "generate": True,
    }


@dataclass
class _Life:
    """The program through its restarts, always on one port and with one data directory."""

    proxy: SteeredProxy
    settings: Any
    servers: dict[str, Prometheus] = field(default_factory=dict)
    sent: int = 0

    @contextmanager
    def running(self) -> Iterator[Exporter]:
        with running(self.settings) as exporter:
            yield exporter

    def send(self, model: str, times: int) -> None:
        """Send requests that happen now; the exporter reads them at its next poll."""
        self.proxy.enqueue(_record(model, self.sent + number) for number in range(times))
        self.sent += times

    def book(self, exporter: Exporter, model: str, times: int, *, shown: int) -> None:
        """Send, poll, and see the new value at once, as a person does; ``shown`` is the sum so far."""
        self.send(model, times)
        loopback.post(f"{exporter.web.url}/api/collector/trigger")
        wait_until(lambda: _shown(exporter, model), lambda value: value == shown)

    def await_birth(self, model: str) -> None:
        """Wait until each server knows the series. It starts at 0, as a test checks, but may not stay there long."""
        for server in self.servers.values():
            server.wait_for(_requests(model))

    def await_servers(self, expr: str, value: float) -> None:
        for server in self.servers.values():
            server.wait_for(expr, lambda samples: [each.value for each in samples] == [value])


def _shown(exporter: Exporter, model: str) -> float:
    lines = metrics_of(exporter).splitlines()
    wanted = [line for line in lines if line.startswith("cliproxy_requests_total{") and f'model="{model}"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in wanted)


def _requests(model: str) -> str:
    return f'cliproxy_requests_total{{model="{model}"}}'


def _live(life: _Life) -> None:
    """Everything that happens, step by step; each step waits for the one before."""
    with life.running() as exporter:
        life.await_servers("up", 1)
        life.book(exporter, FIRST, 5, shown=5)
        life.await_birth(FIRST)
        life.await_servers(_requests(FIRST), 5)
        life.book(exporter, FIRST, 3, shown=8)
        life.book(exporter, SECOND, 7, shown=7)
        life.await_servers(_requests(FIRST), 8)
        life.await_birth(SECOND)
        # A restart before the second series is published and after the first, with failed scrapes in between ...
    life.await_servers("up", 0)
    life.send(FIRST, 2)  # ... and with requests meanwhile, which count when they are read.
    with life.running() as exporter:
        wait_until(lambda: _shown(exporter, FIRST), lambda value: value == 10)
        life.await_servers(_requests(FIRST), 10)
        life.book(exporter, THIRD, 6, shown=6)
        life.await_servers(_requests(SECOND), 7)
        life.await_servers(_requests(THIRD), 6)
    for file in life.settings.exporter_data_dir.glob("ledger.sqlite3*"):
        file.unlink()
    with life.running() as exporter:
        life.book(exporter, FIRST, 4, shown=4)
        life.book(exporter, THIRD, 1, shown=1)
        life.await_servers(_requests(FIRST), 4)
        life.await_servers(_requests(THIRD), 1)
        time_of_last = time.time()
        life.await_servers(f"timestamp({_requests(THIRD)}) > bool {time_of_last}", 1)


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Life]:
    """Two servers of two versions scrape one program through its whole life."""
    tmp_path = tmp_path_factory.mktemp("increase")
    port = loopback.free_port()
    proxy = SteeredProxy(key=MANAGEMENT_KEY)
    with ExitStack() as stack:
        demo = stack.enter_context(SteeredServer(proxy))
        settings = settings_for(
            tmp_path / "data",
            proxy_url=demo.url,
            key=MANAGEMENT_KEY,
            exporter_series_birth_seconds=BIRTH_SECONDS,
        ).model_copy(update={"exporter_port": port})
        lived = _Life(proxy, settings)
        for line in VERSION_LINES:
            workdir = tmp_path / line
            workdir.mkdir()
            lived.servers[line] = stack.enter_context(
                run_prometheus(binaries_of(line), targets=[f"127.0.0.1:{port}"], workdir=workdir)
            )
        _live(lived)
        yield lived


def _samples(server: Prometheus, selector: str) -> list[list[float]]:
    """The raw samples of each series."""
    data = server.get("query", query=f"{selector}[10m]")
    return [[float(value) for _, value in each["values"]] for each in data["result"]]


def _increase(values: list[float]) -> float:
    """The sum of ``increase()`` before it stretches it to its window."""
    return sum(after - before if after >= before else after for before, after in pairwise(values))


FAMILIES: dict[str, tuple[str, Callable[[str], float]]] = {
    "requests": ("cliproxy_requests_total{%s}", lambda model: TRUTH[model]),
    "cost": ("cliproxy_cost_usd_total{%s}", lambda model: TRUTH[model] * USD_PER_REQUEST[model]),
    "input tokens": ("cliproxy_input_tokens_total{%s}", lambda model: TRUTH[model] * 1000),
    "durations": ("cliproxy_request_duration_seconds_count{%s}", lambda model: TRUTH[model]),
    "durations of 1 to 2.5 s": (
        'cliproxy_request_duration_seconds_bucket{%s,le="2.5"}',
        lambda model: TRUTH[model],
    ),
    "durations below 1 s": ('cliproxy_request_duration_seconds_bucket{%s,le="1.0"}', lambda _: 0),
    "sum of durations": ("cliproxy_request_duration_seconds_sum{%s}", lambda model: TRUTH[model] * 1.5),
    "first tokens": ("cliproxy_time_to_first_token_seconds_count{%s}", lambda model: TRUTH[model]),
}


@pytest.mark.parametrize("line", VERSION_LINES)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("model", TRUTH)
def test_what_prometheus_adds_up_is_what_happened(life: _Life, line: str, family: str, model: str) -> None:
    template, truth = FAMILIES[family]
    selector = template % f'model="{model}"'
    (values,) = _samples(life.servers[line], selector)
    assert _increase(values) == pytest.approx(truth(model), abs=1e-9)
    assert values[0] == 0, "its first sample is 0, so that the first rise is seen"
    (stretched,) = life.servers[line].query(f"increase({selector}[10m])")
    assert 0 <= stretched.value - truth(model) + 1e-9 <= truth(model) * 2 / (len(values) - 1) + 2e-9


@pytest.mark.parametrize("line", VERSION_LINES)
def test_only_the_loss_of_the_ledger_is_a_reset(life: _Life, line: str) -> None:
    server = life.servers[line]
    resets = {each.labels["model"]: each.value for each in server.query("resets(cliproxy_requests_total[10m])")}
    assert resets == {FIRST: 1, SECOND: 0, THIRD: 1}
    for model in TRUTH:
        (values,) = _samples(server, _requests(model))
        before_loss = values[: values.index(max(values)) + 1]
        assert before_loss == sorted(before_loss), "never the value and then 0"


@pytest.mark.parametrize("line", VERSION_LINES)
def test_scrapes_fail_while_the_exporter_is_down(life: _Life, line: str) -> None:
    (values,) = _samples(life.servers[line], "up")
    begun = values[values.index(1) :]  # a server may scrape before the exporter is there
    assert [value for value, _ in groupby(begun)][:3] == [1, 0, 1]
