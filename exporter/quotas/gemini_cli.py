"""Gemini CLI's windows, one per model, reported only on request. Pure.

Since 7.2.21 (June 2026) a CPA plugin serves such accounts; it may answer the proxy's quota API, too. Shapes: what
public clients read (August 2026). Google documents neither page.
"""

from exporter.quotas.base import Call, Provider, Question, Reader, Report
from exporter.quotas.buckets import one_bucket, read_tier
from exporter.quotas.reading import Answer
from exporter.quotas.values import HOUR, OTHER, scope_of


def _read_quota(answer: Answer) -> Report | None:
    readings = tuple(
        reading
        for bucket in answer.each("buckets")
        for reading in one_bucket(bucket, scope=scope_of(bucket.get("model_id")))
    )
    return Report(readings=readings) if readings else None


_URL = "https://cloudcode-pa.googleapis.com/v1internal:"
_HEADERS = {"Content-Type": "application/json"}
_METADATA = (
    '{"ideType":"IDE_UNSPECIFIED","platform":"PLATFORM_UNSPECIFIED","pluginType":"GEMINI","duetProject":"$PROJECT$"}'
)


def _call(name: str, read: Reader, *, data: str) -> Call:
    return Call(url=f"{_URL}{name}", headers=_HEADERS, data=data, read=read)


_TIER = f'{{"cloudaicompanionProject":"$PROJECT$","metadata":{_METADATA}}}'

GEMINI_CLI = Provider(
    questions=(
        Question(900, (_call("retrieveUserQuota", _read_quota, data='{"project":"$PROJECT$"}'),)),
        Question(12 * HOUR, (_call("loadCodeAssist", read_tier, data=_TIER),)),
    ),
    counts=lambda model, scope: scope in ("", scope_of(model)) and scope != OTHER,
)
