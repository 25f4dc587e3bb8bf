"""Losses show in metrics, on the page and in the log, with a real second program at the proxy's queue."""

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from exporter.app import Exporter
from exporter.logs import configure_logging
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.program import Polls, metrics_of, running, settings_for
from tests.fakes.guarding import TurnableClock
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack import loopback
from tests.stack.running import metric_in

_MISSED = "cliproxy_exporter_missed_records_estimate"
_GAPS = "cliproxy_exporter_retention_gaps_total"
_RESTARTS = "cliproxy_exporter_restarts_detected_total"


class _Scene:
    """A demo proxy, a rival at its queue, and an exporter that the test can restart, all on one clock."""

    def __init__(self, folder: Path, proxy: SteeredProxy, url: str, clock: TurnableClock, log: io.StringIO) -> None:
        self.proxy = proxy
        self.clock = clock
        self.stolen = 0
        self._folder = folder
        self._url = url
        self._log = log
        self._traffic = Traffic(seed=9, zone=proxy.zone, shape=proxy.shape)
        self._exporter: Exporter | None = None

    @contextmanager
    def exporter(self) -> Iterator[None]:
        settings = settings_for(self._folder / "data", proxy_url=self._url, key=MANAGEMENT_KEY)
        self._polls = Polls()
        with running(settings, clock=self.clock, polls=self._polls) as self._exporter:
            self._polled = self._polls.wait_for(1)
            yield

    def publish(self, attempts: int, *, recorded: bool = True) -> None:
        """Publish attempts that end now; without ``recorded`` they leave no record, like count_tokens."""
        subscribed, self.proxy.subscribed = self.proxy.subscribed, self.proxy.subscribed or not recorded
        self.proxy.publish(self._traffic.batch(attempts, ending=self.clock.now()))
        self.proxy.subscribed = subscribed

    def steal(self) -> None:
        """Do what a second program does that polls the same queue."""
        answer = loopback.get(
            f"{self._url}/v0/management/usage-queue?count=1000",
            headers={"Authorization": f"Bearer {MANAGEMENT_KEY}"},
        )
        self.stolen += len(answer.json())

    def poll(self) -> None:
        assert self._exporter is not None
        self._exporter.trigger()
        self._polled = self._polls.wait_for(self._polled + 1)

    def metric(self, name: str, **labels: str) -> float | None:
        assert self._exporter is not None
        return metric_in(metrics_of(self._exporter), name, **labels)

    @property
    def state(self) -> str:
        assert self._exporter is not None
        (status,) = self._exporter.statuses()
        return status.state

    @property
    def page(self) -> str:
        assert self._exporter is not None
        return loopback.get(f"{self._exporter.web.url}/").text

    def logged(self, *words: str) -> list[str]:
        return [line for line in self._log.getvalue().splitlines() if all(word in line for word in words)]

    @property
    def states(self) -> list[str]:
        return [line.partition(" state=")[2].split()[0] for line in self.logged("event=proxy_state")]


@contextmanager
def _scene(folder: Path, *, retention_seconds: int, **more: Any) -> Iterator[_Scene]:
    clock, log = TurnableClock(), io.StringIO()
    configure_logging("debug", "logfmt", stream=log)
    proxy = SteeredProxy(key=MANAGEMENT_KEY, clock=clock, retention_seconds=retention_seconds, **more)
    try:
        with SteeredServer(proxy) as server:
            yield _Scene(folder, proxy, server.url, clock, log)
    finally:
        configure_logging("info", "logfmt", stream=io.StringIO())


# --- rivals -------------------------------------------------------------------------------------------------------


def test_a_second_poller_that_takes_most_records_is_reported(tmp_path: Path) -> None:
    """Honest traffic first; then a rival takes most of it, over a restart of the exporter; then it stops."""
    chance = random.Random(4)
    with _scene(tmp_path, retention_seconds=3600) as scene:

        def minutes(number: int, *, rival: bool) -> None:
            for _ in range(number):
                for _ in range(2):
                    scene.publish(14)
                    if rival and chance.random() < 0.7:
                        scene.steal()
                    scene.publish(1, recorded=False)
                    scene.clock.advance(30.5)
                    scene.poll()

        with scene.exporter():
            minutes(6, rival=False)
            assert (scene.metric(_MISSED), scene.states) == (0, ["ok"])
            minutes(12, rival=True)
        with scene.exporter():
            minutes(10, rival=True)
            assert scene.state == "another_consumer"
            assert scene.metric("cliproxy_proxy_state", state="another_consumer") == 1
            missed = scene.metric(_MISSED)
            assert missed is not None
            assert 0.8 * scene.stolen <= missed <= 1.3 * scene.stolen
            page = scene.page
            assert "of their records arrive" in page
            assert "A queue has one consumer" in page
            assert "that never arrived" in page
        with scene.exporter():
            assert scene.state == "another_consumer", "a restart of the exporter changes nothing"
            assert scene.metric(_MISSED) == missed
            minutes(14, rival=False)
            assert scene.state == "ok"
            still = scene.metric(_MISSED)
            assert still is not None
            assert still >= missed
        assert scene.states.count("another_consumer") <= 2, "once, and once more at the start"


