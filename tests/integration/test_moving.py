"""An exporter that moves to another machine while its proxy is in use loses nothing and continues where it was."""

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.simulator.live import live_traffic
from exporter.simulator.world import MANAGEMENT_KEY
from tests.fakes.guarding import TurnableClock
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.stack.running import Process, exporter_process, flow_in
from tests.stack.waiting import wait_until

AWAY_SECONDS = 3500
"""A little less than the longest retention of a queue."""


@pytest.fixture
def clock() -> TurnableClock:
    """The clock of the queue, by which records expire."""
    return TurnableClock(time.time())


@pytest.fixture
def server(clock: TurnableClock) -> Iterator[SteeredServer]:
    with SteeredServer(SteeredProxy(key=MANAGEMENT_KEY, retention_seconds=3600, clock=clock)) as server:
        yield server


def _requests(program: Process) -> dict[str, float]:
    """The counters of all series, by their labels."""
    families = text_string_to_metric_families(program.get("/metrics?name[]=cliproxy_requests_total").text)
    return {str(sample.labels): sample.value for family in families for sample in family.samples}


def test_a_move_under_traffic_loses_nothing(server: SteeredServer, clock: TurnableClock, tmp_path: Path) -> None:
    settings = {"proxy_url": server.url, "key": MANAGEMENT_KEY, "COLLECTOR_INTERVAL_SECONDS": "1"}
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    with ExitStack() as traffic:
        traffic.enter_context(live_traffic(server.proxy, rate=100, seed=7, burst=300))
        with exporter_process(old, EXPORTER_SERIES_BIRTH_SECONDS="1", **settings) as program:
            wait_until(lambda: program.metric("cliproxy_requests_total"), lambda shown: shown and shown > 400)
            before = _requests(program)
            assert program.stop() == 0
        popped = server.proxy.counts().popped
        shutil.copytree(old / "data", new / "data")
        clock.advance(AWAY_SECONDS)
        wait_until(lambda: server.proxy.counts().queued, lambda queued: queued > 100)
        with exporter_process(new, EXPORTER_SERIES_BIRTH_SECONDS="1", **settings) as program:
            wait_until(lambda: flow_in(new / "data").booked, lambda booked: booked > popped + 100)
            traffic.close()
            happened = server.proxy.counts().enqueued
            wait_until(lambda: flow_in(new / "data").booked, lambda booked: booked >= happened)
            after = _requests(program)
            assert program.metric("cliproxy_exporter_retention_gaps_total") == 0
            assert program.stop() == 0
    counts, flow = server.proxy.counts(), flow_in(new / "data")
    assert (counts.expired, counts.lost, counts.queued) == (0, 0, 0)
    assert (flow.received, flow.booked) == (happened, happened)
    assert {labels: value for labels, value in before.items() if after.get(labels, -1) < value} == {}
