"""Who receives which alert, and when: the shipped Alertmanager configuration in the real program."""

import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.receivers import WebReceiver, web_receiver
from tests.integration.monitoring.conftest import ALERTMANAGER, EXAMPLES, installed, receiver_of
from tests.stack.monitoring import Alertmanager, Monitoring, run_alertmanager
from tests.stack.waiting import wait_until

# One receiver replaces all examples, in a form that even the oldest Alertmanager knows.
TELLING = {"    # Nothing here: the examples differ in this receiver only.": "    webhook_configs: [{url: %s}]"}

LIMIT = {
    "alertname": "CliproxyLimitReached",
    "instance": "exporter:9317",
    "proxy": "demo",
    "limit": "5h",
    "kind": "provider",
    "provider": "claude",
    "credential": "claude-alice",
    "window": "5h",
    "unit": "share",
}
WARNING = {**LIMIT, "severity": "warning"}
CRITICAL = {**LIMIT, "severity": "critical"}
ABSENT = {"alertname": "CliproxyExporterAbsent", "severity": "critical"}

_HELD_BACK_TOTAL = 'alertmanager_notifications_suppressed_total{reason="inhibition"}'


@contextmanager
def _alertmanager(binary: Monitoring, tmp_path: Path, **changes: str) -> Iterator[tuple[Alertmanager, WebReceiver]]:
    """The shipped configuration with a receiver that gets everything."""
    with web_receiver() as receiver:
        telling = {old: new % receiver.url for old, new in TELLING.items()}
        config = installed(
            ALERTMANAGER / "alertmanager.yml", tmp_path / "etc", secrets={}, changes={**telling, **changes}
        )
        with run_alertmanager(binary, config=config, workdir=tmp_path) as alertmanager:
            yield alertmanager, receiver


def _told(receiver: WebReceiver) -> list[tuple[str, str, str]]:
    """Name, severity and status of each alert that was sent, in order."""
    return [
        (alert["labels"]["alertname"], alert["labels"]["severity"], alert["status"])
        for posted in receiver.received
        for alert in posted.body["alerts"]
    ]


def _names_told(receiver: WebReceiver) -> set[tuple[str, str]]:
    """Name and instance of each alert that was sent."""
    alerts = [alert["labels"] for posted in receiver.received for alert in posted.body["alerts"]]
    return {(labels["alertname"], labels.get("instance", "")) for labels in alerts}


def _held_back(alertmanager: Alertmanager) -> set[tuple[str, str]]:
    """Name and instance of each alert that another one inhibits."""
    alerts = [alert["labels"] for alert in alertmanager.alerts() if alert["status"]["inhibitedBy"]]
    return {(labels["alertname"], labels["instance"]) for labels in alerts}


# --- configuration ----------------------------------------------------------------------------------------------------


def test_the_shipped_configuration_is_valid(binary: Monitoring) -> None:
    subprocess.run([binary.amtool, "check-config", ALERTMANAGER / "alertmanager.yml"], check=True, capture_output=True)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_valid_and_says_if_it_needs_a_newer_alertmanager(
    binary: Monitoring, example: Path, tmp_path: Path
) -> None:
    config = tmp_path / "alertmanager.yml"
    config.write_text(example.read_text())
    done = subprocess.run([binary.amtool, "check-config", config], capture_output=True, text=True, check=False)

    is_too_old = binary.line == "2.42" and "Needs a newer Alertmanager than 0.25" in example.read_text()
    assert done.returncode == int(is_too_old), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        pytest.param(WARNING, "notify", id="a limit"),
        pytest.param({"alertname": "CliproxyProxyDown", "severity": "critical"}, "notify", id="a critical alert"),
        pytest.param({"alertname": "CliproxyErrorShare", "severity": "warning"}, "notify", id="a warning"),
        pytest.param({"alertname": "SomebodyElses"}, "notify", id="an alert of other rules"),
        pytest.param({"alertname": "CliproxyCredentialDown", "severity": "info"}, "nobody", id="for information"),
        pytest.param({"alertname": "CliproxyWatchdog", "severity": "none"}, "nobody", id="the watchdog"),
    ],
)
def test_an_alert_goes_to_its_receiver(binary: Monitoring, labels: dict[str, str], receiver: str) -> None:
    assert receiver_of(binary, labels, ALERTMANAGER / "alertmanager.yml") == receiver


# --- notifications ----------------------------------------------------------------------------------------------------


