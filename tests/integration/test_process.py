"""The program as a process: signals, the data directory, the port, and a disk that refuses writes."""

import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.app import Exporter
from exporter.ledger.database import FILE_NAME
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.polling import one_record_each
from tests.benches.program import metrics_of, running, settings_for
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack.running import (
    Process,
    environment,
    exporter_process,
    flow_in,
    ledger_file,
    metric_in,
    run_command,
)
from tests.stack.waiting import PATIENCE_SECONDS, wait_until

_GAPS = "cliproxy_exporter_retention_gaps_total"
STOPPING = [signal.SIGTERM, signal.SIGINT]


@pytest.fixture
def server() -> Iterator[SteeredServer]:
    with SteeredServer(SteeredProxy(key=MANAGEMENT_KEY, retention_seconds=3600)) as server:
        yield server


def _publish(server: SteeredServer, records: int, *, seed: int = 5) -> None:
    proxy = server.proxy
    traffic = Traffic(seed=seed, zone=proxy.zone, shape=proxy.shape)
    proxy.publish(one_record_each(traffic, records, ending=time.time()))


def _program(directory: Path, server: SteeredServer, **settings: str) -> Any:
    return exporter_process(directory, proxy_url=server.url, key=MANAGEMENT_KEY, **settings)


@pytest.fixture
def as_users_start_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.stack.running.FORKS", False)


# --- signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
def test_a_stop_during_a_drain_loses_nothing_and_the_next_start_continues(
    number: signal.Signals, server: SteeredServer, tmp_path: Path
) -> None:
    _publish(server, 15_000)
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
        _publish(server, 300)
        program.trigger()
        wait_until(lambda: server.proxy.counts().popped == 300)
        assert program.stop(number) == 0
        assert program.logged("event=stopped", "finished=true")
    wait_until(lambda: len(server.proxy.lost) == 300)  # the proxy had popped them and never sent them
    assert flow_in(tmp_path / "data").received == 0

    _publish(server, 200, seed=6)
    with _program(tmp_path, server) as program:
        wait_until(lambda: flow_in(tmp_path / "data").booked, lambda booked: booked == 200)
        assert program.stop() == 0


def _waits_for_an_answer(program: Process, server: SteeredServer, records: int, *, seconds: float) -> None:
    """Wait until the proxy has popped ``records``, which it sends ``seconds`` later."""
    wait_until(lambda: program.metric("cliproxy_up"), lambda up: up == 1)
    server.proxy.fault(path="usage-queue", kind="hang", seconds=seconds)
    _publish(server, records)
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
        _publish(server, 50)
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
        _publish(server, 400)
        program.trigger()
        wait_until(lambda: server.proxy.counts().popped == 400)
        assert program.stop() == 0
    flow = flow_in(tmp_path / "data")
    assert 0 < flow.booked < 400
    assert flow.rejected == 1, "the record in the middle of which the answer ended"
    assert flow.adds_up


@pytest.mark.usefixtures("as_users_start_it")
def test_a_stop_right_after_the_start_works(server: SteeredServer, tmp_path: Path) -> None:
    with _program(tmp_path, server) as program:
        assert program.url
        assert program.stop() == 0


# --- what a start needs -----------------------------------------------------------------------------------------------


def test_one_data_directory_has_one_exporter(server: SteeredServer, tmp_path: Path) -> None:
    with _program(tmp_path, server) as first:
        assert first.url
        with _program(tmp_path, server) as second:
            assert second.wait() == 1
            assert second.out == []
            (sentence,) = second.log
            assert f"process {first.pid}" in sentence
            assert "EXPORTER_DATA_DIR" in sentence
        assert first.stop() == 0
    with _program(tmp_path, server) as third:
        assert third.url, "the lock outlived its holder"


