"""The cumulative statistics of CPA up to v6.9.49: ``/usage``."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from exporter.simulator.versions import VersionNumber

TOKEN_FIELDS = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens", "total_tokens")


@dataclass(slots=True)
class _Model:
    requests: int = 0
    tokens: int = 0
    details: list[dict[str, Any]] = field(default_factory=list)


class UsageSnapshot:
    """Totals since the proxy started, and the details of each client key and model."""

    def __init__(self) -> None:
        self._apis: dict[str, dict[str, _Model]] = {}
        self.failures = 0
        self._requests = self._tokens = 0
        self._days: Counter[str] = Counter()
        self._hours: Counter[str] = Counter()
        self._day_tokens: Counter[str] = Counter()
        self._hour_tokens: Counter[str] = Counter()

    def add(self, key: str, model: str, detail: dict[str, Any], *, cap: int | None) -> None:
        """Count one attempt; a ``cap`` keeps only the newest details of the key and model."""
        of_model = self._apis.setdefault(key, {}).setdefault(model, _Model())
        of_model.details.append(detail)
        if cap is not None:
            del of_model.details[: max(len(of_model.details) - cap, 0)]
        tokens = detail["tokens"]["total_tokens"]
        moment = datetime.fromisoformat(detail["timestamp"])
        day, hour = moment.strftime("%Y-%m-%d"), moment.strftime("%H")
        of_model.requests += 1
        of_model.tokens += tokens
        self._requests += 1
        self.failures += bool(detail.get("failed"))
        self._tokens += tokens
        self._days[day] += 1
        self._hours[hour] += 1
        self._day_tokens[day] += tokens
        self._hour_tokens[hour] += tokens

    def usage(self) -> dict[str, Any]:
        """The object ``usage`` of an answer, with maps sorted by key, as Go writes them."""
        return {
            "total_requests": self._requests,
            "success_count": self._requests - self.failures,
            "failure_count": self.failures,
            "total_tokens": self._tokens,
            "apis": {key: _api(models) for key, models in sorted(self._apis.items())},
            "requests_by_day": dict(sorted(self._days.items())),
            "requests_by_hour": dict(sorted(self._hours.items())),
            "tokens_by_day": dict(sorted(self._day_tokens.items())),
            "tokens_by_hour": dict(sorted(self._hour_tokens.items())),
        }


def detail_of(record: Mapping[str, Any], version: VersionNumber, auth_index: str | int) -> dict[str, Any]:
    """A version's detail of a record, without the fields that it does not know yet."""
    detail: dict[str, Any] = {"timestamp": record["timestamp"]}
    if version >= (6, 9, 1):
        detail["latency_ms"] = record["latency_ms"]
    if version >= (6, 2, 7):
        detail["source"] = record["source"]
    if version >= (6, 3, 56):
        detail["auth_index"] = auth_index
    detail["tokens"] = {name: record["tokens"][name] for name in TOKEN_FIELDS}
    if version >= (6, 2, 26):
        detail["failed"] = record["failed"]
    return detail


def _api(models: Mapping[str, _Model]) -> dict[str, Any]:
    return {
        "total_requests": sum(model.requests for model in models.values()),
        "total_tokens": sum(model.tokens for model in models.values()),
        "models": {
            name: {"total_requests": model.requests, "total_tokens": model.tokens, "details": [*model.details]}
            for name, model in sorted(models.items())
        },
    }
