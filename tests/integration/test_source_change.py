"""Changes of the source at the usual pace of polls: one restart each, described correctly, and no false alarm."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.polling import Bench, bench_of
from tests.fakes.guarding import TurnableClock
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer

OLD, NEW = "v6.9.49", "v7.2.140"
RESTARTS = "cliproxy_exporter_restarts_detected_total"
GAPS = "cliproxy_exporter_retention_gaps_total"
MISSED = "cliproxy_exporter_missed_records_estimate"


class _Scene:
    """A demo proxy, and an exporter that the test can restart, on one clock."""

    def __init__(self, folder: Path, proxy: SteeredProxy, url: str) -> None:
        self.proxy = proxy
        self.clock = TurnableClock(now=time.time())
        self._folder = folder
        self._url = url

    @contextmanager
    def exporter(self) -> Iterator[Bench]:
        with bench_of(self._folder, self.proxy, url=self._url, clock=self.clock) as bench:
            yield bench

    def step(self, bench: Bench, seconds: float, *, records: int = 40) -> None:
        self.clock.advance(seconds)
        bench.publish(records)
        bench.poll()


@contextmanager
def _scene(folder: Path, version: str, *, retention: int = 3600) -> Iterator[_Scene]:
    proxy = SteeredProxy(key=MANAGEMENT_KEY, version=version, retention_seconds=retention)
    with SteeredServer(proxy) as server:
        yield _Scene(folder, proxy, server.url)


@pytest.mark.parametrize("seconds", [61, 15], ids=["the accounts are listed anew", "they are not"])
@pytest.mark.parametrize("first", [OLD, NEW])
def test_each_change_is_one_restart(tmp_path: Path, first: str, seconds: float) -> None:
    with _scene(tmp_path, first) as scene, scene.exporter() as bench:
        bench.publish(400)
        bench.poll()
        for number in (1, 2, 3):
            scene.step(bench, 61)
            scene.proxy.upgrade(NEW if scene.proxy.has_usage_snapshot else OLD)
            scene.step(bench, seconds)
            assert bench.metric(RESTARTS) == number
            scene.step(bench, 61)
            assert bench.metric(RESTARTS) == number, "and not when the accounts are listed next"


def test_a_plugin_with_metrics_of_our_names_is_reported_once_at_the_start(tmp_path: Path) -> None:
    with _scene(tmp_path, NEW) as scene:
        scene.proxy.plugins = {"cpa-prometheus": True}
        with scene.exporter() as bench:
            assert bench.logged("event=other_exporter")
            scene.proxy.upgrade("v8.0.3")
            scene.step(bench, 61)
            scene.step(bench, 61)
            assert bench.metric("cliproxy_proxy_info", source="queue-v8") == 1
            (line,) = bench.logged("event=other_exporter")
            assert "level=warning" in line
            assert "runs the plugin cpa-prometheus" in line


def test_a_change_while_no_exporter_ran_is_reported(tmp_path: Path) -> None:
    with _scene(tmp_path, OLD, retention=60) as scene:
        with scene.exporter() as bench:
            bench.publish(400)
            bench.poll()
        scene.clock.advance(3 * 3600)
        scene.proxy.upgrade(NEW)
        with scene.exporter() as bench:
            assert (bench.metric(RESTARTS), bench.metric(GAPS), bench.metric(MISSED)) == (1, 0, 0)
            (line,) = bench.logged("Restart detected")
            assert "Its usage is now in a queue; it was in a snapshot." in line
            assert "What it counted between the last read, 3 h ago, and the restart is lost." in line


def test_a_restart_is_reported_with_its_cost(tmp_path: Path) -> None:
    with _scene(tmp_path, OLD) as scene, scene.exporter() as bench:
        scene.step(bench, 60)
        scene.proxy.restart()
        scene.step(bench, 60, records=3)
        (line,) = bench.logged("Restart detected")
        assert "What it counted between the last read, 60 s ago, and the restart is lost." in line
        scene.clock.advance(600)
        scene.proxy.upgrade(NEW)
        bench.poll()
        scene.step(bench, 15)
        scene.clock.advance(600)
        scene.proxy.upgrade(OLD)
        bench.poll()
        line = bench.logged("Restart detected")[-1]
        assert "Its usage is now in a snapshot; it was in a queue. What was waiting in its queue is lost." in line


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_time_of_the_last_look_does_not_depend_on_the_wall_clock(tmp_path: Path, hours: int) -> None:
    with _scene(tmp_path, OLD) as scene, scene.exporter() as bench:
        scene.step(bench, 60)
        scene.proxy.restart()
        scene.clock.jump(hours * 3600)
        scene.step(bench, 60, records=3)
        (line,) = bench.logged("Restart detected")
        assert "the last read, 60 s ago" in line


def test_restarts_that_were_held_back_are_reported_when_the_exporter_stops(tmp_path: Path) -> None:
    with _scene(tmp_path, OLD) as scene:
        with scene.exporter() as bench:
            for _ in range(3):
                scene.step(bench, 60)
                scene.proxy.restart()
                scene.step(bench, 60, records=3)
            assert len(bench.logged("Restart detected")) == 1
        assert len(bench.logged("Restart detected")) == 2
        assert bench.logged("Restart detected (2 times since the last such line)")


def test_an_upgrade_to_a_queue_of_default_retention_is_no_gap(tmp_path: Path) -> None:
    """The queue is younger than the last read of the snapshot."""
    with _scene(tmp_path, OLD, retention=60) as scene, scene.exporter() as bench:
        scene.step(bench, 60.05)
        scene.proxy.upgrade(NEW)
        scene.step(bench, 60.05)
        assert bench.metric(GAPS) == 0
        scene.step(bench, 60.05)
        assert bench.metric(GAPS) == 1, "the next one is"


def test_attempts_of_a_fork_are_no_loss_of_the_queue_that_follows(tmp_path: Path) -> None:
    with _scene(tmp_path, NEW, retention=60) as scene, scene.exporter() as bench:
        for _ in range(6):
            scene.step(bench, 15)
        scene.proxy.upgrade(OLD)
        scene.proxy.details = "absent"
        for _ in range(4):
            scene.step(bench, 60.05, records=200)
        scene.proxy.upgrade(NEW)
        for _ in range(4):
            scene.step(bench, 60.05, records=5)
        assert bench.metric(MISSED) == 0
