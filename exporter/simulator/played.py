"""Turns an attempt into what a server of some version records, whatever version the traffic was made for."""

from dataclasses import replace
from datetime import tzinfo
from typing import Any

from exporter.simulator.traffic import Attempt, attempt_of
from exporter.simulator.versions import VersionNumber
from exporter.simulator.wire import Shape


def as_played(
    attempt: Attempt,
    *,
    version: VersionNumber,
    shape: Shape,
    zone: tzinfo,
    auth_index: str | int,
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
    # Up to v6.6 the statistics list a configured key's model under the name that the client sent.
    if legacy and version < (6, 7, 0) and event.credential.kind == "apikey":
        changes["model"] = event.alias
    if not changes:
        return attempt
    return replace(
        attempt,
        record=attempt.record | changes,
        auth_index=str(auth_index),
        model=changes.get("model", attempt.model),
    )
