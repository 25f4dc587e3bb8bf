"""One program and one demo proxy, polled when a test says so, and what always holds."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from exporter.app import Exporter
from exporter.clock import Clock
from exporter.logs import configure_logging
from exporter.simulator.wire import IMAGE_MODEL
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.program import Polls, metrics_of, running, settings_for
from tests.fakes.planted import secrets
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Attempt, Traffic
from tests.stack import loopback
from tests.stack.running import flow_in, metric_in, secrets_found

WRONG_KEY = "sk-planted-wrong-key-77f1"


def one_record_each(traffic: Traffic, number: int, *, ending: float) -> list[Attempt]:
    """``number`` attempts with one record each, so that the proxy counts as many attempts as it records."""
    enough = min(2 * number, number + number // 10 + 10)  # at most every other one is a second record, usually few
    attempts = traffic.batch(enough, ending=ending)
    return [attempt for attempt in attempts if attempt.model != IMAGE_MODEL][:number]


def publish(proxy: SteeredProxy, records: int, *, seed: int = 5) -> None:
    """Publish this many records that end now."""
    traffic = Traffic(seed=seed, zone=proxy.zone, shape=proxy.shape)
    proxy.publish(one_record_each(traffic, records, ending=time.time()))


class Bench:
    """One program and one demo proxy, polled when a test says so."""

    def __init__(self, exporter: Exporter, proxy: SteeredProxy, data_dir: Path, log: io.StringIO, polls: Polls) -> None:
        self.exporter = exporter
        self.proxy = proxy
        self.data_dir = data_dir
        self._log = log
        self._traffic = Traffic(seed=3, zone=proxy.zone, shape=proxy.shape)
        self._polls = polls
        self._polled = polls.wait_for(1)

    def publish(self, records: int) -> None:
        self.proxy.publish(one_record_each(self._traffic, records, ending=self.proxy.clock.now()))

    def poll(self, times: int = 1) -> None:
        """Poll ``times`` times, each time to its end."""
        for _ in range(times):
            self.exporter.trigger()
            self._polled = self._polls.wait_for(self._polled + 1)

    def metric(self, name: str, **labels: str) -> float:
        return metric_in(metrics_of(self.exporter), name, **labels) or 0.0

    @property
    def state(self) -> str:
        (status,) = self.exporter.statuses()
        return status.state

    @property
    def page(self) -> str:
        return loopback.get(f"{self.exporter.web.url}/").text

    @property
    def states(self) -> list[str]:
        """The states in the log, in order."""
        lines = [line for line in self._log.getvalue().splitlines() if "event=proxy_state" in line]
        return [line.partition(" state=")[2].split()[0] for line in lines]

    def logged(self, *words: str) -> list[str]:
        return [line for line in self._log.getvalue().splitlines() if all(word in line for word in words)]

    def check(self, *, errors: int) -> None:
        """Check what holds whatever the proxy does, and how many errors were logged."""
        assert flow_in(self.data_dir).adds_up
        assert self.proxy.counts().mutating_calls == 0
        found = secrets_found(
            [*secrets(), WRONG_KEY],
            texts={"log": self._log.getvalue(), "metrics": metrics_of(self.exporter), "page": self.page},
            data_dir=self.data_dir,
        )
        assert found == []
        assert len(self.logged("level=error")) == errors


@contextmanager
def bench_of(
    directory: Path,
    proxy: SteeredProxy,
    *,
    url: str,
    key: str = MANAGEMENT_KEY,
    clock: Clock | None = None,
    source: Literal["queue", "subscribe"] = "queue",
    errors: int = 0,
) -> Iterator[Bench]:
    log = io.StringIO()
    configure_logging("debug", "logfmt", stream=log)
    data_dir = directory / "data"
    try:
        settings = settings_for(data_dir, proxy_url=url, key=key, source=source)
        polls = Polls()
        with running(settings, clock=clock, polls=polls) as exporter:
            bench = Bench(exporter, proxy, data_dir, log, polls)
            yield bench
            bench.check(errors=errors)
    finally:
        configure_logging("info", "logfmt", stream=io.StringIO())


@contextmanager
def served_at(port: int, proxy: SteeredProxy) -> Iterator[str]:
    """The proxy on a port that another one has used before."""
    with SteeredServer(proxy, port=port) as server:
        yield server.url
