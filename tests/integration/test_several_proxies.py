"""Several proxies in one YAML file: one that hangs and one that refuses the key cost the others nothing."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.simulator.world import MANAGEMENT_KEY
from tests.fakes.raw import RawServer, drip, head
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack.running import Process, exporter_process, flow_in, ledger_file, run_command
from tests.stack.waiting import wait_until

POLLS = "cliproxy_exporter_polls_total"
UP = "cliproxy_up"


@contextmanager
def _program(directory: Path, urls: dict[str, str], **keys: str) -> Iterator[Process]:
    """The program with these proxies, polled each second; ``keys`` are keys other than the demo's."""
    proxies = [
        {"name": name, "url": url, "management_key": keys.get(name, MANAGEMENT_KEY)} for name, url in urls.items()
    ]
    (directory / "proxies.yaml").write_text(json.dumps({"proxies": proxies}), encoding="utf-8")
    with exporter_process(directory, EXPORTER_CONFIG="proxies.yaml", COLLECTOR_INTERVAL_SECONDS="1") as program:
        yield program


@pytest.fixture
def fine() -> Iterator[SteeredServer]:
    with SteeredServer(SteeredProxy(key=MANAGEMENT_KEY)) as server:
        yield server


def _publish(server: SteeredServer, records: int, seed: int) -> None:
    proxy = server.proxy
    proxy.publish(Traffic(seed=seed, zone=proxy.zone, shape=proxy.shape).batch(records, ending=time.time()))


def test_one_that_hangs_and_one_that_refuses_cost_the_third_nothing(fine: SteeredServer, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    endless = drip(head(length=10**6), b" ")  # a call that gets no byte at all would end after 20 seconds
    with RawServer(endless) as hanging, SteeredServer(SteeredProxy(key="another")) as refusing:
        urls = {"hangs": hanging.url, "refuses": refusing.url, "fine": fine.url}
        with _program(tmp_path, urls) as program:
            _publish(fine, 100, seed=1)
            wait_until(lambda: flow_in(data_dir, "fine").booked == 100)
            started, polls = time.monotonic(), program.metric(POLLS, proxy="fine") or 0
            wait_until(lambda: program.metric(POLLS, proxy="fine") or 0, lambda now: now >= polls + 5)
            assert time.monotonic() - started < 20, "the rhythm of the good proxy suffers"
            _publish(fine, 50, seed=2)
            wait_until(lambda: flow_in(data_dir, "fine").booked == 150)

            assert hanging.asked.is_set()
            assert program.metric(POLLS, proxy="hangs") == 1, "the hanging call has not ended yet"
            assert program.metric(UP, proxy="hangs") is None
            assert program.metric(UP, proxy="refuses") == 0
            assert program.metric(UP, proxy="fine") == 1
            assert refusing.proxy.counts().refused_logins == 1
            assert program.metric("cliproxy_requests_total", proxy="fine")
            assert program.metric("cliproxy_requests_total", proxy="refuses") is None
            page = program.get("/").text
            assert "was refused once" in page
            assert "The first poll is on its way" in page

            assert program.stop() == 0
    assert len(program.logged("proxy_state", "proxy=refuses")) == 1
    assert len(program.logged("proxy_state", "proxy=fine")) == 1


def test_one_ledger_keeps_proxies_apart(tmp_path: Path) -> None:
    """Two proxies send the very same records, under the same credentials."""
    data_dir = tmp_path / "data"
    with (
        SteeredServer(SteeredProxy(key=MANAGEMENT_KEY)) as east,
        SteeredServer(SteeredProxy(key=MANAGEMENT_KEY)) as west,
    ):
        attempts = Traffic(seed=4, zone=east.proxy.zone).batch(200, ending=time.time())
        with _program(tmp_path, {"east": east.url, "west": west.url}) as program:
            for server in (east, west):
                server.proxy.publish(attempts)
            wait_until(lambda: [flow_in(data_dir, name).booked for name in ("east", "west")] == [200, 200])
            requests = "cliproxy_requests_total"
            booked = "cliproxy_exporter_records_booked_total"
            wait_until(lambda: [program.metric(booked, proxy=name) for name in ("east", "west")] == [200, 200])
            assert program.metric(requests, proxy="west") == program.metric(requests, proxy="east")
            assert program.stop() == 0
        # A proxy that is removed from the settings keeps its records and totals.
        with _program(tmp_path, {"west": west.url}) as program:
            wait_until(lambda: program.metric(UP, proxy="west") == 1)
            assert program.metric(requests, proxy="east") == program.metric(requests, proxy="west")
            assert program.stop() == 0
        said = run_command("limits", cwd=tmp_path, EXPORTER_CONFIG="proxies.yaml", EXPORTER_DATA_DIR=str(data_dir))
        assert ("window, west" in said.stdout, "window, east" in said.stdout) == (True, False)
    with ledger_file(data_dir) as connection:
        (entries,) = connection.execute("select count(*) from entry").fetchone()
        shared = connection.execute("select ts_ms, fingerprint, count(*) from entry group by 1, 2 having count(*) > 1")
        assert shared.fetchall() == []
    assert entries == 400


def _spellings(server: SteeredServer) -> list[str]:
    port = server.url.rpartition(":")[2]
    hosts = ("127.0.0.1", "localhost", "LOCALHOST", "localhost.", "LocalHost.")
    return [f"http://{host}:{port}{end}" for host in hosts for end in ("", "/")]


def test_proxies_that_are_one_server_share_the_tries_of_a_wrong_key(fine: SteeredServer, tmp_path: Path) -> None:
    port = fine.url.rpartition(":")[2]  # the settings already refuse simpler spellings of one address
    hosts = ("127.0.0.1", "127.1", "2130706433", "127.0.1", "0x7f000001")
    urls = {f"p{number}": f"http://{host}:{port}" for number, host in enumerate(hosts)}
    with _program(tmp_path, urls, **dict.fromkeys(urls, "a-wrong-management-key")) as program:
        wait_until(lambda: all(program.metric(UP, proxy=name) == 0 for name in urls))
    assert fine.proxy.counts().refused_logins == 1


def test_other_spellings_of_an_address_give_check_config_no_further_tries(fine: SteeredServer, tmp_path: Path) -> None:
    told = []
    for url in _spellings(fine):
        checked = run_command(
            "check-config",
            "--connect",
            cwd=tmp_path,
            CLIPROXY_URL=url,
            CLIPROXY_MANAGEMENT_KEY="a-wrong-management-key",
            EXPORTER_DATA_DIR=str(tmp_path / "data"),
        )
        assert checked.returncode == 1, checked.stdout + checked.stderr
        told.append(checked.stdout)
    assert fine.proxy.counts().refused_logins == 1
    assert "this key has never been refused here, so at most 5 of 5 tries are left" in told[0]
    assert told[0].index("at most 5 of 5") < told[0].index("problem:")
    assert all("1 failed here so far, so at most 4 of 5 tries are left" in each for each in told[1:])
