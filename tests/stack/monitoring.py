"""Real Prometheus servers and Alertmanagers for tests: where they are, how to run them, and promtool's opinion.

Tests that need a server fail without one and say what to do, because a skipped test would look like a passed one.
``scripts/fetch-monitoring`` fetches the servers; ``TEST_MONITORING_DIR`` names another folder of the same layout:
``SUITE/VERSION`` holds the version of Prometheus, and ``SUITE/bin/`` has ``prometheus``, ``promtool``, ``alertmanager``
and ``amtool``.
"""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.stack import loopback
from tests.stack.forks import die_with_parent
from tests.stack.waiting import PATIENCE_SECONDS, rest

VERSION_LINES = ("2.42", "3.x")
"""The versions that the product promises to work with: parametrize tests with these and call ``binaries_of``."""

_CHECKOUT = Path(__file__).resolve().parents[2]
_PROGRAMS = ("prometheus", "promtool", "alertmanager", "amtool")
_LISTENING = re.compile(r'msg="Listening on".* address=(127\.0\.0\.1:\d+)')
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Monitoring:
    """One Prometheus version and the Alertmanager of its time; ``line`` is one of ``VERSION_LINES``."""

    line: str
    prometheus: Path
    promtool: Path
    alertmanager: Path
    amtool: Path


@dataclass(frozen=True)
class Sample:
    """One element of an instant query's answer; a scalar has no labels."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Series:
    """One element of a range query's answer: pairs of Unix time in seconds and value."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


def prometheus_binaries() -> list[Monitoring]:
    """One ``Monitoring`` for each of ``VERSION_LINES``, in that order; fails the test if one is missing."""
    folder = Path(os.environ.get("TEST_MONITORING_DIR") or _CHECKOUT / ".tools" / "monitoring")
    found = {}
    for file in sorted(folder.glob("*/VERSION")):
        major, minor = file.read_text().split(".")[:2]
        line = f"{major}.x" if major == "3" else f"{major}.{minor}"
        programs = [file.parent / "bin" / name for name in _PROGRAMS]
        if all(program.exists() for program in programs):
            found[line] = Monitoring(line, *programs)
    missing = [line for line in VERSION_LINES if line not in found]
    if missing:
        pytest.fail(
            f"This test needs Prometheus {' and '.join(missing)} with Alertmanager, not found in {folder}: "
            "run make test (or scripts/fetch-monitoring), or set TEST_MONITORING_DIR.",
            pytrace=False,
        )
    return [found[line] for line in VERSION_LINES]


def binaries_of(line: str) -> Monitoring:
    """The programs of one of ``VERSION_LINES``; fails the test if they are missing."""
    return prometheus_binaries()[VERSION_LINES.index(line)]


