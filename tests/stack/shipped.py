"""The shipped configuration of Prometheus and Alertmanager, adapted to run beside a test: on loopback, and faster.

Expressions, labels, texts, routes and inhibition stay as shipped; only addresses and times change.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from exporter.simulator.world import CREDENTIALS, MANAGEMENT_KEY, Credential
from tests.benches.past import import_past
from tests.fakes.receivers import WebReceiver, web_receiver
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.stack.monitoring import Monitoring, Prometheus, binaries_of, run_alertmanager, run_prometheus_with
from tests.stack.running import Process, exporter_process

ROOT = Path(__file__).resolve().parents[2]


def write_prometheus(
    folder: Path, *, exporter: str, alertmanager: str, seconds: float | None = None, rules: dict[str, str] | None = None
) -> Path:
    """Write the shipped ``prometheus.yml`` and its rules to ``folder``, with these addresses (``host:port``).

    ``seconds`` replaces all intervals and the times for which an alert must hold; ``rules`` sets the time of single
    alerts. Without ``seconds`` everything keeps its shipped time.
    """
    config = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())
    config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [alertmanager]}]}]
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    jobs["cliproxy-exporter"]["static_configs"] = [{"targets": [exporter]}]
    config["scrape_configs"] = [jobs["cliproxy-exporter"]]
    if seconds is not None:
        config["global"] = {"scrape_interval": _duration(seconds), "evaluation_interval": _duration(seconds)}
        jobs["cliproxy-exporter"]["scrape_interval"] = _duration(seconds)
        jobs["cliproxy-exporter"]["scrape_timeout"] = _duration(seconds)
    (folder / "rules").mkdir()
    for file in sorted((ROOT / "prometheus/rules").glob("*.yml")):
        content = yaml.load(file.read_text(), Loader=yaml.CSafeLoader)
        if seconds is not None:
            _hurry(content, seconds, rules or {})
        (folder / "rules" / file.name).write_text(json.dumps(content))
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def _hurry(content: dict[str, Any], seconds: float, rules: dict[str, str]) -> None:
    for group in content["groups"]:
        group["interval"] = _duration(seconds)
        for rule in group["rules"]:
            for field in ("for", "keep_firing_for"):
                if field in rule:
                    rule[field] = rules.get(rule.get("alert", ""), _duration(seconds))


def write_alertmanager(folder: Path, *, webhook: str, quick: bool = False) -> Path:
    """Write the shipped webhook example and its templates to ``folder``, sending to the URL ``webhook``.

    The URL is in the file itself, because the oldest Alertmanager has no ``url_file``. With ``quick``, alerts that
    normally wait for others wait for one second.
    """
    config = yaml.safe_load((ROOT / "alertmanager/examples/webhook.yml").read_text())
    (hook,) = next(receiver for receiver in config["receivers"] if "webhook_configs" in receiver)["webhook_configs"]
    del hook["url_file"]
    hook["url"] = webhook
    if quick:
        config["route"]["group_wait"], config["route"]["group_interval"] = "1s", "1s"
        for route in config["route"]["routes"]:
            if "group_interval" in route:
                route["group_interval"] = "1s"
    templates = folder / "templates"
    templates.mkdir()
    for file in (ROOT / "alertmanager/templates").glob("*.tmpl"):
        (templates / file.name).write_text(file.read_text())
    path = folder / "alertmanager.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms" if seconds < 1 or seconds % 1 else f"{round(seconds)}s"


def host_of(url: str) -> str:
    """``host:port`` of a URL."""
    return re.sub(r"^https?://", "", url)


@dataclass(frozen=True)
class Stack:
    """The demo proxy, and the programs behind it as processes, up to the webhook."""

    proxy: SteeredProxy
    exporter: Process
    prometheus: Prometheus
    hook: WebReceiver


@contextmanager
def running_stack(
    line: str,
    folder: Path,
    *,
    limits: str,
    seconds: float | None = None,
    rules: dict[str, str] | None = None,
    source: str = "queue",
    accounts: tuple[Credential, ...] = CREDENTIALS,
    past: Callable[[Process], str] = lambda _: "",
) -> Iterator[Stack]:
    """Run the whole stack with the Prometheus of ``line`` and these limits until the end of the ``with`` block.

    ``seconds`` and ``rules`` are those of ``write_prometheus``; with ``seconds`` Alertmanager is quick, too. The proxy
    lists ``accounts``. ``past`` is OpenMetrics text that Prometheus seems to have scraped from this exporter before.
    The exporter continues an existing ledger in ``folder``/exporter/data.
    """
    binary = binaries_of(line)
    (folder / "limits.yaml").write_text(limits)
    folders = {name: folder / name for name in ("exporter", "prometheus", "alertmanager")}
    for each in folders.values():
        each.mkdir(exist_ok=True)
    proxy = SteeredProxy(key=MANAGEMENT_KEY, accounts=accounts)
    server = SteeredServer(proxy)
    server.start()
    try:
        with (
            web_receiver() as hook,
            exporter_process(
                folders["exporter"],
                proxy_url=server.url,
                key=MANAGEMENT_KEY,
                EXPORTER_LIMITS_FILE=str(folder / "limits.yaml"),
                CLIPROXY_SOURCE=source,
            ) as exporter,
            run_alertmanager(
                binary,
                config=write_alertmanager(
                    folders["alertmanager"], webhook=f"{hook.url}/hook", quick=seconds is not None
                ),
                workdir=folders["alertmanager"],
            ) as alertmanager,
            _imported(binary, past(exporter), folders["prometheus"]),
            run_prometheus_with(
                binary,
                config=write_prometheus(
                    folders["prometheus"],
                    exporter=host_of(exporter.url),
                    alertmanager=host_of(alertmanager.url),
                    seconds=seconds,
                    rules=rules,
                ),
                workdir=folders["prometheus"],
            ) as prometheus,
        ):
            yield Stack(proxy, exporter, prometheus, hook)
    finally:
        server.stop()


@contextmanager
def _imported(binary: Monitoring, past: str, workdir: Path) -> Iterator[None]:
    if past:
        (workdir / "past.om").write_text(past)
        import_past(binary, workdir / "past.om", workdir)
    yield


def record_of_now(number: int, *, client: str) -> dict[str, Any]:
    """A request by API key that begins now; its provider reports no windows."""
    return {
        "timestamp": datetime.now(UTC).isoformat(),
        "provider": "claude",
        "executor_type": "ClaudeExecutor",
        "model": "claude-sonnet-4-5",
        "auth_type": "apikey",
        "auth_index": "0123456789abcdef",
        "api_key": client,
        "request_id": f"{number}",
        "latency_ms": 1500,
        "tokens": {"input_tokens": 10, "output_tokens": 10, "total_tokens": 20},
        "failed": False,
        "generate": True,
    }
