"""From a request to a notification, in real processes: demo proxy, exporter, Prometheus, Alertmanager, webhook.

A limit crosses its thresholds: a warning arrives, then a critical alert, with the text that people read. A reset
resolves them. When the exporter dies, only that alert arrives. An exhausted pool of accounts arrives, too, and so does
a limit that shrank.
"""

import re
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from exporter.clock import Clock
from exporter.commands.demo_past import book_demo_past
from exporter.settings.model import Settings
from exporter.settings.proxies import ProxySettings
from exporter.simulator.world import CREDENTIALS, TROUBLED
from tests.stack import loopback
from tests.stack.monitoring import VERSION_LINES, Prometheus
from tests.stack.running import Process
from tests.stack.shipped import Stack, host_of, record_of_now, running_stack
from tests.stack.waiting import wait_until

LIMITS = """
limits:
  - {id: team, name: The team, strategy: session, window_minutes: 300, requests: 100, warning: 0.5, critical: 0.8}
"""
SECONDS = 1.0


class _Told:
    """A running stack, and the number of its notifications that the test has read."""

    def __init__(self, stack: Stack) -> None:
        self.exporter = stack.exporter
        self.prometheus = stack.prometheus
        self._proxy = stack.proxy
        self._hook = stack.hook
        self._told = 0

    def request(self, number: int) -> None:
        """Make ``number`` requests that begin now, by an API key: its provider reports no windows."""
        self._proxy.enqueue(record_of_now(each, client="sk-demo-client") for each in range(number))
        self.exporter.trigger()

    def next(self, **labels: str) -> dict[str, Any]:
        """Return the alert with these labels, which the next notification must contain.

        Together with a critical alert, or just before it, the warning of the same limit may arrive once more:
        Alertmanager learns in two places that a critical alert is there, and a group that is due in between still shows
        both.
        """
        while True:
            posted = wait_until(lambda: self._hook.received[self._told :])[0]
            self._told += 1
            alerts: list[dict[str, Any]] = posted.body["alerts"]
            found = [alert for alert in alerts if labels.items() <= alert["labels"].items()]
            others = [alert for alert in alerts if alert not in found]
            if labels.get("severity") == "critical":
                warned = {**labels, "severity": "warning"}
                others = [alert for alert in others if not warned.items() <= alert["labels"].items()]
            assert others == [], posted.body
            if found:
                return found[0]

    def nothing_more(self, *, evaluations: int) -> None:
        """Check that no further notification arrives within this many evaluations of the rules."""
        for _ in range(evaluations):
            before = _last_evaluation(self.prometheus)
            wait_until(partial(_last_evaluation, self.prometheus), before.__ne__)
        assert [posted.body["commonLabels"] for posted in self._hook.received[self._told :]] == []


def _last_evaluation(prometheus: Prometheus) -> str:
    groups = prometheus.get("rules")["groups"]
    return next(str(group["lastEvaluation"]) for group in groups if group["name"] == "cliproxy-limits")


@pytest.mark.parametrize("line", VERSION_LINES)
def test_a_limit_warns_becomes_critical_and_is_reset_and_a_dead_exporter_sends_one_alert(
    line: str, tmp_path: Path
) -> None:
    # As shipped, it fires for longer than Prometheus needs to notice that the exporter is away.
    rules = {"CliproxyLimitReached": "10s"}
    with running_stack(line, tmp_path, limits=LIMITS, seconds=SECONDS, rules=rules) as programs:
        stack = _Told(programs)
        stack.prometheus.wait_for('cliproxy_limit_used_ratio{limit="team"}')
        stack.request(49)
        stack.prometheus.wait_for('cliproxy_limit_used{limit="team"} == 49')
        stack.nothing_more(evaluations=2)

        stack.request(1)
        warning = stack.next(alertname="CliproxyLimitReached", severity="warning", limit="team")
        assert warning["status"] == "firing"
        assert warning["annotations"]["summary"] == "team: 50% of its requests used"
        told = warning["annotations"]["description"]
        assert told.startswith("50% used of 100 requests (warning from 50% on). Resets in "), told

        stack.request(30)
        critical = stack.next(alertname="CliproxyLimitReached", severity="critical", limit="team")
        assert critical["status"] == "firing"
        assert critical["annotations"]["summary"] == "team: 80% of its requests used"

        answer = loopback.post(f"{stack.exporter.url}/api/collector/reset/team")
        assert answer.json()["new_status"] == {"percentage": 100, "label": "0/100 Requests"}
        resolved = stack.next(alertname="CliproxyLimitReached", limit="team")
        assert resolved["status"] == "resolved"

        stack.request(90)
        again = stack.next(alertname="CliproxyLimitReached", severity="critical")
        assert again["annotations"]["summary"] == "team: 90% of its requests used"

        stack.exporter.kill()
        gone = stack.next(alertname="CliproxyExporterAbsent")
        assert gone["status"] == "firing"
        stack.nothing_more(evaluations=5)


