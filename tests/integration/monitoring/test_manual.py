"""The commands and texts in docs/alerting.md work with the real Alertmanager."""

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.receivers import web_receiver
from tests.integration.monitoring.conftest import ALERTMANAGER, ROOT, installed, receiver_of
from tests.stack.monitoring import Alertmanager, Monitoring, run_alertmanager
from tests.stack.waiting import wait_until

MANUAL = (ROOT / "docs" / "alerting.md").read_text()
INSIDE = "docker compose exec alertmanager amtool --alertmanager.url=http://127.0.0.1:9093 "

Amtool = Callable[..., str]


def _commands() -> dict[str, str]:
    """The manual's commands for amtool, by their first two words."""
    joined = MANUAL.replace(" \\\n", " ")
    lines = [line.removeprefix(INSIDE) for line in joined.splitlines() if line.startswith(INSIDE)]
    return {" ".join(line.split()[:2]): line for line in lines}


def _yaml_blocks(heading: str) -> list[str]:
    section = MANUAL.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```yaml\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)


def _amtool(binary: Monitoring, alertmanager: Alertmanager) -> Amtool:
    def run(command: str, **replaced: str) -> str:
        text = _commands()[command]
        for old, new in replaced.items():
            text = text.replace(old, new)
        arguments = [str(binary.amtool), f"--alertmanager.url={alertmanager.url}", *shlex.split(text)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_nothing_that_an_upgrade_replaces_is_edited() -> None:
    lines = [
        line
        for block in re.findall(r"^```\n(.*?)^```$", MANUAL, re.MULTILINE | re.DOTALL)
        for line in block.split("\n")
    ]
    written = [line.split()[-1] for line in lines if line.startswith("cp ") or ">" in line]
    ignored = subprocess.run(["git", "check-ignore", *written], cwd=ROOT, capture_output=True, text=True, check=False)

    assert {"alertmanager/my-alertmanager.yml", "prometheus/my-prometheus.yml", ".env"} <= set(written)
    assert ignored.stdout.split() == written
    assert not [line for line in lines if line.startswith("sed ")]


def test_an_alert_of_a_user_arrives(newest: Monitoring, tmp_path: Path) -> None:
    with web_receiver() as receiver:
        config = installed(
            ALERTMANAGER / "examples" / "slack.yml",
            tmp_path / "etc",
            secrets={"slack-webhook-url": receiver.url},
            changes={"group_wait: 15s": "group_wait: 1s"},
        )
        with run_alertmanager(newest, config=config, workdir=tmp_path) as alertmanager:
            _amtool(newest, alertmanager)("alert add")
            (attachment,) = wait_until(lambda: list(receiver.received))[0].body["attachments"]

    assert attachment["title"] == "WARNING: It works"
    assert re.fullmatch(r"A test of mine\.\nSince [\d-]+ [\d:]+ UTC\.", attachment["text"])


def test_a_silence_holds_until_it_is_lifted(newest: Monitoring, tmp_path: Path) -> None:
    limit = {"alertname": "CliproxyLimitReached", "severity": "warning"}
    config = ALERTMANAGER / "alertmanager.yml"
    with run_alertmanager(newest, config=config, workdir=tmp_path) as alertmanager:
        run = _amtool(newest, alertmanager)
        alertmanager.post(*[{"labels": {**limit, "credential": each}} for each in ("claude-alice", "claude-bob")])

        def silenced() -> set[str]:
            return {each["labels"]["credential"] for each in alertmanager.alerts() if each["status"]["silencedBy"]}

        id_ = run("silence add")
        wait_until(silenced, lambda found: found == {"claude-bob"})
        listed = run("silence query")
        run("silence expire", ID=id_)
        wait_until(silenced, lambda found: found == set())

    assert id_ in listed
    assert "Used up on purpose" in listed


def test_the_watchdog_can_be_sent_to_a_dead_mans_switch(newest: Monitoring, tmp_path: Path) -> None:
    route, receiver_block = _yaml_blocks("Dead man's switch")
    with web_receiver() as receiver:
        config = installed(
            ALERTMANAGER / "alertmanager.yml",
            tmp_path / "etc",
            secrets={},
            changes={'    - matchers: [alertname="CliproxyWatchdog"]\n      receiver: nobody\n': route},
        )
        (tmp_path / "etc/secrets/dead-mans-switch-url").write_text(f"{receiver.url}/ping")
        config.write_text(config.read_text() + receiver_block.replace("/etc/alertmanager", str(tmp_path / "etc")))
        with run_alertmanager(newest, config=config, workdir=tmp_path) as alertmanager:
            alertmanager.post({"labels": {"alertname": "CliproxyWatchdog", "severity": "none"}})
            posted = wait_until(lambda: list(receiver.received))[0]

    assert (posted.path, posted.body["status"]) == ("/ping", "firing")


def test_an_alert_can_be_kept_quiet(binary: Monitoring, tmp_path: Path) -> None:
    (quiet,) = _yaml_blocks("Thresholds")
    config = installed(
        ALERTMANAGER / "alertmanager.yml", tmp_path / "etc", secrets={}, changes={"  routes:\n": f"  routes:\n{quiet}"}
    )

    told = {
        name: receiver_of(binary, {"alertname": name, "severity": "warning"}, config)
        for name in ("CliproxyErrorShare", "CliproxySpendSpike")
    }

    assert told == {"CliproxyErrorShare": "nobody", "CliproxySpendSpike": "notify"}


@pytest.mark.parametrize("name", ["alert add", "silence add", "silence query", "silence expire"])
def test_the_manual_has_the_command(name: str) -> None:
    assert name in _commands()
