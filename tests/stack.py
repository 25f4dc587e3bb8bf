"""The shipped configuration of Prometheus and Alertmanager, made to run beside a test: on loopback, and quicker.

Expressions, labels, texts, routes and inhibition are left as they are shipped; only addresses and times change.
"""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent


def write_prometheus(
    folder: Path, *, exporter: str, alertmanager: str, seconds: float | None = None, rules: dict[str, str] | None = None
) -> Path:
    """The shipped ``prometheus.yml`` and its rules in ``folder``, with these addresses (``host:port``).

    With ``seconds`` all intervals, and the times for which an alert must hold, are so long; ``rules`` gives the time
    of single alerts another value. Without it everything keeps its shipped time.
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
        content = yaml.safe_load(file.read_text())
        if seconds is not None:
            _hurry(content, seconds, rules or {})
        (folder / "rules" / file.name).write_text(yaml.safe_dump(content, width=10_000))
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
    """The shipped webhook example and its templates in ``folder``, sending to the URL ``webhook``.

    The URL stands in the file itself, because the oldest Alertmanager knows no ``url_file``. With ``quick`` the alerts
    that are shipped to wait for others do so for a second.
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
