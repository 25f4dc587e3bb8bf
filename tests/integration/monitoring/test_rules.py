"""Prometheus checks the shipped configuration and rules, and runs the rules' tests, in each version."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.monitoring.conftest import ALERTMANAGER, PROMETHEUS
from tests.stack.monitoring import Monitoring, run_alertmanager, run_prometheus_with
from tests.stack.waiting import wait_until

RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
OPTIONAL_RULES = sorted((PROMETHEUS / "optional").glob("*.yml"))
RULE_TESTS = sorted((PROMETHEUS / "tests").glob("*.test.yml"))


def _promtool(binary: Monitoring, *arguments: str | Path) -> str:
    """The output of promtool. Fails the test if promtool reports an error."""
    done = subprocess.run(
        [binary.promtool, *arguments],
        cwd=PROMETHEUS,
        env={**os.environ, "GOGC": "400"},  # a fifth less work, for more memory
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_configuration_is_valid_and_finds_the_rules(binary: Monitoring) -> None:
    said = _promtool(binary, "check", "config", "prometheus.yml")

    assert f"{len(RULES)} rule files found" in said


def test_the_documented_way_to_scrape_with_a_token_is_valid(binary: Monitoring, tmp_path: Path) -> None:
    text = (PROMETHEUS / "prometheus.yml").read_text()
    config = tmp_path / "prometheus.yml"
    uncommented = text.replace("# authorization:", "authorization:").replace(
        "#   credentials_file:", "  credentials_file:"
    )
    config.write_text(uncommented)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/exporter-token").write_text("a-token\n")

    (job, *_others) = yaml.safe_load(uncommented)["scrape_configs"]
    assert job["authorization"] == {"credentials_file": "secrets/exporter-token"}
    _promtool(binary, "check", "config", config)


def test_promtool_finds_nothing_wrong_with_the_rules(binary: Monitoring) -> None:
    _promtool(binary, "check", "rules", "--lint=all", "--lint-fatal", *RULES, *OPTIONAL_RULES)


@cache
def _groups(file: Path) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = yaml.load(file.read_text(), Loader=yaml.CSafeLoader)["groups"]
    return groups


def _name(rule: Mapping[str, Any]) -> str:
    return str(rule.get("alert") or rule["record"])


def _groups_for(files: Sequence[Path], test: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The groups of rule files, with only the rules that a test mentions and the rules whose series these use."""
    groups = [group for file in files for group in _groups(file)]
    rules = {_name(rule): rule for group in groups for rule in group["rules"]}
    used, asked = set[str](), [test]
    while asked:
        new = (rules.keys() & re.findall(r"[\w:]+", repr(asked.pop()))) - used
        used |= new
        asked += [rules[name] for name in new]
    kept = [group | {"rules": [rule for rule in group["rules"] if _name(rule) in used]} for group in groups]
    return [group for group in kept if group["rules"]]


@pytest.fixture(scope="module")
def split_tests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rules' tests, each in a file of its own with its rules, in a folder of its file's name.

    promtool evaluates every given rule at every step: with all of them, a test of two days takes 40 s.
    """
    folder = tmp_path_factory.mktemp("rules")
    for file in RULE_TESTS:
        (folder / file.name).mkdir()
        shipped = yaml.load(file.read_text(), Loader=yaml.CSafeLoader)
        files = [file.parent / name for name in shipped["rule_files"]]
        for number, test in enumerate(shipped["tests"]):
            groups = {"groups": _groups_for(files, test)}
            alone = shipped | {"rule_files": [f"rules-{number}.yml"], "tests": [test]}
            (folder / file.name / f"rules-{number}.yml").write_text(json.dumps(groups))
            (folder / file.name / f"{number}.test.yml").write_text(json.dumps(alone))
    return folder


@pytest.mark.parametrize("file", RULE_TESTS, ids=lambda file: file.name)
def test_the_rules_pass_their_tests(binary: Monitoring, split_tests: Path, file: Path) -> None:
    _promtool(binary, "test", "rules", *sorted((split_tests / file.name).glob("*.test.yml")))


@pytest.mark.parametrize(
    ("grafana_url", "base"),
    [("https://grafana.example.com", "https://grafana.example.com"), ("", "http://localhost:3000")],
    ids=["where Grafana is", "not said"],
)
def test_the_links_of_alerts_lead_to_grafana(
    newest: Monitoring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grafana_url: str, base: str
) -> None:
    monkeypatch.setenv("GRAFANA_URL", grafana_url)
    shutil.copytree(PROMETHEUS, tmp_path / "etc")
    config = tmp_path / "etc/prometheus.yml"
    with run_alertmanager(newest, config=ALERTMANAGER / "alertmanager.yml", workdir=tmp_path) as alertmanager:
        text = config.read_text().replace("evaluation_interval: 15s", "evaluation_interval: 1s", 1)
        config.write_text(
            text.replace("targets: [alertmanager:9093]", f"targets: [{alertmanager.url.removeprefix('http://')}]", 1)
        )
        # At first Prometheus knows no Alertmanager; as shipped it sends again after a minute.
        again = ["--rules.alert.resend-delay=1s"]
        with run_prometheus_with(newest, config=config, workdir=tmp_path, arguments=again):
            (watchdog,) = wait_until(
                lambda: [each for each in alertmanager.alerts() if each["labels"]["alertname"] == "CliproxyWatchdog"],
            )

    assert watchdog["annotations"]["dashboard_url"] == f"{base}/d/cliproxy-overview?from=now-6h&to=now"
    assert watchdog["labels"] == {"alertname": "CliproxyWatchdog", "severity": "none"}
