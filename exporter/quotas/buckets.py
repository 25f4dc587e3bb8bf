"""Buckets whose remaining fraction an answer states: Google's, and those of the proxy's own quota API. Pure.

Also Google's plans, which Antigravity and Gemini CLI report alike.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from exporter.quotas.asking import Report
from exporter.quotas.reading import Answer, Reading
from exporter.quotas.values import (
    OTHER,
    UNTOLD,
    field,
    mapping,
    mappings,
    scope_of,
    share,
    text,
    used_of_remaining,
    window_called,
)

TIERS = {
    "free-tier": "free",
    "legacy-tier": "legacy",
    "standard-tier": "standard",
    "g1-pro-tier": "pro",
    "g1-ultra-lite-tier": "ultra-lite",
    "g1-ultra-tier": "ultra",
}
"""Plans by Google's ids of its tiers."""


def grouped(content: Mapping[str, Any], answer: Answer) -> Iterator[Reading]:
    """The windows in ``groups[].buckets[]``. The models of a group share its windows."""
    for group in mappings(content.get("groups")):
        for bucket in mappings(group.get("buckets")):
            name, seconds = window_called(bucket.get("window"))
            scope = scope_of(field(group, "display_name"))
            yield from one_bucket(bucket, answer, name=name, seconds=seconds, scope=scope)


def one_bucket(
    bucket: Mapping[str, Any], answer: Answer, *, scope: str, name: str = UNTOLD, seconds: int | None = None
) -> Iterator[Reading]:
    """The window of one bucket. A bucket without a fraction says nothing: it may be empty or full.

    Go programs write a missing fraction as 0, so a 0 without a reset says nothing either.
    """
    used_ratio, reset = used_of_remaining(share(field(bucket, "remaining_fraction"))), field(bucket, "reset_time")
    if used_ratio is not None and (used_ratio < 1 or text(reset)):
        yield answer.reading(seconds, scope, used_ratio, reset, name=name)


def read_tier(content: Mapping[str, Any], _: Answer) -> Report | None:
    """The plan in an answer to ``loadCodeAssist``: the paid tier, else the current one."""
    tier = mapping(field(content, "paid_tier")) or mapping(field(content, "current_tier"))
    id_ = text(tier.get("id"))
    return Report(plan=TIERS.get(id_, OTHER)) if id_ else None
