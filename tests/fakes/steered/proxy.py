"""A demo proxy that a test steers: it knows the truth about its traffic, and fails when told to."""

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any

import msgspec

from exporter.clock import Clock
from exporter.simulator.proxy import DemoProxy
from exporter.simulator.queue import Item, RecordQueue
from exporter.simulator.traffic import Attempt
from exporter.simulator.wire import go_timestamp, timestamp
from exporter.simulator.world import Client
from tests.fakes.steered.faults import Fault, FaultKind
from tests.fakes.steered.snapshot import Details, Fingerprint, details_of, fingerprint, merge, reshaped, usage_of_export
from tests.fakes.steered.subscribers import Subscribers
from tests.fakes.steered.truth import Truth, imported_attempt
from tests.fakes.steered.vendors import SteeredVendors


@dataclass(slots=True, eq=False)
class Happening:
    """An attempt that the proxy recorded once, and whether a client has got it."""

    attempt: Attempt
    delivered: bool = False


@dataclass(frozen=True, slots=True)
class KnownItem(Item):
    """An element of the queue with its happening, if traffic made it."""

    happening: Happening | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """What has happened since the proxy was created; its restarts do not reset it.

    For the queue, ``enqueued`` = ``popped`` + ``expired`` + ``dropped`` (by a restart) + ``queued``, and ``popped`` =
    ``delivered`` + ``lost`` + the elements in unfinished answers. ``counted`` attempts went into the legacy statistics,
    and complete answers have ``shown`` that many of them. ``pushed`` counts records per subscriber that got them;
    ``unsent`` were for a subscriber that left, or that the proxy dropped because it did not read.
    """

    enqueued: int
    popped: int
    delivered: int
    lost: int
    expired: int
    dropped: int
    queued: int
    discarded: int
    refused_logins: int
    mutating_calls: int
    counted: int
    shown: int
    restarts: int
    subscribers: int
    pushed: int
    unsent: int


