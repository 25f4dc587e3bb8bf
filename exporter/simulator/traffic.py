"""Seeded traffic: a small team's working day at the demo proxy.

The same seed and times give the same requests.
"""

import json
import math
import random
from dataclasses import replace
from datetime import datetime, tzinfo
from typing import Any, TypeVar

from exporter.records import Tokens
from exporter.simulator import quotas
from exporter.simulator.wire import IMAGE_MODEL, Event
from exporter.simulator.world import CLIENTS, CREDENTIALS, Client, Credential, Model

_Shared = TypeVar("_Shared", Client, Credential, Model)

_DAY_SWING = 0.75
_QUIETEST_HOUR = 3.0
_FAILURE_SHARE = 0.085
_LONG_CONTEXT_SHARE = 0.015
_IMAGE_SHARE = 0.02
_PREWARM_SHARE = 0.02
_PRIORITY_SHARE = 0.06
_INCONSISTENT_SHARE = 0.15
_GIVE_UP_SHARE = 0.3
# Ways to fail and their relative frequency; _fails_with decides which of them a provider knows.
_FAILURES = {"429": 4, "400": 2, "401": 1, "500": 3, "529": 2, "broken": 4, "canceled": 3}
_MAX_ATTEMPTS = 3
_STEADY_SECONDS = 180
_STEADY_LATENCY_MS = 9_000
_STEADY_TOKENS = Tokens(uncached=3_000, cache_read=20_000, output=600)


def load(at: float, zone: tzinfo) -> float:
    """Relative load at a time: 0.25 in the small hours, 1.75 in the afternoon, 1 on average over a day."""
    moment = datetime.fromtimestamp(at, zone)
    hour = moment.hour + moment.minute / 60
    return 1 - _DAY_SWING * math.cos((hour - _QUIETEST_HOUR) / 24 * 2 * math.pi)


