"""Turns an attempt into what a server of some version records, whatever version the traffic was made for."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, tzinfo
from typing import Any

from exporter.records import Tokens
from exporter.simulator.traffic import Attempt, attempt_of
from exporter.simulator.versions import VersionNumber
from exporter.simulator.wire import Shape, timestamp
from exporter.simulator.world import CLIENTS, Credential

_CLIENT_NAMES = {client.key: client.name for client in CLIENTS}


def as_played(
    attempt: Attempt,
    *,
    version: VersionNumber,
    shape: Shape,
    zone: tzinfo,
    auth_index: str | int,
    clock_shift: float,
    open_proxy: bool,
    legacy: bool,
) -> Attempt:
    """The attempt with that server's record and truth; ``legacy``: it goes into cumulative statistics."""
    event = attempt.event
    if event is None:
        return attempt
    if attempt.shape != shape or attempt.zone != zone:
        attempt = attempt_of(event, shape=shape, zone=zone)
    changes: dict[str, Any] = {}
    if auth_index != attempt.auth_index:
        changes["auth_index"] = auth_index
    if clock_shift:
        changes["timestamp"] = timestamp(event, shape, zone, shift=clock_shift)
    if open_proxy:
        changes["api_key"] = ""
        if attempt.record["source"] == event.client.key:
            changes["source"] = ""
    # Up to v6.6 the statistics list a configured key's model under the name that the client sent.
    if legacy and version < (6, 7, 0) and event.credential.kind == "apikey":
        changes["model"] = event.alias
    if not changes:
        return attempt
    return replace(
        attempt,
        record=attempt.record | changes,
        auth_index=str(auth_index),
        client="" if open_proxy else attempt.client,
        model=changes.get("model", attempt.model),
    )


def imported_attempt(key: str, model: str, detail: Mapping[str, Any], credential: Credential | None) -> Attempt:
    """The attempt behind another server's imported detail, without a credential if its handle is unknown."""
    raw: Mapping[str, int] = detail["tokens"]
    output, reasoning, cached = raw["output_tokens"], raw["reasoning_tokens"], raw["cached_tokens"]
    family = credential.family if credential is not None else "openai"
    uncached = raw["input_tokens"] if family == "claude" else max(raw["input_tokens"] - cached, 0)
    started = datetime.fromisoformat(detail["timestamp"]).timestamp()
    failed = bool(detail.get("failed"))
    return Attempt(
        record={},
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