class CountedQueue(RecordQueue):
    """``enqueued`` = ``popped`` + ``expired`` + ``dropped`` + the length."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.enqueued = self.popped = self.expired = self.dropped = 0

    def append(self, item: Item, *, retention: float) -> None:
        super().append(item, retention=retention)
        self.enqueued += 1

    def pop(self, count: int, *, retention: float) -> list[Item]:
        items = super().pop(count, retention=retention)
        self.popped += len(items)
        return items

    def expire(self, retention: float) -> None:
        before = len(self)
        super().expire(retention)
        self.expired += before - len(self)

    def drop(self) -> None:
        self.dropped += len(self)
        super().drop()


class SteeredProxy(DemoProxy):
    """A ``DemoProxy`` with faults on order, subscribers, and ``counts`` and ``truth`` to compare with.

    ``shown_version`` overrides the version in ``X-Cpa-Version`` (own builds say ``dev``; empty: no such header). A fork
    may have kept or lost a source: ``with_usage`` and ``with_queue`` override whether it has ``/usage`` and
    ``/usage-queue``.

    Further settings that may change at any time: ``subscribed`` (an unseen subscriber takes all records),
    ``open_proxy`` (no client keys), ``plugins`` (whether each runs); for ``/usage``: ``details``, ``shuffle_details``
    and ``details_cap`` (keep only the newest of each key and model; ``None``: as the version does).
    """

    vendors: SteeredVendors
    _queue: CountedQueue

    def __init__(
        self,
        *,
        shown_version: str | None = None,
        with_usage: bool | None = None,
        with_queue: bool | None = None,
        **settings: Any,
    ) -> None:
        self._fork = (shown_version, with_usage, with_queue)
        self.subscribed = False
        self.open_proxy = False
        self.plugins: dict[str, bool] = {}
        self.details: Details = "full"
        self.shuffle_details = False
        self.details_cap: int | None = None
        self.requests: Counter[str] = Counter()
        self.lost: list[bytes] = []
        self.subscribers = Subscribers()
        self.truth = Truth()
        self.delivered_truth = Truth()
        self._numbers: Counter[str] = Counter()
        self._faults: list[Fault] = []
        self._always: list[Fault] = []
        self._random = random.Random(0)  # the order of details
        self._clock_shift = 0.0
        self._happenings: dict[Fingerprint, Happening] = {}
        self._recorded: Happening | None = None
        self._undelivered: list[tuple[dict[str, Any], Happening]] = []
        super().__init__(**settings)
        self.vendors = SteeredVendors(self.clock)
        self._queue = CountedQueue(self.clock)

    # --- forks --------------------------------------------------------------------------------------------------------

    @property
    def shown_version(self) -> str:
        return super().shown_version if self._fork[0] is None else self._fork[0]

    @property
    def has_usage_snapshot(self) -> bool:
        return super().has_usage_snapshot if self._fork[1] is None else self._fork[1]

    @property
    def has_http_queue(self) -> bool:
        return super().has_http_queue if self._fork[2] is None else self._fork[2]

    @property
    def clients(self) -> tuple[Client, ...]:
        return () if self.open_proxy else super().clients

    def upgrade(
        self,
        version: str,
        *,
        shown_version: str | None = None,
        with_usage: bool | None = None,
        with_queue: bool | None = None,
    ) -> None:
        """Replace the program with another version, older or newer, or with a fork: a restart, then other routes."""
        with self._lock:
            self._fork = (shown_version, with_usage, with_queue)
            super().upgrade(version)

    # --- traffic ------------------------------------------------------------------------------------------------------

    def _played(self, made: Attempt, auth_index: str | int) -> Attempt:
        attempt, event = super()._played(made, auth_index), made.event
        record = dict(attempt.record)
        if self._clock_shift and event is not None:
            late = replace(event, started=event.started + self._clock_shift)
            record["timestamp"] = timestamp(late, self.shape, self.zone)
        if self.open_proxy:
            record["source"] = "" if record["source"] == record["api_key"] else record["source"]
            record["api_key"] = ""
        return replace(attempt, record=record, client="" if self.open_proxy else attempt.client)

    def _record(self, attempt: Attempt, auth_index: str | int) -> bool:
        self._recorded = Happening(attempt)
        kept = super()._record(attempt, auth_index)
        self._recorded = None
        if kept:
            self.truth.add(attempt)
        else:
            self._numbers["discarded"] += 1
        return kept

    @property
    def _queues(self) -> bool:
        return super()._queues and not self.subscribed

    def _append(self, raw: bytes) -> None:
        """Put a record into the queue, or hand it to all subscribers alone if there are any."""
        item = KnownItem(raw, self.clock.monotonic(), self._recorded)
        if not self.subscribers.publish(item):
            self._queue.append(item, retention=self.effective_retention_seconds)

    def _count(self, key: str, model: str, detail: dict[str, Any]) -> None:
        assert self._recorded is not None
        self._happenings.setdefault(fingerprint(key, model, detail), self._recorded)
        self._add(key, model, detail, self._recorded)
        self._numbers["counted"] += 1

    def _add(self, key: str, model: str, detail: dict[str, Any], happening: Happening) -> None:
        super()._count(key, model, detail)
        self._undelivered.append((detail, happening))

    @property
    def _cap(self) -> int | None:
        return super()._cap if self.details_cap is None else self.details_cap

    def enqueue(self, records: Iterable[Mapping[str, Any] | bytes]) -> None:
        """Put ready wire records, or raw JSON values, into the queue; no credential's count moves."""
        with self._lock:
            for record in records:
                self._append(record if isinstance(record, bytes) else msgspec.json.encode(record))

    def inserted(self, raws: Iterable[bytes]) -> list[Item]:
        """Elements that a fault adds to an answer: they count as enqueued and popped."""
        with self._lock:
            items: list[Item] = [KnownItem(raw, self.clock.monotonic()) for raw in raws]
            self._queue.enqueued += len(items)
            self._queue.popped += len(items)
            return items

    def delivered(self, items: Iterable[Item | Happening]) -> None:
        """The complete answer with these elements or happenings is on its way."""
        with self._lock:
            for item in items:
                self._numbers["shown" if isinstance(item, Happening) else "delivered"] += 1
                self._tell(item)

    def _tell(self, item: Item | Happening) -> None:
        happening = item.happening if isinstance(item, KnownItem) else item
        if isinstance(happening, Happening) and not happening.delivered:
            happening.delivered = True
            self.delivered_truth.add(happening.attempt)

    def lose(self, items: Iterable[Item | Happening]) -> None:
        """The client cannot read the answer with these elements; happenings are in the next one again."""
        with self._lock:
            self.lost += [item.raw for item in items if isinstance(item, Item)]

    def pushed(self, item: Item) -> None:
        """A subscriber has got this record."""
        with self._lock:
            self._tell(item)

    def turn_clock(self, hours: float) -> None:
        """Set the server's clock forward or back: only later timestamps change."""
        with self._lock:
            self._clock_shift += hours * 3600

    def restart(self) -> None:
        with self._lock:
            self.subscribers.drop()
            self._undelivered.clear()
            super().restart()

    # --- cumulative statistics ----------------------------------------------------------------------------------------

    def shown_usage(self) -> tuple[bytes, list[Happening]]:
        """The body of the legacy ``/usage``, and the happenings in it that no client has got yet.

        Without details, its totals show all of them.
        """
        with self._lock:
            self._undelivered = [each for each in self._undelivered if not each[1].delivered]
            kept = {id(detail) for _, _, detail in details_of(self._snapshot.usage())}
            shown = [each for detail, each in self._undelivered if id(detail) in kept or self.details != "full"]
            return self.usage_snapshot(), shown

    def _usage(self) -> dict[str, Any]:
        return reshaped(super()._usage(), self.details, self._random if self.shuffle_details else None)

    def export_usage(self) -> dict[str, Any]:
        """The body of ``/usage/export``, which ``import_usage`` takes."""
        with self._lock:
            at = go_timestamp(self.clock.now() + self._clock_shift, UTC)
            return {"version": 1, "exported_at": at, "usage": self._usage()}

    def import_usage(self, body: Any) -> dict[str, int]:
        """Merge an export, as ``/usage/import`` does; returns its answer.

        Attempts from elsewhere join the ``truth``, which already has this proxy's own. Raises ``ValueError`` with CPA's
        words.
        """
        usage = usage_of_export(body)
        with self._lock:
            return merge(self._snapshot, usage, self._add_imported)

    def _add_imported(self, key: str, model: str, detail: dict[str, Any]) -> None:
        mark = fingerprint(key, model, detail)
        if mark not in self._happenings:
            by_index = {self.auth_index(credential): credential for credential in self.accounts}
            attempt = imported_attempt(key, model, detail, by_index.get(detail.get("auth_index", "")))
            self._happenings[mark] = Happening(attempt)
            self.truth.add(attempt)
        self._add(key, model, detail, self._happenings[mark])

    # --- counts -------------------------------------------------------------------------------------------------------

    def counts(self) -> Counts:
        """All counts at one moment."""
        with self._lock:
            queue, numbers = self._queue, self._numbers
            queue.expire(self.effective_retention_seconds)
            return Counts(
                enqueued=queue.enqueued,
                popped=queue.popped,
                delivered=numbers["delivered"],
                lost=len(self.lost),
                expired=queue.expired,
                dropped=queue.dropped,
                queued=len(queue),
                discarded=numbers["discarded"],
                refused_logins=self.door.refused_logins,
                mutating_calls=numbers["mutating"],
                counted=numbers["counted"],
                shown=numbers["shown"],
                restarts=self._restarts,
                subscribers=len(self.subscribers),
                pushed=self.subscribers.pushed,
                unsent=self.subscribers.unsent,
            )

    def note_request(self, name: str, *, mutating: bool) -> None:
        """Count a call, and whether it would change the proxy; the exporter never makes such a one."""
        with self._lock:
            self.requests[name] += 1
            self._numbers["mutating"] += mutating

    # --- faults -------------------------------------------------------------------------------------------------------

    def fault(self, *, path: str, kind: FaultKind | str, times: int | None = 1, **details: Any) -> None:
        """Order a fault for the next ``times`` calls of a route (``None``: until ``clear_faults``).

        ``path`` is the route's v0 name, or ``*``; ``details`` are the fields of ``Fault``.
        """
        order = Fault(path=path, kind=FaultKind(kind), **details)
        with self._lock:
            if times is None:
                self._always.append(order)
            else:
                self._faults += [order] * times

    def clear_faults(self) -> None:
        with self._lock:
            self._faults.clear()
            self._always.clear()

    def take_fault(self, name: str, *, in_front: bool) -> Fault | None:
        """The oldest order for the route, either in front of the proxy or behind it."""
        with self._lock:
            for order in self._faults:
                if order.path in {name, "*"} and order.kind.in_front == in_front:
                    self._faults.remove(order)
                    return order
            for order in self._always:
                if order.path in {name, "*"} and order.kind.in_front == in_front:
                    return order
            return None
