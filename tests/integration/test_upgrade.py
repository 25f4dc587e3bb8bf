"""A proxy of 6.9 that has run for a while is met, upgraded to 7.2 in the middle, and downgraded again.

What Prometheus adds up of the counters is the traffic since the exporter met the proxy: the past makes no spike,
changes of the source double nothing, and nothing is missing.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from exporter.app import Exporter
from exporter.simulator.live import live_traffic
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.program import Polls, metrics_of, running, settings_for
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.stack import loopback
from tests.stack.monitoring import VERSION_LINES, Prometheus, binaries_of, run_prometheus
from tests.stack.running import metric_in
from tests.stack.waiting import wait_until

MODELS = ("claude-sonnet-4-5-20250929", "gemini-2.5-flash", "grok-4.5", "kimi-k2.5")
"""Models whose records are requests in every version (some of Codex's records are not)."""
BIRTH_SECONDS = 2
STATES = ("snapshot-v0", "queue-v0", "snapshot-v0")


@dataclass
class Lived:
    """What happened: attempts by model before and after the exporter came, and who scraped it."""

    before: Counter[str] = field(default_factory=Counter)
    after: Counter[str] = field(default_factory=Counter)
    sources: list[str] = field(default_factory=list)
    servers: dict[str, Prometheus] = field(default_factory=dict)
    text: str = ""
    backfilled: int = 0


def _attempts(proxy: SteeredProxy) -> Counter[str]:
    found: Counter[str] = Counter()
    for row in proxy.truth.as_rows():
        found[row["model"]] += row["attempts"]
    return found


def _poll(exporter: Exporter, polls: Polls) -> None:
    """Ask for a poll, and wait until it is over."""
    ended = polls.wait_for(0)
    loopback.post(f"{exporter.web.url}/api/collector/trigger")
    polls.wait_for(ended + 1)


def _traffic(proxy: SteeredProxy, exporter: Exporter, polls: Polls, *, seed: int) -> None:
    """Some seconds of traffic with polls in between; afterwards everything has been read."""
    with live_traffic(proxy, rate=60, seed=seed, burst=0):
        until = time.monotonic() + 4
        while time.monotonic() < until:
            more = _attempts(proxy).total() + 5
            wait_until(lambda more=more: _attempts(proxy).total() >= more)  # type: ignore[misc]
            _poll(exporter, polls)
    _poll(exporter, polls)
    _poll(exporter, polls)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    tmp_path = tmp_path_factory.mktemp("upgrade")
    proxy = SteeredProxy(key=MANAGEMENT_KEY, version="v6.9.49")
    with live_traffic(proxy, rate=0, seed=1, burst=300):
        pass
    lived = Lived(before=_attempts(proxy))
    with ExitStack() as stack:
        server = stack.enter_context(SteeredServer(proxy))
        settings = settings_for(
            tmp_path / "data", proxy_url=server.url, key=MANAGEMENT_KEY, exporter_series_birth_seconds=BIRTH_SECONDS
        )
        polls = Polls()
        exporter = stack.enter_context(running(settings, polls=polls))
        for line in VERSION_LINES:
            workdir = tmp_path / line
            workdir.mkdir()
            lived.servers[line] = stack.enter_context(
                run_prometheus(binaries_of(line), targets=[exporter.web.url.removeprefix("http://")], workdir=workdir)
            )
        for prometheus in lived.servers.values():
            prometheus.wait_for('cliproxy_proxy_state{state="ok"} == 1')
        for seed, version in enumerate(("", "v7.2.140", "v6.9.49")):
            if version:
                proxy.upgrade(version)
                _poll(exporter, polls)
            lived.sources.append(exporter.statuses()[0].source)
            _traffic(proxy, exporter, polls, seed=seed)
        lived.after = _attempts(proxy) - lived.before
        lived.text = metrics_of(exporter)
        total = metric_in(lived.text, "cliproxy_requests_total")
        for prometheus in lived.servers.values():
            prometheus.wait_for(
                "sum(cliproxy_requests_total)", lambda samples: [each.value for each in samples] == [total]
            )
        lived.backfilled = int(metric_in(lived.text, "cliproxy_exporter_records_backfilled_total") or 0)
        yield lived


def test_each_change_is_followed_within_one_poll(lived: Lived) -> None:
    assert lived.sources == list(STATES)


def test_usage_from_before_the_exporter_is_not_traffic_of_today(lived: Lived) -> None:
    assert lived.backfilled == sum(lived.before.values())


@pytest.mark.parametrize("model", MODELS)
def test_the_counters_have_everything_since_and_nothing_twice(lived: Lived, model: str) -> None:
    assert metric_in(lived.text, "cliproxy_requests_total", model=model) == lived.after[model] > 0


@pytest.mark.parametrize("line", VERSION_LINES)
@pytest.mark.parametrize("model", MODELS)
def test_what_prometheus_adds_up_has_no_spike_and_no_gap(lived: Lived, line: str, model: str) -> None:
    data = lived.servers[line].get("query", query=f'cliproxy_requests_total{{model="{model}"}}[10m]')
    rises = 0.0
    for series in data["result"]:
        values = [float(value) for _, value in series["values"]]
        assert values == sorted(values), "no reset"
        assert values[0] == 0, "its first sample is 0"
        rises += sum(after - before for before, after in pairwise(values))
    assert rises == lived.after[model]
