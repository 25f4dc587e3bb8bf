"""The cumulative statistics of CPA up to v6.9.49: ``/usage``, also as forks show it, its export and its import."""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from exporter.simulator.wire import TOKEN_FIELDS

Details = Literal["full", "absent", "empty"]
"""Which details an answer has: all, as in CPA; no such field, as in some forks; or empty lists."""

Fingerprint = tuple[Any, ...]


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


def reshaped(usage: dict[str, Any], details: Details, shuffled: random.Random | None) -> dict[str, Any]:
    """The statistics with other details, or with the details in another order."""
    for api in usage["apis"].values():
        for model in api["models"].values():
            if details == "absent":
                del model["details"]
            elif details == "empty":
                model["details"] = []
            elif shuffled is not None:
                shuffled.shuffle(model["details"])
    return usage


def merge(
    snapshot: UsageSnapshot, usage: Mapping[str, Any], add: Callable[[str, str, dict[str, Any]], None]
) -> dict[str, int]:
    """Import the details of an export, as CPA does: skip those whose fingerprint exists, ``add`` the others.

    Returns the body of ``/usage/import``. Raises ``ValueError`` with CPA's message.
    """
    seen = {fingerprint(*row) for row in details_of(snapshot.usage())}
    # Read everything before changing anything.
    try:
        rows = [(key, model, _normalised(raw)) for key, model, raw in details_of(usage)]
        marks = [fingerprint(*row) for row in rows]
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise ValueError("invalid json") from error
    added = skipped = 0
    for row, mark in zip(rows, marks, strict=True):
        if mark in seen:
            skipped += 1
            continue
        seen.add(mark)
        add(*row)
        added += 1
    whole = snapshot.usage()
    totals = {"total_requests": whole["total_requests"], "failed_requests": whole["failure_count"]}
    return {"added": added, "skipped": skipped, **totals}


def fingerprint(key: str, model: str, detail: Mapping[str, Any]) -> Fingerprint:
    """What distinguishes details in CPA's import: everything but the latency."""
    return (
        key,
        model,
        _utc(detail["timestamp"]),
        detail.get("source", ""),
        detail.get("auth_index", ""),
        bool(detail.get("failed")),
        *(detail["tokens"][name] for name in TOKEN_FIELDS),
    )


def _utc(timestamp: str) -> tuple[datetime, str]:
    """The moment, and its digits beyond the microsecond, which ``datetime`` drops."""
    fraction = re.search(r"\.(\d+)", timestamp)
    return datetime.fromisoformat(timestamp).astimezone(UTC), fraction[1][6:].rstrip("0") if fraction else ""


def usage_of_export(body: Any) -> Mapping[str, Any]:
    """The statistics in an export. Raises ``ValueError`` with CPA's message."""
    try:
        version, usage = body.get("version", 0), body.get("usage", {})
    except AttributeError as error:
        raise ValueError("invalid json") from error
    if version not in (0, 1):
        raise ValueError("unsupported version")
    if usage is not None and not isinstance(usage, Mapping):
        raise ValueError("invalid json")
    return usage or {}


def details_of(usage: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Client key, model and detail of everything that is listed."""
    for key, api in sorted((usage.get("apis") or {}).items()):
        for model, of_model in sorted((api.get("models") or {}).items()):
            for detail in of_model.get("details") or []:
                yield key.strip(), model.strip() or "unknown", detail


def _normalised(raw: Mapping[str, Any]) -> dict[str, Any]:
    """An imported detail; a missing total becomes the sum of its parts."""
    tokens = {name: max(int((raw.get("tokens") or {}).get(name, 0)), 0) for name in TOKEN_FIELDS}
    if not tokens["total_tokens"]:
        tokens["total_tokens"] = sum(tokens[name] for name in ("input_tokens", "output_tokens", "reasoning_tokens"))
    if not tokens["total_tokens"]:
        tokens["total_tokens"] = tokens["cached_tokens"]
    return {**raw, "tokens": tokens}