def test_each_limit_is_announced_at_once_and_by_itself(binary: Monitoring, tmp_path: Path) -> None:
    annotations = {"summary": "claude-alice: 5h limit 83% used", "description": "83% used."}
    other = {**WARNING, "credential": "claude-bob"}
    with _alertmanager(binary, tmp_path) as (alertmanager, receiver):
        begun = time.monotonic()
        alertmanager.post({"labels": WARNING, "annotations": annotations}, {"labels": other})
        wait_until(lambda: len(receiver.received) == 2)
        took = time.monotonic() - begun

    told = {posted.body["groupLabels"]["credential"]: posted.body for posted in receiver.received}
    (alice,) = told["claude-alice"]["alerts"]
    assert told.keys() == {"claude-alice", "claude-bob"}
    assert (alice["labels"], alice["annotations"]) == (WARNING, annotations)
    assert took < 12, "a limit does not wait for others"


def test_a_limit_that_becomes_critical_at_once_is_announced_once(binary: Monitoring, tmp_path: Path) -> None:
    with _alertmanager(binary, tmp_path) as (alertmanager, receiver):
        alertmanager.post({"labels": WARNING}, {"labels": CRITICAL})
        wait_until(lambda: receiver.received)

    assert _told(receiver) == [("CliproxyLimitReached", "critical", "firing")]


def test_a_limit_is_announced_again_when_it_becomes_critical_and_when_it_recovers(
    newest: Monitoring, tmp_path: Path
) -> None:
    with _alertmanager(newest, tmp_path, **{"group_interval: 10s": "group_interval: 1s"}) as (alertmanager, receiver):
        alertmanager.post({"labels": WARNING})
        wait_until(lambda: len(receiver.received) == 1)
        alertmanager.post({"labels": WARNING}, {"labels": CRITICAL})
        wait_until(lambda: len(receiver.received) == 2)
        over = {"endsAt": "2026-01-01T00:00:00Z", "startsAt": "2026-01-01T00:00:00Z"}
        alertmanager.post({"labels": WARNING, **over}, {"labels": CRITICAL, **over})
        wait_until(lambda: len(receiver.received) == 3)

    assert [name_severity_status[1:] for name_severity_status in _told(receiver)][:2] == [
        ("warning", "firing"),
        ("critical", "firing"),
    ]
    assert set(_told(receiver)[2:]) == {
        ("CliproxyLimitReached", "critical", "resolved"),
        ("CliproxyLimitReached", "warning", "resolved"),
    }


def test_an_early_forecast_that_ended_while_inhibited_is_announced_in_the_next_window(
    newest: Monitoring, tmp_path: Path
) -> None:
    early = {**WARNING, "alertname": "CliproxyLimitRunsOutEarly"}
    over = {"endsAt": "2026-01-01T00:00:00Z", "startsAt": "2026-01-01T00:00:00Z"}
    with _alertmanager(newest, tmp_path, **{"group_interval: 10s": "group_interval: 1s"}) as (alertmanager, receiver):

        def times_told(status: str) -> Counter[str]:
            """How often each name was sent with this status."""
            return Counter(name for name, _, told in _told(receiver) if told == status)

        def times_looked_at() -> float:
            """How often Alertmanager checked and inhibited an alert. Like Prometheus, this repeats what is resolved."""
            alertmanager.post({"labels": early, **over})
            return alertmanager.metric(_HELD_BACK_TOTAL)

        alertmanager.post({"labels": early})
        wait_until(lambda: times_told("firing") == {"CliproxyLimitRunsOutEarly": 1})
        alertmanager.post({"labels": WARNING})
        wait_until(lambda: times_told("firing")["CliproxyLimitReached"] == 1)
        before = times_looked_at()
        wait_until(times_looked_at, lambda times: times >= before + 2)  # the first may have begun before the resolution
        alertmanager.post({"labels": WARNING, **over})
        wait_until(lambda: times_told("resolved")["CliproxyLimitReached"] == 1)

        alertmanager.post({"labels": early})
        wait_until(lambda: times_told("firing")["CliproxyLimitRunsOutEarly"] == 2)


def _for_proxy(name: str, severity: str, **labels: str) -> dict[str, dict[str, str]]:
    given = {"alertname": name, "severity": severity, "instance": "exporter:9317", "proxy": "demo"}
    return {"labels": {**given, **labels}}


def _of_exporter(name: str, instance: str = "exporter:9317") -> dict[str, dict[str, str]]:
    return {"labels": {"alertname": name, "severity": "warning", "instance": instance}}


