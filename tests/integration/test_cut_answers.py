"""Answers of the queue that come late or not whole, most of them because the program stops: what is lost shows."""

import signal
from pathlib import Path
from typing import Any

import pytest

from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.polling import publish
from tests.fakes.steered.server import SteeredServer
from tests.stack.running import Process, exporter_process, flow_in, ledger_file
from tests.stack.waiting import wait_until

_GAPS = "cliproxy_exporter_retention_gaps_total"


def _program(directory: Path, server: SteeredServer, **settings: str) -> Any:
    return exporter_process(directory, proxy_url=server.url, key=MANAGEMENT_KEY, **settings)


def _waits_for_an_answer(program: Process, server: SteeredServer, records: int, *, seconds: float) -> None:
    """Wait until the proxy has popped ``records``, which it sends ``seconds`` later."""
    wait_until(lambda: program.metric("cliproxy_up"), lambda up: up == 1)
    server.proxy.fault(path="usage-queue", kind="hang", seconds=seconds)
    publish(server.proxy, records)
    program.trigger()
    wait_until(lambda: server.proxy.counts().popped == records)


def test_a_stop_waits_for_an_answer_that_is_7_seconds_late(server: SteeredServer, tmp_path: Path) -> None:
    with _program(tmp_path, server) as program:
        _waits_for_an_answer(program, server, 500, seconds=7)
        assert program.stop() == 0
    assert flow_in(tmp_path / "data").booked == 500
    with _program(tmp_path, server) as program:
        wait_until(lambda: program.metric("cliproxy_up"), lambda up: up == 1)
        assert program.metric(_GAPS) == 0
        assert not program.logged("event=pop_cut")


@pytest.mark.parametrize("impatience", ["waits", "second signal", "kill"])
def test_an_answer_that_a_stop_cuts_is_reported_at_the_next_start(
    impatience: str, server: SteeredServer, tmp_path: Path
) -> None:
    with _program(tmp_path, server) as program:
        _waits_for_an_answer(program, server, 500, seconds=20)
        program.send(signal.SIGTERM)
        if impatience != "waits":
            wait_until(lambda: _marked_pops(tmp_path / "data"), lambda marked: marked == 1)
            program.send(signal.SIGINT if impatience == "second signal" else signal.SIGKILL)
        ended = program.wait(10 if impatience == "waits" else 6)  # without a second signal it takes eight or nine
        assert ended == {"waits": 0, "second signal": -signal.SIGINT, "kill": -signal.SIGKILL}[impatience]
    assert flow_in(tmp_path / "data").received == 0

    server.proxy.clear_faults()
    with _program(tmp_path, server) as program:
        wait_until(lambda: program.metric("cliproxy_exporter_missed_records_estimate"), lambda missed: missed == 500)
        assert program.metric(_GAPS) == 1
        assert len(program.logged("event=pop_cut")) == 1
        assert "lost the answer to a read of its usage queue" in program.get("/").text
        assert program.stop() == 0
    with _program(tmp_path, server) as program:
        assert program.metric(_GAPS) == 1, "it is told once"


def _marked_pops(data_dir: Path) -> int:
    with ledger_file(data_dir) as connection:
        (marked,) = connection.execute("select count(pop_marked_ms) from proxy").fetchone()
    return int(marked)


def test_an_answer_that_breaks_off_is_counted_at_once(server: SteeredServer, tmp_path: Path) -> None:
    with _program(tmp_path, server) as program:
        wait_until(lambda: program.metric("cliproxy_up"), lambda up: up == 1)
        server.proxy.fault(path="usage-queue", kind="cut")
        publish(server.proxy, 50)
        program.trigger()
        wait_until(lambda: program.metric(_GAPS), lambda gaps: gaps == 1)
        server.proxy.fault(path="usage-queue", kind="status", status=503)  # it answers, so it handed out nothing
        program.trigger()
        wait_until(lambda: program.metric("cliproxy_exporter_poll_failures_total", reason="server_error"))
        assert program.metric(_GAPS) == 1


def test_a_stop_keeps_what_a_slow_answer_has_delivered(server: SteeredServer, tmp_path: Path) -> None:
    with _program(tmp_path, server) as program:
        wait_until(lambda: program.metric("cliproxy_up"), lambda up: up == 1)
        server.proxy.fault(path="usage-queue", kind="drip", seconds=40)
        publish(server.proxy, 400)
        program.trigger()
        wait_until(lambda: server.proxy.counts().popped == 400)
        assert program.stop() == 0
    flow = flow_in(tmp_path / "data")
    assert 0 < flow.booked < 400
    assert flow.rejected == 1, "the record in the middle of which the answer ended"
    assert flow.adds_up
