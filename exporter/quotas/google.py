"""Antigravity and Gemini CLI, two clients of one service of Google's: windows, reported only on request. Pure.

Google documents none of these pages. Shapes: api-call recordings of Antigravity through CPA 7.2.140, and what public
clients read (August to November 2026). Since 7.2.21 (June 2026) a CPA plugin serves Gemini CLI's accounts; it may
answer the proxy's own quota API, too, which has the same groups and buckets. The exporter does not ask about the
windows of an account without a known project: any other project has other windows.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from exporter.quotas.asking import Call, Provider, Question, Reader, Report
from exporter.quotas.reading import Answer, Reading
from exporter.quotas.values import HOUR, OTHER, UNTOLD, scope_of, used_of_remaining, window_called

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


def _report(found: Iterable[Reading]) -> Report | None:
    readings = tuple(found)
    return Report(readings=readings) if readings else None


def _read_groups(answer: Answer) -> Report | None:
    """Antigravity's windows, one set per group of models."""
    return _report(grouped(answer))


def _read_models(answer: Answer) -> Report | None:
    """Antigravity's window of each model, without its length. The models of one group share a window."""
    return _report(
        reading
        for model, entry in answer.part("models").entries()
        for reading in one_bucket(entry.part("quota_info"), scope=scope_of(model))
    )


def _read_buckets(answer: Answer) -> Report | None:
    """Gemini CLI's window of each model."""
    return _report(
        reading
        for bucket in answer.each("buckets")
        for reading in one_bucket(bucket, scope=scope_of(bucket.get("model_id")))
    )


def read_tier(answer: Answer) -> Report | None:
    """The plan in an answer to ``loadCodeAssist``: the paid tier, else the current one."""
    paid = answer.part("paid_tier")
    tier = (paid if paid.stated else answer.part("current_tier")).text("id")
    return Report(plan=TIERS.get(tier, OTHER)) if tier else None


_HOST = "cloudcode-pa.googleapis.com"
_ANTIGRAVITY_HOSTS = ("daily-cloudcode-pa.googleapis.com", "daily-cloudcode-pa.sandbox.googleapis.com", _HOST)
_ANTIGRAVITY_HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": "antigravity/cli/1.0.13 (aidev_client; os_type=darwin; arch=arm64)",
}
_GEMINI_HEADERS = {"Content-Type": "application/json"}
_GEMINI_TIER = (
    '{"cloudaicompanionProject":"$PROJECT$","metadata":'
    '{"ideType":"IDE_UNSPECIFIED","platform":"PLATFORM_UNSPECIFIED","pluginType":"GEMINI","duetProject":"$PROJECT$"}}'
)
_PROJECT = '{"project":"$PROJECT$"}'


def _call(headers: Mapping[str, str], name: str, read: Reader, *, host: str = _HOST, data: str = _PROJECT) -> Call:
    return Call(method="POST", url=f"https://{host}/v1internal:{name}", headers=headers, data=data, read=read)


_antigravity = partial(_call, _ANTIGRAVITY_HEADERS)
_gemini = partial(_call, _GEMINI_HEADERS)
_SUMMARIES = tuple(_antigravity("retrieveUserQuotaSummary", _read_groups, host=host) for host in _ANTIGRAVITY_HOSTS)

ANTIGRAVITY = Provider(
    questions=(
        Question(900, (*_SUMMARIES, _antigravity("fetchAvailableModels", _read_models))),
        Question(
            12 * HOUR, (_antigravity("loadCodeAssist", read_tier, data='{"metadata":{"ideType":"ANTIGRAVITY"}}'),)
        ),
    )
)

GEMINI_CLI = Provider(
    questions=(
        Question(900, (_gemini("retrieveUserQuota", _read_buckets),)),
        Question(12 * HOUR, (_gemini("loadCodeAssist", read_tier, data=_GEMINI_TIER),)),
    )
)
