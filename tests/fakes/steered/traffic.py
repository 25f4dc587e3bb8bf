"""Seeded traffic whose attempts also carry their record in a version's shape, and the truth about their tokens.

A test can thus compare the exporter's ledger with what really happened.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import tzinfo
from functools import lru_cache
from typing import Any

from exporter.records import Tokens
from exporter.simulator import traffic as simulator
from exporter.simulator.wire import Event
from exporter.simulator.world import CREDENTIALS, Credential
from tests.fakes.steered.records import Shape, in_shape, record_of, visible

TruthKey = tuple[str, str, str]
"""Client name, credential name, model."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One upstream attempt: its wire record, its series, and its exclusive token buckets.

    ``event`` is ``None`` for a detail imported from elsewhere.
    """

    record: dict[str, Any]
    client: str
    credential: str
    auth_index: str
    model: str
    tokens: Tokens
    failed: bool
    status: int
    error_body: str
    ended: float
    event: Event | None = None

    @property
    def key(self) -> TruthKey:
        return (self.client, self.credential, self.model)


@lru_cache(maxsize=4096)  # traffic is made for a test, and soon after that published
def attempt_of(event: Event, *, shape: Shape, zone: tzinfo) -> Attempt:
    """An event with the record of it that a server of that shape and zone writes."""
    event = in_shape(event, shape)
    return Attempt(
        record=record_of(event, shape=shape, zone=zone),
        client=event.client.name,
        credential=event.credential.name,
        auth_index=event.credential.auth_index,
        model=event.model,
        tokens=visible(event, shape),
        failed=event.failed,
        status=event.status,
        error_body=event.error_body,
        ended=event.ended,
        event=event,
    )


class Traffic:
    """The demo's traffic. Requests go to ``credentials``; they and ``shape`` may change at any time."""

    def __init__(self, *, seed: int, zone: tzinfo, shape: Shape = "7.2") -> None:
        self.credentials: tuple[Credential, ...] = CREDENTIALS
        self.shape: Shape = shape
        self._zone = zone
        self._traffic = simulator.Traffic(seed=seed, zone=zone)

    def batch(self, count: int, *, ending: float, span_seconds: float = 600.0) -> list[Attempt]:
        """Exactly ``count`` attempts that ended in the span before ``ending``, in order of their ends."""
        return self._recorded(self._events().batch(count, ending=ending, span_seconds=span_seconds))

    def request(self, *, ending: float) -> list[Attempt]:
        """All attempts of one client request; the last one ends at ``ending``."""
        return self._recorded(self._events().request(ending=ending))

    def steady(self, *, since: float, until: float) -> list[Attempt]:
        """The requests of a scheduled job that ended in this span."""
        return self._recorded(self._events().steady(since=since, until=until))

    def _events(self) -> simulator.Traffic:
        self._traffic.credentials = self.credentials
        return self._traffic

    def _recorded(self, events: Iterable[Event]) -> list[Attempt]:
        return [attempt_of(event, shape=self.shape, zone=self._zone) for event in events]