class Traffic:
    """A seeded source of requests to ``credentials``, which may change at any time. Not thread-safe."""

    def __init__(self, *, seed: int | None, zone: tzinfo, credentials: tuple[Credential, ...] = CREDENTIALS) -> None:
        self._random = random.Random(seed)  # noqa: S311 repeatable invented traffic, nothing secret
        self._zone = zone
        self._serial = 0
        self.credentials = credentials

    def batch(self, count: int, *, ending: float, span_seconds: float = 600.0) -> list[Event]:
        """Exactly ``count`` attempts that ended in the span before ``ending``, in the order in which they ended.

        That is the queue's order, so start times are often out of order, as with a real proxy.
        """
        events: list[Event] = []
        while len(events) < count:
            end = ending - self._spread(span_seconds, ending)
            events += self.request(ending=end)
        return sorted(events[:count], key=lambda event: event.ended)

    def request(self, *, ending: float) -> list[Event]:
        """All attempts of one client request, failover and retries included; the last one ends at ``ending``."""
        client = self._choose(CLIENTS)
        credential = self._choose(self.credentials)
        model = self._choose(credential.models)
        request_id = f"{self._random.getrandbits(32):08x}"
        events: list[Event] = []
        while len(events) < _MAX_ATTEMPTS:
            event = self._event(client, credential, model, request_id=request_id, ending=ending)
            events.append(event)
            if not event.failed or event.status not in {401, 429, 500, 529}:
                break
            if self._random.random() < _GIVE_UP_SHARE:
                break
            credential = self._next_credential(credential, model)
        self._end_at(events, ending)
        last = events[-1]
        with_image = last.credential.provider == "codex" and not last.failed and last.generate
        if with_image and self._random.random() < _IMAGE_SHARE:
            events.append(self._image_extra(last))
        return events

    def steady(self, *, since: float, until: float) -> list[Event]:
        """The requests of a job that ended in this span: equal requests every 3 minutes, through the same account.

        They make that account's readings reveal what its windows are worth.
        """
        client = next(each for each in CLIENTS if each.name == "batch")
        return [
            self._new(
                client,
                credential,
                credential.models[0],
                started=turn * _STEADY_SECONDS - _STEADY_LATENCY_MS / 1000,
                latency_ms=_STEADY_LATENCY_MS,
                request_id=f"{turn:08x}",
                tokens=_STEADY_TOKENS,
            )
            for credential in self.credentials
            if credential.trouble == "shrinks"
            for turn in range(int(since // _STEADY_SECONDS) + 1, int(until // _STEADY_SECONDS) + 1)
        ]

    def _spread(self, span_seconds: float, ending: float) -> float:
        """Random seconds to go back from ``ending``, chosen so that busy hours get more traffic."""
        while True:
            back = self._random.random() * span_seconds
            if self._random.random() * (1 + _DAY_SWING) <= load(ending - back, self._zone):
                return back

    def _choose(self, things: tuple[_Shared, ...]) -> _Shared:
        return self._random.choices(things, weights=[thing.share for thing in things])[0]

    def _new(self, client: Client, credential: Credential, model: Model, **details: Any) -> Event:
        self._serial += 1
        alias = model.alias or model.name
        return Event(
            client=client, credential=credential, model=model.name, alias=alias, serial=self._serial, **details
        )

    def _event(self, client: Client, credential: Credential, model: Model, *, request_id: str, ending: float) -> Event:
        stream = self._random.random() < 0.7
        event = self._new(client, credential, model, started=ending, latency_ms=0, request_id=request_id, stream=stream)
        failure = self._failure(credential, ending)
        return replace(event, **(self._failed(credential, failure) if failure else self._served(event)))

    def _failure(self, credential: Credential, at: float) -> str:
        """How this attempt fails; empty if it succeeds. An exhausted account always gets 429."""
        chance, pick = self._random.random(), self._random.choices(list(_FAILURES), list(_FAILURES.values()))[0]
        if quotas.is_exhausted(credential, at):
            return "429"
        if chance >= _FAILURE_SHARE or not _fails_with(credential, pick):
            return ""
        return pick

    def _failed(self, credential: Credential, failure: str) -> dict[str, Any]:
        ttft = self._random.randint(80, 900)
        if failure == "broken":
            codex = credential.provider == "codex"
            # CPA states 200 or 500 at random for this fault, and 408 for Codex.
            status = 408 if codex else self._random.choice([200, 500])
            body = "stream error: stream closed before response.completed" if codex else "unexpected EOF"
            latency = ttft + self._random.randint(500, 9000)
        elif failure == "canceled":
            status, body = 499, "context canceled"
            latency = ttft + self._random.randint(200, 12000)
        else:
            status = int(failure)
            body = json.dumps({"error": {"message": f"the demo vendor says {status}"}})
            latency = ttft + self._random.randint(1, 40)
        return {"latency_ms": latency, "ttft_ms": ttft, "failed": True, "status": status, "error_body": body}

    def _served(self, event: Event) -> dict[str, Any]:
        codex = event.credential.provider == "codex"
        if codex and self._random.random() < _PREWARM_SHARE:
            # A prewarm of the Responses API: no tokens, and no user's request.
            return {"latency_ms": 180, "ttft_ms": 150, "generate": False}
        tokens = self._tokens(event.credential)
        ttft = self._random.randint(250, 2800)
        has_priority = codex and self._random.random() < _PRIORITY_SHARE
        contradicts = event.credential.provider == "openrouter" and tokens.reasoning > 0
        return {
            "latency_ms": ttft + int(tokens.output * 12.5),
            # CPA does not measure plain answers: it sends 0.
            "ttft_ms": ttft if event.stream else 0,
            "tokens": tokens,
            "inconsistent": contradicts and self._random.random() < _INCONSISTENT_SHARE,
            "service_tier": "priority" if has_priority else "auto",
        }

    def _tokens(self, credential: Credential) -> Tokens:
        draw = self._random
        uncached = 1 + int(draw.lognormvariate(6.9, 1.0))
        cache_read = int(draw.lognormvariate(9.4, 0.9)) if draw.random() < 0.65 else 0
        cache_write = int(draw.lognormvariate(7.2, 0.9)) if draw.random() < 0.35 else 0
        if draw.random() < _LONG_CONTEXT_SHARE:
            cache_read += draw.randint(200_001, 600_000)
        output = 1 + min(int(draw.lognormvariate(6.2, 0.9)), 16_000)
        reasoning = int(output * draw.uniform(0.1, 0.8)) if draw.random() < 0.5 else 0
        if credential.family == "gemini":
            cache_write = 0  # Google's answers name no cache writes
        return Tokens(
            uncached=uncached, cache_read=cache_read, cache_write=cache_write, output=output, reasoning=reasoning
        )

    def _next_credential(self, credential: Credential, model: Model) -> Credential:
        """The account for a failover: another one of the provider with the model, or else the same one again."""
        others = [
            other
            for other in self.credentials
            if other.share
            and other is not credential
            and (other.provider, other.kind) == (credential.provider, credential.kind)
            and model.name in {served.name for served in other.models}
        ]
        return self._random.choice(others) if others else credential

    @staticmethod
    def _end_at(events: list[Event], ending: float) -> None:
        """Place the attempts one after another; the last one ends at ``ending``."""
        for position in range(len(events) - 1, -1, -1):
            started = round(ending - events[position].latency_ms / 1000, 6)
            events[position] = replace(events[position], started=started)
            ending = started - 0.001

    def _image_extra(self, event: Event) -> Event:
        """The second record of Codex's image tool: same request, start and headers, but the image model's tokens."""
        tokens = Tokens(uncached=self._random.randint(40, 200), output=self._random.randint(700, 1800))
        return replace(event, model=IMAGE_MODEL, tokens=tokens, inconsistent=False)


def _fails_with(credential: Credential, failure: str) -> bool:
    if failure == "401":
        return credential.name in {"codex-dave", "openrouter-key"}
    if failure == "529":
        return credential.provider == "claude"
    if failure == "canceled":
        return credential.provider != "codex"  # CPA leaves no record when a Codex client hangs up
    return True