def test_attempts_without_records_are_not_missing(tmp_path: Path) -> None:
    with _scene(tmp_path, retention_seconds=3600) as scene, scene.exporter():
        scene.proxy.publishing = False
        scene.clock.advance(61)
        scene.poll()
        for _ in range(8):
            scene.publish(50)
            scene.clock.advance(61)
            scene.poll()
        scene.proxy.publishing = True
        scene.publish(20)
        for _ in range(3):
            scene.clock.advance(61)
            scene.poll()
            scene.publish(20)
        assert scene.states == ["ok", "publishing_off", "ok"]
        assert scene.metric(_MISSED) == 0


def test_an_answer_that_is_lost_on_its_way_is_counted(tmp_path: Path) -> None:
    with _scene(tmp_path, retention_seconds=3600) as scene, scene.exporter():
        scene.clock.advance(61)
        scene.poll()
        scene.publish(40)
        scene.proxy.fault(path="usage-queue", kind="cut")
        scene.poll()
        assert scene.state == "unreachable"
        scene.clock.advance(61)
        scene.poll()
        lost = scene.proxy.counts().lost
        assert lost == 40
        assert scene.metric(_MISSED) == 40
        assert scene.state == "ok"


def test_a_proxy_without_counts_gets_no_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be known, so nothing is reported: an estimate of 0 would be a claim."""
    with _scene(tmp_path, retention_seconds=3600) as scene:
        monkeypatch.setattr(scene.proxy, "auth_files", lambda: [])
        monkeypatch.setattr(scene.proxy, "api_key_usage", dict)
        with scene.exporter():
            scene.publish(20)
            scene.poll()
            scene.clock.advance(61)
            scene.poll()
            assert scene.metric("cliproxy_exporter_records_booked_total") == 20
            assert scene.metric(_MISSED) is None


# --- gaps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stopped", [False, True], ids=["it slept", "it was stopped"])
def test_a_gap_longer_than_the_retention_is_reported(tmp_path: Path, stopped: bool) -> None:
    with _scene(tmp_path, retention_seconds=120) as scene:

        def gap() -> None:
            scene.publish(30)
            scene.clock.advance(200)
            scene.publish(10)

        def check() -> None:
            assert scene.metric(_GAPS) == 1
            assert scene.metric(_MISSED) == 30
            (line,) = scene.logged("event=retention_gap")
            assert "was not read for 200 s" in line
            assert "redis-usage-queue-retention-seconds: 3600" in line
            assert "was not read for 200 s" in scene.page
            scene.clock.advance(61)
            scene.poll()
            assert (scene.metric(_GAPS), scene.metric(_MISSED)) == (1, 30), "once per gap"

        with scene.exporter():
            scene.clock.advance(45)
            scene.poll()
            if not stopped:
                gap()
                scene.poll()
                check()
        if stopped:
            gap()
            with scene.exporter():
                check()
                scene.clock.advance(86_400 * 2)
                scene.proxy.retention_seconds = 3600
                assert "was not read for 200 s" not in scene.page, "it is told for a day"


def test_a_gap_of_errors_is_reported_although_the_retention_could_not_be_read_meanwhile(tmp_path: Path) -> None:
    with _scene(tmp_path, retention_seconds=60) as scene, scene.exporter():
        scene.proxy.fault(path="*", kind="status", times=None, status=503)
        for _ in range(3):
            scene.clock.advance(60)
            scene.poll()
        assert scene.metric("cliproxy_queue_retention_seconds", proxy="default") == 60
        scene.proxy.clear_faults()
        scene.clock.advance(15)
        scene.poll()
        assert scene.metric(_GAPS, proxy="default") == 1


def test_a_restart_of_the_exporter_within_the_retention_is_no_gap(tmp_path: Path) -> None:
    with _scene(tmp_path, retention_seconds=60) as scene:
        with scene.exporter():
            scene.clock.advance(14)
            scene.poll()
        scene.publish(10)
        scene.clock.advance(55)
        with scene.exporter():
            assert (scene.metric(_GAPS), scene.metric(_MISSED)) == (0, 0)
            assert not scene.logged("event=retention_gap")


def test_what_expired_before_a_start_with_the_clock_behind_is_missed_though_the_gap_has_no_length(
    tmp_path: Path,
) -> None:
    with _scene(tmp_path, retention_seconds=120) as scene:
        with scene.exporter():
            scene.clock.advance(45)
            scene.poll()
        scene.publish(30)
        scene.clock.advance(200)
        scene.publish(10)
        scene.clock.jump(-3600)
        with scene.exporter():
            assert (scene.metric(_GAPS), scene.metric(_MISSED)) == (0, 30)


# --- restarts -----------------------------------------------------------------------------------------------------


def test_restarts_of_the_proxy_are_counted_and_reported(tmp_path: Path) -> None:
    with _scene(tmp_path, retention_seconds=3600) as scene, scene.exporter():
        scene.publish(200)
        scene.clock.advance(61)
        scene.poll()
        for _ in range(5):
            scene.publish(20)
            scene.proxy.restart()
            scene.publish(3)
            scene.clock.advance(61)
            scene.poll()
            scene.publish(100)
            scene.clock.advance(61)
            scene.poll()
        assert scene.metric(_RESTARTS) == 5
        assert len(scene.logged("Restart detected")) == 1, "at once"
        scene.clock.advance(61)
        scene.poll()
        assert len(scene.logged("Restart detected")) == 2, "and ten minutes later"
        assert scene.logged("Restart detected", "4 times")
        assert scene.metric(_MISSED) == 0
        assert scene.states == ["ok"]
