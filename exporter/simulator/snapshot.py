"""The cumulative statistics of CPA up to v6.9.49: ``/usage``, its export and its import."""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from exporter.simulator.traffic import Attempt
from exporter.simulator.versions import VersionNumber

TOKEN_FIELDS = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens", "total_tokens")

Details = Literal["full", "absent", "empty"]
"""The details in an answer: all, as in CPA; no field at all, as in some forks; or empty lists."""

Fingerprint = tuple[Any, ...]


@dataclass(slots=True, eq=False)
class Happening:
    """An attempt that the proxy recorded once, and whether a client has got it."""

    attempt: Attempt
    delivered: bool = False


@dataclass(slots=True, eq=False)
class _Entry:
    detail: dict[str, Any]
    happening: Happening
    kept: bool = True


@dataclass(slots=True)
class _Model:
    requests: int = 0
    tokens: int = 0
    entries: list[_Entry] = field(default_factory=list)


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
        self._undelivered: list[_Entry] = []

    def add(self, key: str, model: str, detail: dict[str, Any], happening: Happening, *, cap: int | None) -> None:
        """Count one attempt; a ``cap`` keeps only the newest details of the key and model."""
        of_model = self._apis.setdefault(key, {}).setdefault(model, _Model())
        entry = _Entry(detail, happening)
        of_model.entries.append(entry)
        if cap is not None:
            surplus = max(len(of_model.entries) - cap, 0)
            for old in of_model.entries[:surplus]:
                old.kept = False
            del of_model.entries[:surplus]
        self._undelivered.append(entry)
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

    def merge(
        self, usage: Mapping[str, Any], known: Callable[[str, str, dict[str, Any]], Happening], *, cap: int | None
    ) -> dict[str, int]:
        """Import the details of an export, as CPA does: skip those whose fingerprint exists.

        ``known`` returns the happening behind a detail. The result is the body of ``/usage/import``. Raises
        ``ValueError`` with CPA's words.
        """
        seen = {fingerprint(key, model, detail) for key, model, detail in self.details()}
        # Read everything before changing anything.
        try:
            rows = [(key, model, _normalised(raw)) for key, model, raw in _details_of(usage)]
            marks = [fingerprint(*row) for row in rows]
        except (TypeError, AttributeError, KeyError, ValueError) as error:
            raise ValueError("invalid json") from error
        added = skipped = 0
        for (key, model, detail), mark in zip(rows, marks, strict=True):
            if mark in seen:
                skipped += 1
                continue
            seen.add(mark)
            self.add(key, model, detail, known(key, model, detail), cap=cap)
            added += 1
        totals = {"total_requests": self._requests, "failed_requests": self.failures}
        return {"added": added, "skipped": skipped, **totals}

    def details(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Client key, model and detail of every kept entry."""
        for key, models in self._apis.items():
            for model, of_model in models.items():
                for entry in of_model.entries:
                    yield key, model, entry.detail

    def shown(self, details: Details) -> list[Happening]:
        """The happenings in an answer that no client has got yet; without details, its totals show all of them."""
        self._undelivered = [entry for entry in self._undelivered if not entry.happening.delivered]
        return [entry.happening for entry in self._undelivered if entry.kept or details != "full"]

    def usage(self, *, details: Details = "full", shuffled: random.Random | None = None) -> dict[str, Any]:
        """The object ``usage`` of an answer, with maps sorted by key, as Go writes them."""
        return {
            "total_requests": self._requests,
            "success_count": self._requests - self.failures,
            "failure_count": self.failures,
            "total_tokens": self._tokens,
            "apis": {key: _api(models, details, shuffled) for key, models in sorted(self._apis.items())},
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


def fingerprint(key: str, model: str, detail: Mapping[str, Any]) -> Fingerprint:
    """What tells details apart in CPA's import: everything but the latency."""
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
    """The moment, and its digits beyond the microsecond, which ``datetime`` cuts."""
    fraction = re.search(r"\.(\d+)", timestamp)
    return datetime.fromisoformat(timestamp).astimezone(UTC), fraction[1][6:].rstrip("0") if fraction else ""


def usage_of_export(body: Any) -> Mapping[str, Any]:
    """The statistics in an export. Raises ``ValueError`` with CPA's words."""
    try:
        version, usage = body.get("version", 0), body.get("usage", {})
    except AttributeError as error:
        raise ValueError("invalid json") from error
    if version not in (0, 1):
        raise ValueError("unsupported version")
    if usage is not None and not isinstance(usage, Mapping):
        raise ValueError("invalid json")
    return usage or {}


def _details_of(usage: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for key, api in sorted((usage.get("apis") or {}).items()):
        for model, of_model in sorted((api.get("models") or {}).items()):
            for detail in of_model.get("details") or []:
                yield key.strip(), model.strip() or "unknown", detail


def _normalised(raw: Mapping[str, Any]) -> dict[str, Any]:
    """An imported detail, with a missing total added up."""
    tokens = {name: max(int((raw.get("tokens") or {}).get(name, 0)), 0) for name in TOKEN_FIELDS}
    if not tokens["total_tokens"]:
        tokens["total_tokens"] = sum(tokens[name] for name in ("input_tokens", "output_tokens", "reasoning_tokens"))
    if not tokens["total_tokens"]:
        tokens["total_tokens"] = tokens["cached_tokens"]
    return {**raw, "tokens": tokens}


def _api(models: Mapping[str, _Model], details: Details, shuffled: random.Random | None) -> dict[str, Any]:
    return {
        "total_requests": sum(model.requests for model in models.values()),
        "total_tokens": sum(model.tokens for model in models.values()),
        "models": {name: _model(model, details, shuffled) for name, model in sorted(models.items())},
    }


def _model(model: _Model, details: Details, shuffled: random.Random | None) -> dict[str, Any]:
    body: dict[str, Any] = {"total_requests": model.requests, "total_tokens": model.tokens}
    if details == "absent":
        return body
    entries = [] if details == "empty" else [entry.detail for entry in model.entries]
    if shuffled is not None:
        shuffled.shuffle(entries)
    return body | {"details": entries}
