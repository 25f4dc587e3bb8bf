"""The cumulative statistics of CPA up to v6.9.49: ``/usage``."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(slots=True)
class _Model:
    requests: int = 0
    tokens: int = 0
    details: list[dict[str, Any]] = field(default_factory=list)


class UsageSnapshot:
    """Totals since the proxy started, and the details of each client key and model."""

    def __init__(self) -> None:
        self.apis: dict[str, dict[str, _Model]] = {}
        self.failures = 0
        self._requests_by: dict[str, Counter[str]] = {"day": Counter(), "hour": Counter()}
        self._tokens_by: dict[str, Counter[str]] = {"day": Counter(), "hour": Counter()}

    def add(self, key: str, model: str, detail: dict[str, Any]) -> None:
        """Count one attempt."""
        of_model = self.apis.setdefault(key, {}).setdefault(model, _Model())
        of_model.details.append(detail)
        tokens = detail["tokens"]["total_tokens"]
        of_model.requests += 1
        of_model.tokens += tokens
        self.failures += bool(detail.get("failed"))
        moment = datetime.fromisoformat(detail["timestamp"])
        for name, period in (("day", moment.strftime("%Y-%m-%d")), ("hour", moment.strftime("%H"))):
            self._requests_by[name][period] += 1
            self._tokens_by[name][period] += tokens

    def usage(self) -> dict[str, Any]:
        """The object ``usage`` of an answer, with maps sorted by key, as Go writes them."""
        requests = self._requests_by["day"].total()
        return {
            "total_requests": requests,
            "success_count": requests - self.failures,
            "failure_count": self.failures,
            "total_tokens": self._tokens_by["day"].total(),
            "apis": {key: _api(models) for key, models in sorted(self.apis.items())},
            **{f"requests_by_{name}": dict(sorted(sums.items())) for name, sums in self._requests_by.items()},
            **{f"tokens_by_{name}": dict(sorted(sums.items())) for name, sums in self._tokens_by.items()},
        }


def _api(models: Mapping[str, _Model]) -> dict[str, Any]:
    return {
        "total_requests": sum(model.requests for model in models.values()),
        "total_tokens": sum(model.tokens for model in models.values()),
        "models": {
            name: {"total_requests": model.requests, "total_tokens": model.tokens, "details": [*model.details]}
            for name, model in sorted(models.items())
        },
    }
