"""A proxy older than 6.10, small and obviously right: what it counts, shows and forgets."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal

from exporter.normalize.pseudonyms import Pseudonyms
from tests.benches.booking import PSEUDONYMS

SeriesName = tuple[str, str]
"""Client key and model."""

_ZONES = (UTC, timezone(timedelta(hours=8)), timezone(timedelta(hours=-5, minutes=-30)))


@dataclass(frozen=True)
class Detail:
    """One request."""

    ts_ms: int
    latency_ms: int
    auth_index: str
    tokens: tuple[int, int]
    failed: bool = False
    nanoseconds: int = 0
    """The part of the time below a millisecond."""

    def wire(self, *, zone: int, index: str | int) -> dict[str, Any]:
        moment = datetime.fromtimestamp(self.ts_ms // 1000, _ZONES[zone])
        digits = f"{self.ts_ms % 1000:03d}{self.nanoseconds:06d}".rstrip("0")
        offset = f"{moment:%z}"
        stamp = f"{moment:%Y-%m-%dT%H:%M:%S}" + (f".{digits}" if digits else "")
        sent, answered = self.tokens
        return {
            "timestamp": stamp + ("Z" if offset == "+0000" else f"{offset[:3]}:{offset[3:]}"),
            "latency_ms": self.latency_ms,
            "source": "dev@example.com",
            "auth_index": index,
            "tokens": {
                "input_tokens": sent,
                "output_tokens": answered,
                "reasoning_tokens": 0,
                "cached_tokens": 0,
                "total_tokens": sent + answered,
            },
            "failed": self.failed,
        }


@dataclass
class LegacySeries:
    requests: int = 0
    tokens: int = 0
    details: list[Detail] = field(default_factory=list)

    def add(self, detail: Detail, cap: int | None) -> None:
        self.requests += 1
        self.tokens += sum(detail.tokens)
        self.details.append(detail)
        if cap is not None:
            del self.details[:-cap]


Export = dict[SeriesName, list[Detail]]


class LegacyProxy:
    """``stripped`` says what replaces the details; ``cap`` limits how many details of each series it shows."""

    def __init__(self, *, cap: int | None = None, numbered: bool = False) -> None:
        self.series: dict[SeriesName, LegacySeries] = {}
        self.cap = cap
        self.stripped: Literal["", "absent", "empty", "null"] = ""
        self.zone = 0
        self._numbered = numbered
        self._starts = 0

    def record(self, client: str, model: str, detail: Detail) -> None:
        self.series.setdefault((client, model), LegacySeries()).add(detail, self.cap)

    def restart(self) -> None:
        self.series = {}
        self._starts += 1

    def export(self) -> Export:
        return {name: list(series.details) for name, series in self.series.items()}

    def import_(self, export: Export) -> None:
        """Like CPA, skip each detail that equals an existing or an earlier one in everything but the latency."""
        for (client, model), details in export.items():
            have = {_fingerprint(detail) for detail in self.series.get((client, model), LegacySeries()).details}
            for detail in details:
                if _fingerprint(detail) not in have:
                    have.add(_fingerprint(detail))
                    self.record(client, model, detail)

    def body(self) -> bytes:
        apis: dict[str, Any] = {}
        for (client, model), series in self.series.items():
            shown: dict[str, Any] = {"total_requests": series.requests, "total_tokens": series.tokens}
            if self.stripped in ("empty", "null"):
                shown["details"] = [] if self.stripped == "empty" else None
            elif not self.stripped:
                shown["details"] = [detail.wire(zone=self.zone, index=self._index(detail)) for detail in series.details]
            apis.setdefault(client, {"models": {}})["models"][model] = shown
        return json.dumps({"usage": {"apis": apis}, "failed_requests": 0}).encode()

    def _index(self, detail: Detail) -> str | int:
        return self._starts * 10 + len(detail.auth_index) if self._numbered else detail.auth_index

    def counts(self) -> dict[SeriesName, tuple[int, int]]:
        return {name: (series.requests, series.tokens) for name, series in self.series.items()}

    def shown(self, *, of_clients: bool = True) -> Counter[tuple[Any, ...]]:
        """The details in a body, in the form of ``entry_of``."""
        return Counter(
            entry_of(client, model, detail, of_clients=of_clients)
            for (client, model), series in self.series.items()
            for detail in series.details
        )


def _fingerprint(detail: Detail) -> tuple[Any, ...]:
    return detail.ts_ms, detail.nanoseconds, detail.auth_index, detail.tokens, detail.failed


def entry_of(
    client: str, model: str, detail: Detail, *, of_clients: bool = True, pseudonyms: Pseudonyms = PSEUDONYMS
) -> tuple[Any, ...]:
    """Everything that the exporter must book from a detail, and what distinguishes it from others."""
    return (
        detail.ts_ms,
        pseudonyms.of(client) if of_clients else "",
        model,
        detail.failed,
        detail.latency_ms,
        *detail.tokens,
    )


def before(entries: Iterable[tuple[Any, ...]], ms: int) -> list[tuple[Any, ...]]:
    """The ``entries`` that happened before ``ms``."""
    return [entry for entry in entries if entry[0] < ms]