def test_a_limit_warns_when_the_exporter_subscribes(tmp_path: Path) -> None:
    with running_stack(VERSION_LINES[-1], tmp_path, limits=LIMITS, seconds=SECONDS, source="subscribe") as programs:
        stack = _Told(programs)
        stack.prometheus.wait_for('cliproxy_limit_used_ratio{limit="team"}')
        wait_until(lambda: programs.proxy.counts().subscribers == 1)
        stack.request(50)
        warning = stack.next(alertname="CliproxyLimitReached", severity="warning", limit="team")
        assert warning["annotations"]["summary"] == "team: 50% of its requests used"
        assert programs.proxy.counts().pushed == 50


def _with_a_limit_that_shrank(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the ledger of an exporter that saw the limit shrink, from its use and its readings."""
    monkeypatch.setattr("exporter.commands.demo_past.RECORDS", 0)
    proxy = ProxySettings(name="default", url="http://127.0.0.1:9", management_key=SecretStr("unused"))
    settings = Settings(proxies=(proxy,), exporter_data_dir=data_dir, exporter_prices_refresh=False)
    assert book_demo_past(settings, Clock())


def _before_it_shrank(exporter: Process) -> str:
    """What Prometheus scraped of the count more than a day ago: one less."""

    def told() -> list[re.Match[str]]:
        text = exporter.get("/metrics").text
        return list(re.finditer(r'^(cliproxy_limit_capacity_changes)_total({.*change="shrank".*}) (\S+)$', text, re.M))

    samples = wait_until(told)
    (found,) = [sample for sample in samples if float(sample[3])]
    of_target = f'{{instance="{host_of(exporter.url)}",job="cliproxy-exporter",'
    series = f"{found[1]}_total{found[2].replace('{', of_target, 1)}"
    return f"# TYPE {found[1]} counter\n{series} {float(found[3]) - 1} {time.time() - 27 * 3600}\n# EOF\n"


def test_a_pool_without_a_working_account_and_a_limit_that_shrank_are_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_a_limit_that_shrank(tmp_path / "exporter" / "data", monkeypatch)
    shrunk = next(each for each in TROUBLED if each.trouble == "shrinks")
    with running_stack(
        VERSION_LINES[-1],
        tmp_path,
        limits=LIMITS,
        seconds=SECONDS,
        accounts=(*CREDENTIALS, shrunk),
        past=_before_it_shrank,
    ) as stack:
        stack.prometheus.wait_for('cliproxy_pool_accounts{provider="claude",state="unknown"} == 2')
        accounts = [each for each in stack.proxy.accounts if each.provider == "claude" and each.kind == "oauth"]
        full = {
            "Anthropic-Ratelimit-Unified-5h-Reset": [str(int(time.time()) + 7200)],
            "Anthropic-Ratelimit-Unified-5h-Status": ["rejected"],
            "Anthropic-Ratelimit-Unified-5h-Utilization": ["1.0"],
        }
        stack.proxy.enqueue(
            record_of_now(number, client="sk-demo-client")
            | {"auth_type": "oauth", "auth_index": stack.proxy.auth_index(account), "response_headers": full}
            for number, account in enumerate(accounts)
        )
        stack.exporter.trigger()

        def told(name: str) -> list[dict[str, Any]]:
            alerts = [alert for posted in stack.hook.received for alert in posted.body["alerts"]]
            return [alert for alert in alerts if alert["labels"]["alertname"] == name]

        (alert, *_) = wait_until(partial(told, "CliproxyLimitShrank"))
        assert re.fullmatch(r"codex-pro-\w+: 5h limit shrank", alert["annotations"]["summary"])
        assert "at API prices" in alert["annotations"]["description"]

        (alert, *_) = wait_until(partial(told, "CliproxyPoolNearlyEmpty"))
        assert alert["annotations"]["summary"] == "No claude account of proxy default works"
        assert alert["annotations"]["description"].startswith(
            "Accounts by state: 2 exhausted. The next one is back in 1h 59m"
        )
