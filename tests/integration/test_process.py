"""The program as a process: its start, the data directory, the port, and a disk that refuses writes."""

import os
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.app import Exporter
from exporter.ledger.database import FILE_NAME
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.polling import publish
from tests.benches.program import metrics_of, running, settings_for
from tests.fakes.steered.server import SteeredServer
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


def _program(directory: Path, server: SteeredServer, **settings: str) -> Any:
    return exporter_process(directory, proxy_url=server.url, key=MANAGEMENT_KEY, **settings)


@pytest.fixture
def as_users_start_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.stack.running.FORKS", False)


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
    assert f"The exporter cannot listen on 127.0.0.1:{port} (Address already in use)." in sentence
    assert "EXPORTER_PORT" in sentence


# This first loads what Python would load later: a user who is no longer root may not be allowed to read it.
_AS_NOBODY = """
import encodings.ascii
import encodings.idna
import encodings.utf_8_sig
import os
import sys
import exporter.app  # an account without rights cannot read every interpreter
from exporter.cli import COMMANDS, main
for name in COMMANDS:
    main.get_command(None, name)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
main(sys.argv[1:])
"""


@pytest.fixture
def public_dir() -> Iterator[Path]:
    """A directory that every user can enter, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
        path.chmod(0o755)


def _run_as_nobody(
    directory: Path, server: SteeredServer, *command: str, **more: str
) -> subprocess.CompletedProcess[str]:
    settings = {
        "CLIPROXY_URL": server.url,
        "CLIPROXY_MANAGEMENT_KEY": MANAGEMENT_KEY,
        "EXPORTER_DATA_DIR": str(directory),
        "EXPORTER_PORT": "0",
        "EXPORTER_PRICES_REFRESH": "false",
        **more,
    }
    return subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, *(command or ("run",))],
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


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["report"], "The ledger {ledger} cannot be read (Permission denied). Run the command as the exporter's user."),
        (["price", "gpt-5.4"], "The prices of the daily list are not used: The ledger {ledger} cannot be read"),
        (["check-config"], "The data directory {data_dir} cannot be used (Permission denied"),
    ],
)
def test_a_ledger_that_cannot_be_seen_is_reported(
    server: SteeredServer, public_dir: Path, command: list[str], sentence: str
) -> None:
    data_dir = public_dir / "private"
    data_dir.mkdir(mode=0)
    done = _run_as_nobody(data_dir, server, *command, EXPORTER_PRICES_REFRESH="true")
    assert sentence.format(data_dir=data_dir, ledger=data_dir / FILE_NAME) in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_another_users_folder_named_data_is_left_alone(server: SteeredServer, public_dir: Path) -> None:
    (public_dir / "data").mkdir(mode=0)
    own = str(public_dir / "own")
    done = _run_as_nobody(public_dir / "data", server, "report", EXPORTER_DATA_DIR="", XDG_DATA_HOME=own)
    assert f"There is no ledger at {own}" in done.stderr


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
        publish(server.proxy, 100)
        wait_until(lambda: flow_in(data_dir).booked == 100)
        wait_until(lambda: program.logged("proxy_state", "state=ok"))  # the first poll is over and writes nothing more
        _limit_file_size(program, 1)
        publish(server.proxy, 1200, seed=6)
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
        publish(server.proxy, 300)
        program.trigger()
        wait_until(lambda: program.logged("proxy_state", "state=ledger"))
        assert program.stop() == 0
        (line,) = program.logged("records_lost")
    assert "level=error" in line
    assert "records=300" in line
    assert "They were in memory only, and are missing from all figures" in line


def test_records_that_wait_for_the_disk_are_stored_at_the_stop(server: SteeredServer, tmp_path: Path) -> None:
    with _program(tmp_path, server) as program:
        wait_until(lambda: program.metric("cliproxy_up"), lambda up: up == 1)
        _limit_file_size(program, 1)
        publish(server.proxy, 300)
        program.trigger()
        wait_until(lambda: program.logged("proxy_state", "state=ledger"))
        _limit_file_size(program, resource.RLIM_INFINITY)
        assert program.stop() == 0
        assert not program.logged("records_lost")
    assert flow_in(tmp_path / "data").booked == 300


def _limit_pages(exporter: Exporter, pages: int) -> None:
    # There is no setting for it, and a test cannot have a full disk, so it limits the one writing connection.
    with exporter.parts.ledger._database.transaction() as connection:
        connection.execute(f"pragma max_page_count = {pages}")


def test_a_full_disk_is_named_and_everything_is_booked_when_there_is_space_again(
    server: SteeredServer, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    settings = settings_for(data_dir, proxy_url=server.url, key=MANAGEMENT_KEY, collector_interval_seconds=1)
    with running(settings) as exporter:
        publish(server.proxy, 100)
        wait_until(lambda: flow_in(data_dir).booked == 100)
        with ledger_file(data_dir) as connection:
            (pages,) = connection.execute("pragma page_count").fetchone()
        # There is space to store two batches, and not to book them.
        _limit_pages(exporter, pages + 45)
        publish(server.proxy, 3000, seed=6)
        (status,) = wait_until(exporter.statuses, lambda statuses: statuses[0].state == "ledger")
        assert "is full. Free some space before you stop a running exporter" in status.sentence
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
