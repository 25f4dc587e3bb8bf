"""Antigravity's windows, one set per group of models, reported only on request. Pure.

Shapes: api-call recordings of CPA 7.2.140, and what public clients read (August to November 2026). Google documents
none of these pages. The exporter does not ask about an account without a known project: any other project has other
windows.
"""

from exporter.quotas.base import Call, Provider, Question, Reader, Report
from exporter.quotas.buckets import grouped, one_bucket, read_tier
from exporter.quotas.reading import Answer
from exporter.quotas.values import HOUR, scope_of

_FAMILIES = ("claude", "gpt", "gemini")
"""Claude's models may be called ``gemini-claude-…``."""


def _read_summary(answer: Answer) -> Report | None:
    readings = tuple(grouped(answer))
    return Report(readings=readings) if readings else None


def _read_models(answer: Answer) -> Report | None:
    """The window of each model, without its length. The models of one group share a window."""
    readings = tuple(
        reading
        for model, entry in answer.part("models").entries()
        for reading in one_bucket(entry.part("quota_info"), scope=scope_of(model))
    )
    return Report(readings=readings) if readings else None


_DAILY = "https://daily-cloudcode-pa.googleapis.com"
_SANDBOX = "https://daily-cloudcode-pa.sandbox.googleapis.com"
_MAIN = "https://cloudcode-pa.googleapis.com"
_HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": "antigravity/cli/1.0.13 (aidev_client; os_type=darwin; arch=arm64)",
}
_PROJECT = '{"project":"$PROJECT$"}'


def _call(name: str, read: Reader, *, host: str = _MAIN, data: str = _PROJECT) -> Call:
    return Call(url=f"{host}/v1internal:{name}", headers=_HEADERS, data=data, read=read)


def _counts(model: str, scope: str) -> bool:
    """The name of a group lists families of models. It is not known which models share the window of a model."""
    families = set(scope.split("-"))
    own = next((family for family in _FAMILIES if family in model.lower()), None)
    return not scope or (families <= set(_FAMILIES) and own in families)


_HOSTS = (_DAILY, _SANDBOX, _MAIN)
_SUMMARIES = tuple(_call("retrieveUserQuotaSummary", _read_summary, host=host) for host in _HOSTS)

ANTIGRAVITY = Provider(
    questions=(
        Question(900, (*_SUMMARIES, _call("fetchAvailableModels", _read_models))),
        Question(12 * HOUR, (_call("loadCodeAssist", read_tier, data='{"metadata":{"ideType":"ANTIGRAVITY"}}'),)),
    ),
    counts=_counts,
)
