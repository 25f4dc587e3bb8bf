"""A stop of the program while it reads: what was read is booked, and nothing else is waited for."""

import signal
import time
from datetime import UTC
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.polling import publish
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic, alike
from tests.stack.running import exporter_process, flow_in
from tests.stack.waiting import wait_until

STOPPING = [signal.SIGTERM, signal.SIGINT]


def _program(directory: Path, server: SteeredServer, **settings: str) -> Any:
    return exporter_process(directory, proxy_url=server.url, key=MANAGEMENT_KEY, **settings)


@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
def test_a_stop_during_a_drain_loses_nothing_and_the_next_start_continues(
    number: signal.Signals, server: SteeredServer, tmp_path: Path
) -> None:
    traffic = Traffic(seed=5, zone=UTC)
    server.proxy.enqueue(islice(alike(traffic.batch(1000, ending=time.time())), 15_000))
    server.proxy.fault(path="usage-queue", kind="drip", seconds=1.0, times=None)
    with _program(tmp_path, server) as program:
        wait_until(lambda: flow_in(tmp_path / "data").booked, lambda booked: booked >= 1000)
        assert program.stop(number) == 0
        assert program.logged("event=stopped", "finished=true")
    counts, flow = server.proxy.counts(), flow_in(tmp_path / "data")
    assert counts.queued > 5000, "the stop waited for the whole queue"
    assert not server.proxy.lost
    assert flow.received == counts.popped
    assert flow.booked + flow.pending == flow.received

    server.proxy.clear_faults()
    with _program(tmp_path, server) as program:
        wait_until(lambda: flow_in(tmp_path / "data").booked, lambda booked: booked == 15_000)
        assert program.metric("cliproxy_exporter_records_received_total") == 15_000
        assert program.stop() == 0


@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
def test_a_stop_does_not_wait_for_a_proxy_that_hangs(
    number: signal.Signals, server: SteeredServer, tmp_path: Path
) -> None:
    with _program(tmp_path, server) as program:
        wait_until(lambda: program.metric("cliproxy_up"), lambda up: up == 1)
        server.proxy.fault(path="usage-queue", kind="hang", seconds=60)
        publish(server.proxy, 300)
        program.trigger()
        wait_until(lambda: server.proxy.counts().popped == 300)
        assert program.stop(number) == 0
        assert program.logged("event=stopped", "finished=true")
    wait_until(lambda: len(server.proxy.lost) == 300)  # the proxy had popped them and never sent them
    assert flow_in(tmp_path / "data").received == 0

    publish(server.proxy, 200, seed=6)
    with _program(tmp_path, server) as program:
        wait_until(lambda: flow_in(tmp_path / "data").booked, lambda booked: booked == 200)
        assert program.stop() == 0
