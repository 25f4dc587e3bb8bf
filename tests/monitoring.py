"""Real Prometheus servers for tests: where they are, one running against given targets, and promtool's opinion.

Tests that need a server fail without one, and say what to do: a skipped test would look like a passed one. The servers
are fetched by ``scripts/fetch-monitoring``; ``TEST_MONITORING_DIR`` names another folder of the same layout.
"""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

VERSION_LINES = ("2.42", "3.x")
"""The versions that the product promises to work with: parametrize tests with these and call ``binaries_of``."""

_CHECKOUT = Path(__file__).resolve().parent.parent
_LISTENING = re.compile(r'msg="Listening on".* address=(127\.0\.0\.1:\d+)')
_START_SECONDS = 30.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Monitoring:
    """The programs of one Prometheus version; ``line`` is one of ``VERSION_LINES``."""

    line: str
    prometheus: Path
    promtool: Path


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
        programs = file.parent / "bin"
        found[line] = Monitoring(line, programs / "prometheus", programs / "promtool")
    missing = [line for line in VERSION_LINES if line not in found]
    if missing:
        pytest.fail(
            f"This test needs Prometheus {' and '.join(missing)}, not found in {folder}: "
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
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=10.0)

    def get(self, path: str, **parameters: object) -> Any:
        """``data`` of an answer of the HTTP API below ``/api/v1/``; ``AssertionError`` for a refused query."""
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
        """The answer to a range query; all three in seconds, the first two as Unix time."""
        data = self.get("query_range", query=expr, start=start, end=end, step=step)
        return [
            Series(each["metric"], [(float(when), float(value)) for when, value in each["values"]])
            for each in data["result"]
        ]

    def wait_for(
        self, expr: str, predicate: Callable[[list[Sample]], bool] = bool, timeout: float = 20.0
    ) -> list[Sample]:
        """The first answer that satisfies ``predicate`` (default: any sample).

        Raises ``AssertionError`` after ``timeout`` seconds. A new server needs about 5 s until its first scrape, and
        no setting shortens that.
        """
        deadline = time.monotonic() + timeout
        while True:
            samples = self.query(expr)
            if predicate(samples):
                return samples
            if time.monotonic() > deadline:
                targets = self.get("targets")["activeTargets"]
                health = [(each["scrapeUrl"], each["health"], each["lastError"]) for each in targets]
                raise AssertionError(f"after {timeout} s {expr} still gives {samples}; targets: {health}")
            time.sleep(_POLL_SECONDS)

    def close(self) -> None:
        self._client.close()


@contextmanager
def run_prometheus(
    binary: Monitoring, *, targets: Sequence[str], workdir: Path, scrape_interval: str = "1s"
) -> Iterator[Prometheus]:
    """A Prometheus on a free loopback port that scrapes ``targets`` (``host:port``) as the job ``cliproxy-exporter``.

    Configuration, data and log are written to ``workdir``; the log is shown if the server does not start.
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
    log = workdir / "prometheus.log"
    command = [
        str(binary.prometheus),
        f"--config.file={config}",
        f"--storage.tsdb.path={workdir / 'tsdb'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    with log.open("wb") as stream, subprocess.Popen(command, stdout=stream, stderr=stream) as process:
        try:
            server = Prometheus(_wait_until_ready(process, log))
            try:
                yield server
            finally:
                server.close()
        finally:
            process.terminate()


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        listening = _LISTENING.search(log.read_text())
        if listening:
            url = f"http://{listening[1]}"
            if httpx.get(f"{url}/-/ready", trust_env=False).is_success:
                return url
        time.sleep(_POLL_SECONDS)
    raise AssertionError(f"Prometheus did not start:\n{log.read_text()}")
