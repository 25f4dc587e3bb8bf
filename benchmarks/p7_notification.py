"""P7: from a finished request to the notification, with the shipped intervals.

Real processes: the demo proxy, the exporter, Prometheus 3, Alertmanager and a webhook. Each request comes from a
separate client, whose limit it uses up, at a random moment, so it meets all intervals in a random phase.
"""

import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.report import Section
from tests.stack.shipped import Stack, record_of_now, running_stack
from tests.stack.waiting import wait_until

_LIMITS = "limits: [{id: once, per: client, strategy: daily, requests: 1}]"
_PAUSE_SECONDS = (3.0, 17.0)
_LONGEST_SECONDS = 180.0


def measure(directory: Path, full: bool) -> Section:
    """Run the benchmark with everything in ``directory``."""
    requests = 20 if full else 3
    section = Section(
        "P7: from a request to a notification",
        "Seconds from the end of a request that uses up a limit until the webhook has the alert, with the shipped"
        " intervals: polls every 15 s, limits every 5 s, scrapes and rules every 10 s."
        f" {requests} requests at random moments.",
    )
    with running_stack("3.x", directory, limits=_LIMITS) as stack:
        stack.prometheus.wait_for("cliproxy_up == 1", timeout=60)
        took = sorted(_measured(stack, requests))
    section.add(f"median of {len(took)}", statistics.median(took), "{:.1f} s", at_most=30)
    section.add("quickest", took[0], "{:.1f} s")
    section.add("slowest", took[-1], "{:.1f} s")
    return section


def _measured(stack: Stack, requests: int) -> Iterator[float]:
    arrived: dict[str, float] = {}
    ended: list[float] = []
    seen = 0

    def look() -> int:
        nonlocal seen
        for posted in stack.hook.received[seen:]:
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
        stack.proxy.enqueue([record_of_now(number, client=f"sk-benchmark-{number}")])
        ended.append(time.monotonic())
    wait_until(look, lambda count: count == requests, seconds=_LONGEST_SECONDS)
    # Notifications arrive in the order of the requests, except those of one evaluation, which differ by milliseconds.
    for start, end in zip(ended, sorted(arrived.values()), strict=True):
        yield end - start
