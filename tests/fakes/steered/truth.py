"""The truth about a demo proxy's traffic: what an exact reader of its records must find."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from exporter.records import Tokens
from exporter.simulator.world import CLIENTS, Credential
from tests.fakes.steered.traffic import Attempt, TruthKey

_CLIENT_NAMES = {client.key: client.name for client in CLIENTS}


class Truth:
    """Sums of attempts and of their exclusive token buckets per client, credential and model."""

    def __init__(self, attempts: Iterable[Attempt] = ()) -> None:
        self.tokens: dict[TruthKey, Tokens] = {}
        self.attempts: dict[TruthKey, int] = {}
        self.failed: dict[TruthKey, int] = {}
        for attempt in attempts:
            self.add(attempt)

    def add(self, attempt: Attempt) -> None:
        self.tokens[attempt.key] = _sum(self.tokens.get(attempt.key, Tokens()), attempt.tokens)
        self.attempts[attempt.key] = self.attempts.get(attempt.key, 0) + 1
        self.failed[attempt.key] = self.failed.get(attempt.key, 0) + attempt.failed

    def total(self) -> Tokens:
        """The sum of all buckets."""
        whole = Tokens()
        for tokens in self.tokens.values():
            whole = _sum(whole, tokens)
        return whole

    def as_rows(self) -> list[dict[str, Any]]:
        """One JSON-ready row per client, credential and model, sorted."""
        return [
            {
                "client": key[0],
                "credential": key[1],
                "model": key[2],
                "attempts": self.attempts[key],
                "failed": self.failed[key],
                "uncached": tokens.uncached,
                "cache_read": tokens.cache_read,
                "cache_write": tokens.cache_write,
                "output": tokens.output,
                "reasoning": tokens.reasoning,
                "unclassified": tokens.unclassified,
            }
            for key, tokens in sorted(self.tokens.items())
        ]


def imported_attempt(key: str, model: str, detail: Mapping[str, Any], credential: Credential | None) -> Attempt:
    """The attempt behind an imported detail of another server; it has no credential if its handle is unknown."""
    raw: Mapping[str, int] = detail["tokens"]
    output, reasoning, cached = raw["output_tokens"], raw["reasoning_tokens"], raw["cached_tokens"]
    family = credential.family if credential is not None else "openai"
    uncached = raw["input_tokens"] if family == "claude" else max(raw["input_tokens"] - cached, 0)
    started = datetime.fromisoformat(detail["timestamp"]).timestamp()
    failed = bool(detail.get("failed"))
    return Attempt(
        client=_CLIENT_NAMES.get(key, ""),
        credential=credential.name if credential is not None else "",
        auth_index=str(detail.get("auth_index", "")),
        model=model,
        tokens=Tokens(
            uncached=uncached,
            cache_read=cached,
            output=output + reasoning if family == "gemini" else output,
            reasoning=reasoning,
        ),
        failed=failed,
        status=500 if failed else 200,
        error_body="",
        ended=started + detail.get("latency_ms", 0) / 1000,
    )


def _sum(left: Tokens, right: Tokens) -> Tokens:
    return Tokens(
        uncached=left.uncached + right.uncached,
        cache_read=left.cache_read + right.cache_read,
        cache_write=left.cache_write + right.cache_write,
        output=left.output + right.output,
        reasoning=left.reasoning + right.reasoning,
        unclassified=left.unclassified + right.unclassified,
    )
