"""A user has one ledger, whatever folder commands start in; one that goes away meanwhile is noticed."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.ledger.database import FILE_NAME
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.polling import one_record_each
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack.running import Process, exporter_process, flow_in, run_command
from tests.stack.waiting import wait_until


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A proxy, and a user whose data is below ``home``."""
    with SteeredServer(SteeredProxy(key=MANAGEMENT_KEY)) as server:
        yield {
            "CLIPROXY_URL": server.url,
            "CLIPROXY_MANAGEMENT_KEY": MANAGEMENT_KEY,
            "XDG_DATA_HOME": str(tmp_path / "home"),
            "EXPORTER_DATA_DIR": "",
            "TZ": "Asia/Tokyo",
        }


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    found = [tmp_path / name for name in ("one", "two")]
    for folder in found:
        folder.mkdir()
    return found


def _started(program: Process) -> str:
    (line,) = wait_until(lambda: program.logged("event=started"))
    return line


def test_it_starts_in_the_users_directory_and_says_so(
    settings: dict[str, str], folders: list[Path], tmp_path: Path
) -> None:
    data = tmp_path / "home" / "cliproxy-exporter"
    with exporter_process(folders[0], **settings) as program:
        line = _started(program)
        assert f"data_dir={data} zone=Asia/Tokyo" in line
        assert f'readers="default of {settings["CLIPROXY_URL"]}"' in line
        assert 'history="in the ledger alone"' in line
        wait_until(lambda: flow_in(data).received >= 0 and (data / FILE_NAME).exists())
        assert program.stop() == 0
    assert list((data / "running").iterdir()) == []
    assert list(folders[0].iterdir()) == []


def test_a_ledger_in_data_stays_in_use_and_commands_elsewhere_find_it(
    settings: dict[str, str], folders: list[Path]
) -> None:
    here, elsewhere = folders
    old = here / "data"
    with exporter_process(here, **{**settings, "EXPORTER_DATA_DIR": "data"}) as program:
        _started(program)
        assert program.stop() == 0
    with exporter_process(here, **settings) as program:
        assert f"data_dir={old} " in _started(program)
        assert any(
            line.startswith(f"note: EXPORTER_DATA_DIR (not set): The ledger in {old} is used;") for line in program.out
        )
        done = run_command("export", cwd=elsewhere, **settings)
        assert (done.returncode, done.stderr) == (0, "")
        second = run_command("run", cwd=elsewhere, **settings, EXPORTER_PORT="0")
        assert second.returncode == 1
        assert f"Another exporter (process {program.pid}) uses the data directory {old}" in second.stderr
        assert "Only an exporter of other proxies may run beside it" in second.stderr
        assert program.stop() == 0
    done = run_command("export", cwd=elsewhere, **settings)
    assert done.returncode == 1
    assert "There is no ledger at" in done.stderr


def test_commands_find_a_demo_with_its_names_and_limits(settings: dict[str, str], folders: list[Path]) -> None:
    with exporter_process(folders[0], arguments=["demo", "--rate", "20"], **settings) as program:
        _started(program)
        done = run_command("false-starts", cwd=folders[1], **settings)
        assert (done.returncode, done.stdout) == (0, "There were no false starts.\n")
        assert "claude-alice" in run_command("report", "--by=credential", cwd=folders[1], **settings).stdout
        assert "Each client's day" in run_command("limits", cwd=folders[1], **settings).stdout
        assert program.stop() == 0
    done = run_command("report", cwd=folders[1], **settings)
    assert f"set EXPORTER_DATA_DIR to {settings['XDG_DATA_HOME']}/cliproxy-exporter/demo for that" in done.stderr


@pytest.mark.parametrize("replaced", [False, True])
def test_a_ledger_that_was_moved_away_is_noticed_before_anything_is_popped(replaced: bool, tmp_path: Path) -> None:
    data, proxy = tmp_path / "data", SteeredProxy(key=MANAGEMENT_KEY, retention_seconds=3600)
    with (
        SteeredServer(proxy) as server,
        exporter_process(tmp_path, proxy_url=server.url, key=MANAGEMENT_KEY, COLLECTOR_INTERVAL_SECONDS="1") as program,
    ):
        wait_until(lambda: program.metric("cliproxy_up"), lambda up: up == 1)
        data.rename(tmp_path / "away")
        if replaced:
            data.mkdir()
            (data / FILE_NAME).touch()
        wait_until(lambda: program.logged("proxy_state", "state=ledger"))
        proxy.publish(one_record_each(Traffic(seed=5, zone=proxy.zone, shape=proxy.shape), 20, ending=time.time()))
        polls = program.metric("cliproxy_exporter_polls_total") or 0
        wait_until(lambda: program.metric("cliproxy_exporter_polls_total"), lambda now: now and now > polls + 1)
        assert proxy.counts().popped == 0
        assert "was deleted, moved or replaced" in program.get("/").text
        assert program.metric("cliproxy_up") == 0

        if replaced:
            (data / FILE_NAME).unlink()
            data.rmdir()
        (tmp_path / "away").rename(data)
        wait_until(lambda: flow_in(data).booked == 20)
        assert program.stop() == 0
    assert flow_in(data).received == 20