@pytest.mark.parametrize(
    ("source", "is_held_back"),
    [
        pytest.param({**ABSENT, "instance": "exporter:9317"}, {"exporter:9317"}, id="one exporter is away"),
        pytest.param(ABSENT, {"exporter:9317", "other:9317"}, id="there is no exporter at all"),
    ],
)
def test_an_exporter_that_is_away_inhibits_alerts_from_its_metrics(
    binary: Monitoring, tmp_path: Path, source: dict[str, str], is_held_back: set[str]
) -> None:
    dependent = ["CliproxyLimitReached", "CliproxyKeyRefused", "CliproxyErrorShare"]
    alerts = [
        _for_proxy(name, "critical", instance=instance)
        for name in dependent
        for instance in ("exporter:9317", "other:9317")
    ]
    watchdog = {"labels": {"alertname": "CliproxyWatchdog", "severity": "none"}}
    foreign = {"labels": {"alertname": "NodeDown", "severity": "critical", "instance": "exporter:9317"}}
    expected = {(name, instance) for name in dependent for instance in is_held_back}
    with _alertmanager(binary, tmp_path, **{"group_wait: 15s": "group_wait: 2s"}) as (alertmanager, receiver):
        alertmanager.post({"labels": source}, watchdog, foreign, *alerts)
        wait_until(lambda: _held_back(alertmanager), lambda held: held == expected)
        rest = {(alert["labels"]["alertname"], alert["labels"]["instance"]) for alert in alerts} - expected
        rest |= {("CliproxyExporterAbsent", source.get("instance", "")), ("NodeDown", "exporter:9317")}
        told = wait_until(lambda: _names_told(receiver), lambda told: told >= rest)

    assert told == rest


@pytest.mark.parametrize(
    ("source", "held_back", "not_held_back"),
    [
        pytest.param(
            {"labels": CRITICAL},
            [{"labels": WARNING}, {"labels": {**WARNING, "alertname": "CliproxyLimitRunsOutEarly"}}],
            [{"labels": {**WARNING, "scope": "opus"}}, {"labels": {**WARNING, "instance": "other:9317"}}],
            id="a limit that is critical: the warning of the same limit",
        ),
        pytest.param(
            {"labels": WARNING},
            [{"labels": {**WARNING, "alertname": "CliproxyLimitRunsOutEarly"}}],
            [{"labels": {**WARNING, "alertname": "CliproxyLimitRunsOutEarly", "credential": "claude-bob"}}],
            id="a limit that is told: that it runs out early",
        ),
        *[
            pytest.param(
                _for_proxy(name, "critical"),
                [
                    _for_proxy("CliproxyRecordsBeingLost", "critical"),
                    _for_proxy("CliproxyExporterStalled", "critical"),
                    _for_proxy("CliproxyUsagePublishingOff", "warning"),
                    _for_proxy("CliproxyAnotherConsumer", "warning"),
                    _for_proxy("CliproxyCredentialCoolsTooLong", "warning"),
                    _for_proxy("CliproxyPoolNearlyEmpty", "warning"),
                ],
                [
                    _for_proxy("CliproxyExporterStalled", "critical", proxy="other"),
                    _for_proxy("CliproxySpendSpike", "warning"),
                    {"labels": WARNING},
                ],
                id=f"{name}: what follows from it",
            )
            for name in ("CliproxyProxyDown", "CliproxyKeyRefused")
        ],
        *[
            pytest.param(
                _for_proxy(name, severity),
                [_for_proxy("CliproxyRecordsMissed", "warning")],
                [_for_proxy("CliproxyRecordsMissed", "warning", proxy="other")],
                id=f"{name}: how much was lost",
            )
            for name, severity in (("CliproxyRecordsBeingLost", "critical"), ("CliproxyAnotherConsumer", "warning"))
        ],
        pytest.param(
            _of_exporter("CliproxyHistoryMisconfigured"),
            [_of_exporter("CliproxyHistoryBacklogGrowing")],
            [_of_exporter("CliproxyHistoryBacklogGrowing", "other:9317"), _of_exporter("CliproxyConfigReloadFailed")],
            id="a history that cannot be written: how much waits",
        ),
    ],
)
def test_an_alert_inhibits_others(
    binary: Monitoring,
    tmp_path: Path,
    source: dict[str, dict[str, str]],
    held_back: list[dict[str, dict[str, str]]],
    not_held_back: list[dict[str, dict[str, str]]],
) -> None:
    with _alertmanager(binary, tmp_path) as (alertmanager, _receiver):
        alertmanager.post(source, *held_back, *not_held_back)
        # Alertmanager evaluates this independently of accepting the alerts.
        wait_until(lambda: len([1 for alert in alertmanager.alerts() if alert["status"]["inhibitedBy"]]) > 0)
        inhibited = [alert["labels"] for alert in alertmanager.alerts() if alert["status"]["inhibitedBy"]]

    assert sorted(inhibited, key=str) == sorted((alert["labels"] for alert in held_back), key=str)
