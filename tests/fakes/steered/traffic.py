"""Seeded traffic whose attempts also carry their record in a version's shape, and the truth about their tokens.

A test can thus compare the exporter's ledger with what really happened.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from functools import cached_property, partial
from typing import Any

from exporter.records import Tokens
from exporter.simulator import traffic as simulator
from exporter.simulator.wire import Event
from exporter.simulator.world import CREDENTIALS, Credential
from tests.fakes.steered.records import Shape, in_shape, record_of, visible

TruthKey = tuple[str, str, str]
"""Client name, credential name, model."""


@dataclass(frozen=True)
class Attempt:
    """One upstream attempt: its wire record, its series, and its exclusive token buckets.

    ``event`` is ``None`` for a detail imported from elsewhere. ``written`` makes the record when somebody asks for it:
    a proxy that publishes the event writes its own.
    """

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
    written: Callable[[], dict[str, Any]] = field(default=dict, repr=False, compare=False)

    @cached_property
    def record(self) -> dict[str, Any]:
        return self.written()

    @property
    def key(self) -> TruthKey:
        return (self.client, self.credential, self.model)

    def recorded_as(self, changes: dict[str, Any]) -> "Attempt":
        """The attempt with these fields of its record changed: ``auth_index``, maybe ``model``, or no ``api_key``."""
        if changes == {"auth_index": self.auth_index}:
            return self
        return replace(
            self,
            written=lambda: self.record | changes,
            auth_index=str(changes["auth_index"]),
            model=changes.get("model", self.model),
            client="" if "api_key" in changes else self.client,
        )


def attempt_of(event: Event, *, shape: Shape, zone: tzinfo) -> Attempt:
    """An event with the record of it that a server of that shape and zone writes."""
    event = in_shape(event, shape)
    return Attempt(
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
        written=partial(record_of, event, shape=shape, zone=zone),
    )


def alike(attempts: Iterable[Attempt]) -> Iterator[dict[str, Any]]:
    """Endless records: those of ``attempts`` with other request ids. Making new traffic takes ten times as long."""
    for number, attempt in enumerate(itertools.cycle(attempts)):
        yield attempt.record | {"request_id": f"{number:08x}"}


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
