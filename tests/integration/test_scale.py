"""What docs/scale.md and docs/backup.md say about several exporters works with real Prometheus servers."""

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from exporter.app import Exporter
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.program import running, settings_for
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack import loopback
from tests.stack.monitoring import VERSION_LINES, Prometheus, binaries_of, run_prometheus_with
from tests.stack.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
PAGES = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("backup.md", "scale.md")]
MOVED, FILES, FILE, DISCOVERY, SENDING, *OTHERS = re.findall(r"(?ms)^```yaml\n(.*?)^```$", "".join(PAGES))
INTERVAL = "global: {scrape_interval: 1s}\n"

each_line = pytest.mark.parametrize("line", VERSION_LINES)


@contextmanager
def _office(folder: Path) -> Iterator[tuple[SteeredServer, Exporter]]:
    """The proxy ``office``, and an exporter that reads it."""
    with SteeredServer(SteeredProxy(key=MANAGEMENT_KEY)) as demo:
        settings = settings_for(
            folder / "data", proxy_url=demo.url, key=MANAGEMENT_KEY, name="office", exporter_series_birth_seconds=2
        )
        with running(settings) as exporter:
            yield demo, exporter


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """An exporter for Prometheus to find."""
    with _office(tmp_path_factory.mktemp("office")) as (_, started):
        yield started


def _address(exporter: Exporter) -> str:
    return exporter.web.url.removeprefix("http://")


def _folder(parent: Path, name: str, config: str) -> Path:
    (parent / name).mkdir()
    (parent / name / "prometheus.yml").write_text(config, encoding="utf-8")
    return parent / name


def _replaced(text: str, **changes: str) -> str:
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


# --- many exporters ---------------------------------------------------------------------------------------------------


@each_line
def test_prometheus_finds_exporters_in_files(line: str, exporter: Exporter, tmp_path: Path) -> None:
    folder = _folder(tmp_path, "server", INTERVAL + FILES)
    (folder / "cliproxy-exporters").mkdir()
    with run_prometheus_with(binaries_of(line), config=folder / "prometheus.yml", workdir=folder) as server:
        target = _replaced(FILE, **{"exporter-berlin:9317": _address(exporter)})
        (folder / "cliproxy-exporters" / "berlin.yml").write_text(target, encoding="utf-8")
        (up,) = server.wait_for('cliproxy_up{proxy="office",site="berlin"} == 1')
        assert (up.labels["job"], up.labels["instance"]) == ("cliproxy-exporter", _address(exporter))

        moved = _replaced(MOVED, **{"new:9317": _address(exporter)})
        (folder / "cliproxy-exporters" / "berlin.yml").write_text(moved, encoding="utf-8")
        server.wait_for('cliproxy_up{proxy="office",instance="old:9317"} == 1')


@each_line
@pytest.mark.parametrize("wanted", ["office", "offic"])
def test_prometheus_scrapes_an_exporter_and_chooses_by_proxy(
    wanted: str, line: str, exporter: Exporter, tmp_path: Path
) -> None:
    both = {"exporter-berlin:9317": _address(exporter), "exporter-tokyo:9317": "127.0.0.1:9", ",office,": f",{wanted},"}
    folder = _folder(tmp_path, "server", INTERVAL + _replaced(DISCOVERY, **both))
    with run_prometheus_with(binaries_of(line), config=folder / "prometheus.yml", workdir=folder) as server:
        if wanted == "office":
            (up,) = server.wait_for('cliproxy_up{proxy="office"} == 1')
            assert up.labels["instance"] == _address(exporter)
            (target,) = server.get("targets")["activeTargets"]
        else:
            (target,) = wait_until(lambda: server.get("targets")["droppedTargets"])
    assert target["discoveredLabels"]["__meta_cliproxy_proxies"] == ",office,"


# --- a central server -------------------------------------------------------------------------------------------------


def _book(exporter: Exporter, demo: SteeredServer, records: int, *, seed: int) -> None:
    proxy = demo.proxy
    proxy.publish(Traffic(seed=seed, zone=proxy.zone, shape=proxy.shape).batch(records, ending=time.time()))
    loopback.post(f"{exporter.web.url}/api/collector/trigger")


def _found(server: Prometheus, expr: str, moment: float) -> dict[frozenset[tuple[str, str]], float]:
    return {frozenset(each.labels.items()): each.value for each in server.query(expr, time=moment)}


@each_line
def test_a_central_server_has_what_the_shipped_one_has(line: str, tmp_path: Path) -> None:
    binary = binaries_of(line)
    central = _folder(tmp_path, "central", "")
    receiving = ["--web.enable-remote-write-receiver"]
    with (
        _office(tmp_path) as (demo, exporter),
        run_prometheus_with(
            binary, config=central / "prometheus.yml", workdir=central, arguments=receiving
        ) as receiver,
    ):
        shipped = _replaced(
            (ROOT / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"),
            **{
                "grafana_url: ${GRAFANA_URL}": "grafana_url: http://grafana.example\n    site: berlin",
                "exporter:9317": _address(exporter),
                "scrape_interval: 10s": "scrape_interval: 1s",
            },
        )
        sending = _replaced(SENDING, **{"http://prometheus-central:9090": receiver.url})
        site = _folder(tmp_path, "site", f"{shipped}\n{sending}")
        with run_prometheus_with(binary, config=site / "prometheus.yml", workdir=site) as sender:
            for seed in (1, 2):
                _book(exporter, demo, 300, seed=seed)
                sender.wait_for(f"sum(cliproxy_requests_total) > {250 * seed}")  # prewarms are not requests
            moment = time.time()
            (requests,) = sender.query("sum(cliproxy_requests_total)", time=moment)
            (increase,) = sender.query("sum(increase(cliproxy_requests_total[5m]))", time=moment)
            assert increase.value >= requests.value, "it counts from the first request of each series"

            for expr in (
                '{job="cliproxy-exporter"}',
                "increase(cliproxy_requests_total[5m])",
                "increase(cliproxy_cost_usd_total[5m])",
                "increase(cliproxy_request_duration_seconds_bucket[5m])",
            ):
                told = {labels | {("site", "berlin")}: value for labels, value in _found(sender, expr, moment).items()}
                assert told
                wait_until(partial(_found, receiver, expr, moment), told.__eq__)


@each_line
@pytest.mark.parametrize("config", OTHERS)
def test_other_receivers_are_named_in_a_form_that_prometheus_accepts(config: str, line: str, tmp_path: Path) -> None:
    file = tmp_path / "prometheus.yml"
    file.write_text(config, encoding="utf-8")
    checking = [str(binaries_of(line).promtool), "check", "config", "--syntax-only", str(file)]
    done = subprocess.run(checking, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