def promtool_check_metrics(text: str) -> list[str]:
    """What the promtools of all versions find wrong with an exposition in the text format; empty if nothing."""
    findings = []
    for binary in prometheus_binaries():
        done = subprocess.run(
            [binary.promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        said = (done.stdout + done.stderr).splitlines()
        if done.returncode and not said:
            said = [f"exit code {done.returncode}"]
        findings += [f"promtool {binary.line}: {each}" for each in said]
    return findings


class Prometheus:
    """A running server, as ``run_prometheus`` hands it out."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = loopback.client(base_url=url)

    def get(self, path: str, **parameters: object) -> Any:
        """``data`` of an answer of the HTTP API below ``/api/v1/``; raises ``AssertionError`` for a refused query."""
        wanted = {name: str(value) for name, value in parameters.items() if value is not None}
        body = self._client.get(f"/api/v1/{path}", params=wanted).json()
        assert body["status"] == "success", f"{path} {wanted}: {body.get('error')}"
        return body["data"]

    def query(self, expr: str, time: float | None = None) -> list[Sample]:
        """The answer to an instant query, at the Unix time ``time`` in seconds (default: now)."""
        data = self.get("query", query=expr, time=time)
        if data["resultType"] == "scalar":
            return [Sample({}, float(data["result"][1]))]
        return [Sample(each["metric"], float(each["value"][1])) for each in data["result"]]

    def query_range(self, expr: str, *, start: float, end: float, step: float) -> list[Series]:
        """The answer to a range query. All three times are in seconds; ``start`` and ``end`` are Unix times."""
        data = self.get("query_range", query=expr, start=start, end=end, step=step)
        return [
            Series(each["metric"], [(float(when), float(value)) for when, value in each["values"]])
            for each in data["result"]
        ]

    def wait_for(
        self, expr: str, predicate: Callable[[list[Sample]], bool] = bool, timeout: float = PATIENCE_SECONDS
    ) -> list[Sample]:
        """The first answer that satisfies ``predicate`` (default: any sample).

        Raises ``AssertionError`` after ``timeout`` seconds. A new server needs about 5 s until its first scrape, and no
        setting shortens that.
        """
        begun = asked = time.monotonic()
        while not predicate(samples := self.query(expr)):
            if time.monotonic() > begun + timeout:
                targets = self.get("targets")["activeTargets"]
                health = [(each["scrapeUrl"], each["health"], each["lastError"]) for each in targets]
                raise AssertionError(f"after {timeout} s {expr} still gives {samples}; targets: {health}")
            rest(begun, asked)
            asked = time.monotonic()
        return samples

    def close(self) -> None:
        self._client.close()


class Alertmanager:
    """A running Alertmanager, as ``run_alertmanager`` hands it out."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = loopback.client(base_url=url)

    def post(self, *alerts: Mapping[str, Any]) -> None:
        """Send alerts as Prometheus does: each has ``labels`` and may have ``annotations`` and ``endsAt``."""
        answer = self._client.post("/api/v2/alerts", json=list(alerts))
        assert answer.is_success, answer.text

    def alerts(self) -> Any:
        """The alerts that it knows; the ``status`` of each has its ``state`` and what inhibits it."""
        answer = self._client.get("/api/v2/alerts")
        assert answer.is_success, answer.text
        return answer.json()

    def metric(self, series: str) -> float:
        """The value of one of its own series, as its exposition writes it; 0 if the series does not exist yet."""
        lines = self._client.get("/metrics").text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} ")), 0.0)

    def close(self) -> None:
        self._client.close()


@contextmanager
def run_prometheus(
    binary: Monitoring, *, targets: Sequence[str], workdir: Path, scrape_interval: str = "1s"
) -> Iterator[Prometheus]:
    """A Prometheus on a free loopback port that scrapes ``targets`` (``host:port``) as the job ``cliproxy-exporter``.

    Configuration, data and log go to ``workdir``; the log is shown if the server does not start.
    """
    config = workdir / "prometheus.yml"
    config.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": scrape_interval, "scrape_timeout": scrape_interval},
                "scrape_configs": [{"job_name": "cliproxy-exporter", "static_configs": [{"targets": list(targets)}]}],
            }
        )
    )
    with run_prometheus_with(binary, config=config, workdir=workdir) as server:
        yield server


@contextmanager
def run_prometheus_with(
    binary: Monitoring, *, config: Path, workdir: Path, arguments: Sequence[str] = ()
) -> Iterator[Prometheus]:
    """A Prometheus on a free loopback port with the test's own configuration; data and log go to ``workdir``."""
    command = [str(binary.prometheus), f"--config.file={config}", f"--storage.tsdb.path={workdir / 'tsdb'}", *arguments]
    with _serving("Prometheus", command, log=workdir / "prometheus.log") as url:
        server = Prometheus(url)
        try:
            yield server
        finally:
            server.close()


@contextmanager
def run_alertmanager(binary: Monitoring, *, config: Path, workdir: Path) -> Iterator[Alertmanager]:
    """An Alertmanager on a free loopback port with this configuration; data and log go to ``workdir``.

    It opens no cluster port. As in a container, ``config`` names its other files relative to its own folder.
    """
    command = [
        str(binary.alertmanager),
        f"--config.file={config}",
        f"--storage.path={workdir / 'alertmanager-data'}",
        "--cluster.listen-address=",
    ]
    with _serving("Alertmanager", command, log=workdir / "alertmanager.log") as url:
        server = Alertmanager(url)
        try:
            yield server
        finally:
            server.close()


@contextmanager
def _serving(name: str, command: Sequence[str], *, log: Path) -> Iterator[str]:
    """Runs a server until the end of the ``with`` block; yields its URL. Its log is shown if it does not start."""
    listen = "--web.listen-address=127.0.0.1:0"
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            [*command, listen],
            stdout=stream,
            stderr=stream,
            preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 - the tests start it from no thread
        ) as process,
    ):
        try:
            yield _wait_until_ready(name, process, log)
        finally:
            process.terminate()


def _wait_until_ready(name: str, process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        listening = _LISTENING.search(log.read_text())
        if listening:
            url = f"http://{listening[1]}"
            if loopback.get(f"{url}/-/ready").is_success:
                return url
        time.sleep(_POLL_SECONDS)
    raise AssertionError(f"{name} did not start:\n{log.read_text()}")
