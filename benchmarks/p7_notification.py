"""P7: from a finished request to the notification, with the intervals that are shipped.

Real processes: the demo proxy, the exporter, Prometheus 3, Alertmanager and a webhook. Each request is of a client of
its own whose limit it uses up, and comes at a random moment, so it meets all intervals in a random phase.
"""

import random
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.report import Section
from exporter.demo.proxy import DemoProxy
from exporter.demo.server import DemoServer
from exporter.demo.world import MANAGEMENT_KEY
from tests.fakes.receivers import WebReceiver, web_receiver
from tests.monitoring import binaries_of, run_alertmanager, run_prometheus_with
from tests.running import exporter_process, wait_until
from tests.stack import host_of, write_alertmanager, write_prometheus

_LIMITS = "limits: [{id: once, per: client, strategy: daily, requests: 1}]"
_REQUESTS = 20
_PAUSE_SECONDS = (3.0, 17.0)
_LONGEST_SECONDS = 180.0


def measure(directory: Path, quick: bool) -> Section:
    """Run it with everything in ``directory``."""
    section = Section(
        "P7: from a request to a notification",
        "Seconds from the end of a request that uses up a limit until the webhook has the alert, with the shipped"
        " intervals: the proxy is polled every 15 s, limits are looked at every 5 s, the exporter is scraped and the"
        f" rule evaluated every 10 s. {_REQUESTS} requests at random moments, wall time.",
    )
    took = sorted(_times(directory, 5 if quick else _REQUESTS))
    section.add(f"median of {len(took)}", statistics.median(took), "{:.1f} s", at_most=30)
    section.add("quickest", took[0], "{:.1f} s")
    section.add("slowest", took[-1], "{:.1f} s")
    return section


def _times(directory: Path, requests: int) -> Iterator[float]:
    limits = directory / "limits.yaml"
    limits.write_text(_LIMITS)
    folders = {name: directory / name for name in ("exporter", "prometheus", "alertmanager")}
    for folder in folders.values():
        folder.mkdir()
    binary = binaries_of("3.x")
    proxy = DemoProxy(key=MANAGEMENT_KEY)
    server = DemoServer(proxy)
    server.start()
    try:
        with (
            web_receiver() as hook,
            exporter_process(
                folders["exporter"], proxy_url=server.url, key=MANAGEMENT_KEY, EXPORTER_LIMITS_FILE=str(limits)
            ) as exporter,
            run_alertmanager(
                binary,
                config=write_alertmanager(folders["alertmanager"], webhook=f"{hook.url}/hook"),
                workdir=folders["alertmanager"],
            ) as alertmanager,
            run_prometheus_with(
                binary,
                config=write_prometheus(
                    folders["prometheus"], exporter=host_of(exporter.url), alertmanager=host_of(alertmanager.url)
                ),
                workdir=folders["prometheus"],
            ) as prometheus,
        ):
            prometheus.wait_for("cliproxy_up == 1", timeout=60)
            yield from _measured(proxy, hook, requests)
    finally:
        server.stop()


def _measured(proxy: DemoProxy, hook: WebReceiver, requests: int) -> Iterator[float]:
    arrived: dict[str, float] = {}
    ended: list[float] = []
    seen = 0

    def look() -> int:
        nonlocal seen
        for posted in hook.received[seen:]:
            seen += 1
            if posted.body["commonLabels"].get("alertname") == "CliproxyLimitReached":
                arrived.setdefault(posted.body["commonLabels"]["scope"], time.monotonic())
        return len(arrived)

    moments = random.Random(7)  # noqa: S311 - phases, not secrets
    for number in range(requests):
        until = time.monotonic() + moments.uniform(*_PAUSE_SECONDS)
        while time.monotonic() < until:
            look()
            time.sleep(0.05)
        proxy.enqueue([_record(number)])
        ended.append(time.monotonic())
    wait_until(look, lambda count: count == requests, seconds=_LONGEST_SECONDS)
    # Notifications come in the order of the requests, but for those of one evaluation, which differ by milliseconds.
    for start, end in zip(ended, sorted(arrived.values()), strict=True):
        yield end - start


def _record(number: int) -> dict[str, Any]:
    return {
        "timestamp": datetime.now(UTC).isoformat(),
        "provider": "claude",
        "executor_type": "ClaudeExecutor",
        "model": "claude-sonnet-4-5",
        "auth_type": "apikey",
        "auth_index": "0123456789abcdef",
        "api_key": f"sk-benchmark-{number}",
        "request_id": f"{number}",
        "tokens": {"input_tokens": 10, "output_tokens": 10, "total_tokens": 20},
        "failed": False,
        "generate": True,
    }
