"""The cumulative statistics of CPA up to v6.9.49, as ``GET /usage`` answers them."""

from collections import Counter
from datetime import datetime
from typing import Any

_TOKEN_FIELDS = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens", "total_tokens")


class UsageSnapshot:
    """Totals and one detail per attempt since the proxy started, per client key and model."""

    def __init__(self) -> None:
        self._apis: dict[str, dict[str, list[dict[str, Any]]]] = {}

    def add(self, record: dict[str, Any]) -> None:
        """Take in a wire record."""
        detail = {
            "timestamp": record["timestamp"],
            "latency_ms": record["latency_ms"],
            "source": record["source"],
            "auth_index": record["auth_index"],
            "tokens": {name: record["tokens"][name] for name in _TOKEN_FIELDS},
            "failed": record["failed"],
        }
        models = self._apis.setdefault(record["api_key"], {})
        models.setdefault(record["model"], []).append(detail)

    def as_body(self) -> dict[str, Any]:
        """The answer, with all sums."""
        details = [detail for models in self._apis.values() for entries in models.values() for detail in entries]
        days: Counter[str] = Counter()
        hours: Counter[str] = Counter()
        day_tokens: Counter[str] = Counter()
        hour_tokens: Counter[str] = Counter()
        for detail in details:
            moment = datetime.fromisoformat(detail["timestamp"])
            day, hour = moment.strftime("%Y-%m-%d"), moment.strftime("%H")
            days[day] += 1
            hours[hour] += 1
            day_tokens[day] += detail["tokens"]["total_tokens"]
            hour_tokens[hour] += detail["tokens"]["total_tokens"]
        failures = sum(detail["failed"] for detail in details)
        usage = {
            "total_requests": len(details),
            "success_count": len(details) - failures,
            "failure_count": failures,
            "total_tokens": _tokens(details),
            "apis": {key: _api(models) for key, models in self._apis.items()},
            "requests_by_day": dict(days),
            "requests_by_hour": dict(hours),
            "tokens_by_day": dict(day_tokens),
            "tokens_by_hour": dict(hour_tokens),
        }
        return {"failed_requests": failures, "usage": usage}


def _api(models: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    everything = [detail for entries in models.values() for detail in entries]
    return {
        "total_requests": len(everything),
        "total_tokens": _tokens(everything),
        "models": {
            name: {"total_requests": len(entries), "total_tokens": _tokens(entries), "details": list(entries)}
            for name, entries in models.items()
        },
    }


def _tokens(details: list[dict[str, Any]]) -> int:
    return sum(detail["tokens"]["total_tokens"] for detail in details)
