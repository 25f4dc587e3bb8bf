"""Buckets whose remaining fraction an answer states: Google's, and those of the proxy's own quota API. Pure.

Also Google's plans, which Antigravity and Gemini CLI report in the same way.
"""

from collections.abc import Iterator

from exporter.quotas.base import Report
from exporter.quotas.reading import Answer, Reading
from exporter.quotas.values import OTHER, UNTOLD, scope_of, used_of_remaining, window_called

TIERS = {
    "free-tier": "free",
    "legacy-tier": "legacy",
    "standard-tier": "standard",
    "g1-pro-tier": "pro",
    "g1-ultra-lite-tier": "ultra-lite",
    "g1-ultra-tier": "ultra",
}
"""Plans by Google's ids of its tiers."""


def grouped(answer: Answer) -> Iterator[Reading]:
    """The windows in ``groups[].buckets[]``. The models of a group share its windows."""
    for group in answer.each("groups"):
        for bucket in group.each("buckets"):
            name, seconds = window_called(bucket.get("window"))
            yield from one_bucket(bucket, name=name, seconds=seconds, scope=scope_of(group.get("display_name")))


def one_bucket(bucket: Answer, *, scope: str, name: str = UNTOLD, seconds: int | None = None) -> Iterator[Reading]:
    """The window of one bucket. A bucket without a fraction says nothing: it may be empty or full.

    Go programs write a missing fraction as 0, so a 0 without a reset says nothing either.
    """
    used_ratio = used_of_remaining(bucket.share("remaining_fraction"))
    if used_ratio is not None and (used_ratio < 1 or bucket.text("reset_time")):
        yield bucket.reading(seconds, scope, used_ratio, bucket.get("reset_time"), name=name)


def read_tier(answer: Answer) -> Report | None:
    """The plan in an answer to ``loadCodeAssist``: the paid tier, else the current one."""
    paid = answer.part("paid_tier")
    tier = (paid if paid.stated else answer.part("current_tier")).text("id")
    return Report(plan=TIERS.get(tier, OTHER)) if tier else None
