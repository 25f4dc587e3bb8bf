"""From a request to a notification, in real processes: demo proxy, exporter, Prometheus, Alertmanager, webhook.

A limit crosses its thresholds, and a warning, then a critical alert, arrive with the text that people read. A reset
resolves them. The exporter dies, and only that arrives.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from exporter.demo.proxy import DemoProxy
from exporter.demo.server import DemoServer
from exporter.demo.world import MANAGEMENT_KEY
from tests.fakes.receivers import WebReceiver, web_receiver
from tests.monitoring import VERSION_LINES, Prometheus, binaries_of, run_alertmanager, run_prometheus_with
from tests.running import Process, exporter_process, wait_until
from tests.stack import host_of, write_alertmanager, write_prometheus

LIMITS = """
limits:
  - {id: team-day, name: The team's day, strategy: daily, requests: 100, warning: 0.5, critical: 0.8}
"""
SECONDS = 1.0


def _record(number: int) -> dict[str, Any]:
    return {
        "timestamp": datetime.now(UTC).isoformat(),
        "provider": "claude",
        "executor_type": "ClaudeExecutor",
        "model": "claude-sonnet-4-5",
        "auth_type": "apikey",
        "auth_index": "0123456789abcdef",
        "api_key": "sk-demo-client",
        "request_id": f"{number}",
        "latency_ms": 1500,
        "tokens": {"input_tokens": 10, "output_tokens": 10, "total_tokens": 20},
        "failed": False,
        "generate": True,
    }


class Stack:
    """All five, running."""

    def __init__(self, proxy: DemoProxy, exporter: Process, prometheus: Prometheus, hook: WebReceiver) -> None:
        self.exporter = exporter
        self.prometheus = prometheus
        self._proxy = proxy
        self._hook = hook
        self._told = 0

    def request(self, number: int) -> None:
        """``number`` requests that begin now, by an API key: its provider reports no windows."""
        self._proxy.enqueue(_record(number) for number in range(number))
        self.exporter.trigger()

    def next(self, **labels: str) -> dict[str, Any]:
        """The next notification that was not looked at yet, which must be about these labels."""
        posted = wait_until(lambda: self._hook.received[self._told :], seconds=60)[0]
        self._told += 1
        body: dict[str, Any] = posted.body
        assert {name: body["commonLabels"].get(name) for name in labels} == labels, body
        return body

    def nothing_more(self, *, evaluations: int) -> None:
        """No further notification arrives within so many evaluations of the rules."""
        for _ in range(evaluations):
            before = _last_evaluation(self.prometheus)
            wait_until(partial(_last_evaluation, self.prometheus), before.__ne__, seconds=30)
        assert [posted.body["commonLabels"] for posted in self._hook.received[self._told :]] == []


def _last_evaluation(prometheus: Prometheus) -> str:
    groups = prometheus.get("rules")["groups"]
    return next(str(group["lastEvaluation"]) for group in groups if group["name"] == "cliproxy-limits")


@contextmanager
def _stack(line: str, tmp_path: Path) -> Iterator[Stack]:
    binary = binaries_of(line)
    (tmp_path / "limits.yaml").write_text(LIMITS)
    for name in ("exporter", "prometheus", "alertmanager"):
        (tmp_path / name).mkdir()
    proxy = DemoProxy(key=MANAGEMENT_KEY)
    server = DemoServer(proxy)
    server.start()
    try:
        with (
            web_receiver() as hook,
            exporter_process(
                tmp_path / "exporter",
                proxy_url=server.url,
                key=MANAGEMENT_KEY,
                EXPORTER_LIMITS_FILE=str(tmp_path / "limits.yaml"),
            ) as exporter,
            run_alertmanager(
                binary,
                config=write_alertmanager(tmp_path / "alertmanager", webhook=f"{hook.url}/hook", quick=True),
                workdir=tmp_path / "alertmanager",
            ) as alertmanager,
            run_prometheus_with(
                binary,
                config=write_prometheus(
                    tmp_path / "prometheus",
                    exporter=host_of(exporter.url),
                    alertmanager=host_of(alertmanager.url),
                    seconds=SECONDS,
                    # As shipped, longer than the absence of the exporter needs to be noticed.
                    rules={"CliproxyLimitReached": "10s"},
                ),
                workdir=tmp_path / "prometheus",
            ) as prometheus,
        ):
            yield Stack(proxy, exporter, prometheus, hook)
    finally:
        server.stop()


@pytest.mark.parametrize("line", VERSION_LINES)
def test_a_limit_warns_becomes_critical_and_is_reset_and_a_dead_exporter_is_all_that_is_told(
    line: str, tmp_path: Path
) -> None:
    with _stack(line, tmp_path) as stack:
        stack.prometheus.wait_for('cliproxy_limit_used_ratio{limit="team-day"}')
        stack.request(49)
        stack.prometheus.wait_for('cliproxy_limit_used{limit="team-day"} == 49')
        stack.nothing_more(evaluations=2)

        stack.request(1)
        warning = stack.next(alertname="CliproxyLimitReached", severity="warning", limit="team-day")
        assert warning["status"] == "firing"
        (alert,) = warning["alerts"]
        assert alert["annotations"]["summary"] == "team-day: 50% of its requests used"
        told = alert["annotations"]["description"]
        assert told.startswith("50% used of 100 requests (warning from 50% on). Resets in "), told

        stack.request(30)
        critical = stack.next(alertname="CliproxyLimitReached", severity="critical", limit="team-day")
        assert critical["status"] == "firing"
        assert critical["alerts"][0]["annotations"]["summary"] == "team-day: 80% of its requests used"

        answer = httpx.post(f"{stack.exporter.url}/api/collector/reset/team-day", trust_env=False)
        assert answer.json()["new_status"] == {"percentage": 100, "label": "0 of 100 requests"}
        resolved = stack.next(alertname="CliproxyLimitReached", limit="team-day")
        assert resolved["status"] == "resolved"

        stack.request(90)
        again = stack.next(alertname="CliproxyLimitReached", severity="critical")
        assert again["alerts"][0]["annotations"]["summary"] == "team-day: 90% of its requests used"

        stack.exporter.kill()
        gone = stack.next(alertname="CliproxyExporterAbsent")
        assert gone["status"] == "firing"
        stack.nothing_more(evaluations=5)