def test_a_port_in_use_is_reported(server: SteeredServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with _program(tmp_path, server, EXPORTER_PORT=str(port)) as program:
            assert program.wait() == 1
            (sentence,) = program.log
    assert f"127.0.0.1:{port} cannot be listened on (Address already in use)." in sentence
    assert "EXPORTER_PORT" in sentence


# This first loads what Python would load later: a user who is no longer root may not be allowed to read it.
_AS_NOBODY = """
import encodings.ascii
import os
import exporter.app  # an account without rights cannot read every interpreter
from exporter.cli import main
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
main(["run"])
"""


@pytest.fixture
def public_dir() -> Iterator[Path]:
    """A directory that every user can enter, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
        path.chmod(0o755)


def _run_as_nobody(directory: Path, server: SteeredServer) -> subprocess.CompletedProcess[str]:
    settings = {
        "CLIPROXY_URL": server.url,
        "CLIPROXY_MANAGEMENT_KEY": MANAGEMENT_KEY,
        "EXPORTER_DATA_DIR": str(directory),
        "EXPORTER_PORT": "0",
        "EXPORTER_PRICES_REFRESH": "false",
    }
    return subprocess.run(
        [sys.executable, "-c", _AS_NOBODY],
        cwd=directory.parent,
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_a_data_directory_that_cannot_be_written_is_reported(server: SteeredServer, public_dir: Path) -> None:
    data_dir = public_dir / "data"
    data_dir.mkdir()
    data_dir.chmod(0o555)
    done = _run_as_nobody(data_dir, server)
    data_dir.chmod(0o755)
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert f"The data directory {data_dir} cannot be written" in sentence
    assert list(data_dir.iterdir()) == []
    assert server.proxy.counts().popped == 0


def test_a_ledger_that_cannot_be_written_is_reported(server: SteeredServer, public_dir: Path, tmp_path: Path) -> None:
    with _program(tmp_path, server) as program:
        assert program.url
        assert program.stop() == 0
    data_dir = public_dir / "data"
    data_dir.mkdir()
    data_dir.chmod(0o777)
    ledger = data_dir / FILE_NAME
    ledger.write_bytes((tmp_path / "data" / FILE_NAME).read_bytes())
    ledger.chmod(0o444)
    done = _run_as_nobody(data_dir, server)
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert f"The ledger {ledger} cannot be written" in sentence


def test_a_file_that_is_not_a_ledger_is_left_alone(server: SteeredServer, tmp_path: Path) -> None:
    ledger = tmp_path / "data" / FILE_NAME
    ledger.parent.mkdir()
    ledger.write_bytes(b"somebody's notes, not a database at all\n" * 200)
    with _program(tmp_path, server) as program:
        assert program.wait() == 1
        (sentence,) = program.log
    assert f"The ledger {ledger} is damaged or is not a ledger" in sentence
    assert ledger.read_bytes().startswith(b"somebody's notes")


# --- a disk that takes no more ----------------------------------------------------------------------------------------


def _limit_file_size(process: Process, limit: int) -> None:
    """Let no file of the process grow beyond ``limit`` bytes: writes fail as on a broken disk, without such a disk."""
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def test_a_disk_that_refuses_writes_holds_the_records_and_stops_the_popping(
    server: SteeredServer, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    with _program(tmp_path, server, COLLECTOR_INTERVAL_SECONDS="1") as program:
        _publish(server, 100)
        wait_until(lambda: flow_in(data_dir).booked == 100)
        wait_until(lambda: program.logged("proxy_state", "state=ok"))  # the first poll is over and writes nothing more
        _limit_file_size(program, 1)
        _publish(server, 1200, seed=6)
        wait_until(lambda: program.logged("proxy_state", "state=ledger"))
        failures = "cliproxy_exporter_poll_failures_total"
        wait_until(lambda: program.metric(failures, reason="ledger"), lambda failed: failed and failed >= 2)
        assert server.proxy.counts().popped == 600, "more was popped while nothing could be stored"
        assert len(program.logged("proxy_state", "state=ledger")) == 1
        assert "The disk of the ledger" in program.get("/").text
        assert program.get("/-/healthy").status_code == 200
        assert program.metric("cliproxy_exporter_records_booked_total") == 100

        _limit_file_size(program, resource.RLIM_INFINITY)
        wait_until(lambda: flow_in(data_dir).booked == 1300)
        wait_until(lambda: program.metric("cliproxy_exporter_records_booked_total") == 1300)
        wait_until(lambda: program.logged("proxy_state", "state=ok", "before=ledger"))
        assert program.stop() == 0
    assert flow_in(data_dir).received == server.proxy.counts().popped == 1300


def test_records_that_no_disk_took_before_the_stop_are_reported_as_lost(server: SteeredServer, tmp_path: Path) -> None:
    with _program(tmp_path, server) as program:
        wait_until(lambda: program.metric("cliproxy_up"), lambda up: up == 1)
        _limit_file_size(program, 1)
        _publish(server, 300)
        program.trigger()
        wait_until(lambda: program.logged("proxy_state", "state=ledger"))
        assert program.stop() == 0
        (line,) = program.logged("records_lost")
    assert "level=error" in line
    assert "records=300" in line


def test_records_that_wait_for_the_disk_are_stored_at_the_stop(server: SteeredServer, tmp_path: Path) -> None:
    with _program(tmp_path, server) as program:
        wait_until(lambda: program.metric("cliproxy_up"), lambda up: up == 1)
        _limit_file_size(program, 1)
        _publish(server, 300)
        program.trigger()
        wait_until(lambda: program.logged("proxy_state", "state=ledger"))
        _limit_file_size(program, resource.RLIM_INFINITY)
        assert program.stop() == 0
        assert not program.logged("records_lost")
    assert flow_in(tmp_path / "data").booked == 300


def _limit_pages(exporter: Exporter, pages: int) -> None:
    # There is no setting for it, and a test cannot have a full disk, so it limits the one writing connection.
    with exporter._ledger._database.transaction() as connection:
        connection.execute(f"pragma max_page_count = {pages}")


def test_a_full_disk_is_named_and_everything_is_booked_when_there_is_space_again(
    server: SteeredServer, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    settings = settings_for(data_dir, proxy_url=server.url, key=MANAGEMENT_KEY, collector_interval_seconds=1)
    with running(settings) as exporter:
        _publish(server, 100)
        wait_until(lambda: flow_in(data_dir).booked == 100)
        with ledger_file(data_dir) as connection:
            (pages,) = connection.execute("pragma page_count").fetchone()
        # There is space to store two batches, and not to book them.
        _limit_pages(exporter, pages + 45)
        _publish(server, 3000, seed=6)
        (status,) = wait_until(exporter.statuses, lambda statuses: statuses[0].state == "ledger")
        assert "is full" in status.sentence
        popped = server.proxy.counts().popped
        polls = "cliproxy_exporter_polls_total"
        before = metric_in(metrics_of(exporter), polls) or 0
        wait_until(lambda: metric_in(metrics_of(exporter), polls), lambda now: now and now >= before + 2)
        assert server.proxy.counts().popped == popped < 3100, "more was popped while the disk was full"
        flow = flow_in(data_dir)
        assert flow.adds_up

        _limit_pages(exporter, 2**30)
        wait_until(lambda: flow_in(data_dir).booked == 3100)
        wait_until(exporter.statuses, lambda statuses: statuses[0].state == "ok")
        assert metric_in(metrics_of(exporter), "cliproxy_exporter_records_booked_total") == 3100
    assert flow_in(data_dir).received == 3100


@pytest.mark.usefixtures("as_users_start_it")
def test_the_module_runs_the_command(tmp_path: Path) -> None:
    done = run_command("--version", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("cliproxy-exporter, version ")
    assert os.listdir(tmp_path) == []
