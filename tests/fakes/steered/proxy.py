"""A demo proxy that a test steers: it knows the truth about its traffic, and fails on demand."""

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, tzinfo
from typing import Any

import msgspec

from exporter.simulator.proxy import DemoProxy, Item
from exporter.simulator.wire import Event, go_timestamp
from exporter.simulator.world import CLIENTS, MANAGEMENT_KEY, Client, Credential
from tests.fakes.steered import snapshot
from tests.fakes.steered.accounts import SteeredAccount, add_recent_requests
from tests.fakes.steered.counts import CountedRecords, Counts, Happening, KnownItem
from tests.fakes.steered.faults import Fault, FaultKind
from tests.fakes.steered.logins import SteeredLogins
from tests.fakes.steered.records import Shape, detail_of, in_shape
from tests.fakes.steered.subscribers import Subscribers
from tests.fakes.steered.traffic import Attempt, attempt_of
from tests.fakes.steered.truth import Truth, imported_attempt
from tests.fakes.steered.vendors import SteeredVendors
from tests.fakes.steered.versions import VersionNumber, auth_file_at, auth_index_at, can_call, version_number

_DEFAULT_RETENTION_SECONDS = 60
_MAX_RETENTION_SECONDS = 3600
_BANS_LOCAL: VersionNumber = (6, 9, 38)
"""Up to v6.9.37 CPA banned only callers on other machines."""


class SteeredProxy(DemoProxy):
    """A ``DemoProxy`` of any version, with faults on order, subscribers, and ``counts`` and ``truth`` to compare with.

    ``shown_version`` overrides the version in ``X-Cpa-Version`` (private builds say ``dev``; empty: no such header). A
    fork may have kept or lost a source: ``with_usage`` and ``with_queue`` override whether it has ``/usage`` and
    ``/usage-queue``.

    Further settings that may change at any time: ``publishing``, ``management``, ``retention_seconds``, ``logins.key``,
    ``logins.allow_remote``, ``without_v0`` (only v8 paths are left), ``subscribed`` (an unseen subscriber takes all
    records), ``open_proxy`` (no client keys), ``plugins`` (whether each runs); for ``/usage``: ``details``,
    ``shuffle_details`` and ``details_cap`` (keep only the newest of each key and model; ``None``: as the version
    does).
    """

    def __init__(
        self,
        *,
        key: str = MANAGEMENT_KEY,
        retention_seconds: int = _DEFAULT_RETENTION_SECONDS,
        zone: tzinfo | None = None,
        shown_version: str | None = None,
        with_usage: bool | None = None,
        with_queue: bool | None = None,
        **settings: Any,
    ) -> None:
        self._fork = (shown_version, with_usage, with_queue)
        self.publishing = True
        self.management = True
        self.without_v0 = False
        self.subscribed = False
        self.open_proxy = False
        self.plugins: dict[str, bool] = {}
        self.details: snapshot.Details = "full"
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
        self._random = random.Random(0)  # for the order of details
        self._clock_shift = 0.0
        self._restarts = 0
        self._happenings: dict[snapshot.Fingerprint, Happening] = {}
        self._undelivered: list[tuple[dict[str, Any], Happening]] = []
        super().__init__(**settings)
        self.zone = zone or self.zone
        self.vendors = SteeredVendors(self.clock)
        self.logins = SteeredLogins(key=key, clock=self.clock)
        self.logins.bans_local = self.version_number >= _BANS_LOCAL
        self.waiting = CountedRecords(self.clock, _DEFAULT_RETENTION_SECONDS)
        self.retention_seconds = retention_seconds

    # --- versions and forks -------------------------------------------------------------------------------------------

    @property
    def version_number(self) -> VersionNumber:
        return version_number(self.version)

    @property
    def shown_version(self) -> str:
        """The version that its answers name in ``X-Cpa-Version``; empty: they have no such header."""
        return self.version if self._fork[0] is None else self._fork[0]

    @property
    def has_usage_snapshot(self) -> bool:
        return self.version_number < (6, 10, 0) if self._fork[1] is None else self._fork[1]

    @property
    def has_http_queue(self) -> bool:
        return self.version_number >= (6, 10, 8) if self._fork[2] is None else self._fork[2]

    @property
    def has_v8_paths(self) -> bool:
        return self.version_number >= (8, 0, 0)

    @property
    def shape(self) -> Shape:
        """The shape of this version's wire records, or of its details if it has only those."""
        if self.version_number < (7, 0, 0) or (self.has_usage_snapshot and not self.has_http_queue):
            return "6.10"
        return "7.2" if self.version_number >= (7, 2, 97) else "7.1"

    @property
    def credentials(self) -> tuple[Credential, ...]:
        """The credentials that this version can use for requests."""
        return tuple(each for each in self.accounts if can_call(self.version_number, each))

    def auth_index(self, credential: Credential) -> str | int:
        """The credential's handle in this version: before v6.6.56 a number, new at each start."""
        if self.version_number < (6, 6, 56):
            return (self.accounts.index(credential) + self._restarts) % len(self.accounts) + 1
        return auth_index_at(self.version_number, credential)

    @property
    def retention_seconds(self) -> int:
        """The retention in force: 60 unless a positive one is set, and an hour at most."""
        return self.waiting.retention_seconds

    @retention_seconds.setter
    def retention_seconds(self, wanted: int) -> None:
        kept = min(wanted, _MAX_RETENTION_SECONDS) if wanted > 0 else _DEFAULT_RETENTION_SECONDS
        self.waiting.retention_seconds = kept

    @property
    def clients(self) -> tuple[Client, ...]:
        """The clients whose keys it knows."""
        return () if self.open_proxy else CLIENTS

    def upgrade(
        self,
        version: str,
        *,
        shown_version: str | None = None,
        with_usage: bool | None = None,
        with_queue: bool | None = None,
    ) -> None:
        """Restart the proxy as another version, older or newer, or as a fork, which changes its routes."""
        with self._lock:
            self._fork = (shown_version, with_usage, with_queue)
            self.version = version
            self.restart()
            self.logins.bans_local = self.version_number >= _BANS_LOCAL

    # --- traffic ------------------------------------------------------------------------------------------------------

    def publish(self, events: Iterable[Event | Attempt]) -> None:
        """Record finished attempts in this version's form, whatever version the traffic was made for."""
        happened = (each.event if isinstance(each, Attempt) else each for each in events)
        super().publish(in_shape(event, self.shape) for event in happened if event is not None)

    def _keep(self, event: Event) -> None:
        attempt, index = self._played(event)
        happening = Happening(attempt)
        queues = self.publishing and self.management and (self.has_http_queue or not self.has_usage_snapshot)
        queues = queues and not self.subscribed
        # Up to v6.2.25 CPA counted only attempts with token counts.
        counts = self.version_number >= (6, 2, 26) or bool(attempt.record["tokens"]["total_tokens"])
        counts = counts and self.publishing and self.has_usage_snapshot
        if queues:
            self._append(msgspec.json.encode(attempt.record), happening)
        if counts:
            record = attempt.record
            key = record["api_key"] or record["endpoint"] or record["provider"] or "unknown"
            detail = detail_of(record, self.version_number, index)
            self._happenings.setdefault(snapshot.fingerprint(key, record["model"], detail), happening)
            self._add(key, record["model"], detail, happening)
            self._numbers["counted"] += 1
        if queues or counts:
            self.truth.add(attempt)
        else:
            self._numbers["discarded"] += 1

    def _played(self, event: Event) -> tuple[Attempt, str | int]:
        """The attempt as this version records it, and its credential's handle."""
        attempt, index = attempt_of(event, shape=self.shape, zone=self.zone), self.auth_index(event.credential)
        changes: dict[str, Any] = {"auth_index": index}
        if self._clock_shift:
            late = replace(event, started=event.started + self._clock_shift)
            changes["timestamp"] = attempt_of(late, shape=self.shape, zone=self.zone).record["timestamp"]
        # Up to v6.6 the statistics list a configured key's model under the name that the client sent.
        if self.has_usage_snapshot and self.version_number < (6, 7, 0) and event.credential.kind == "apikey":
            changes["model"] = event.alias
        if self.open_proxy:
            source = attempt.record["source"]
            changes |= {"source": "" if source == event.client.key else source, "api_key": ""}
        return attempt.recorded_as(changes), index

    def pop(self, count: int) -> list[Item]:
        with self._lock:
            return self.waiting.pop(count)

    def _append(self, raw: bytes, happening: Happening | None = None) -> None:
        """Queue a record, or hand it to all subscribers instead if there are any."""
        item = KnownItem(raw, self.clock.monotonic(), happening)
        if not self.subscribers.publish(item):
            self.waiting.append(item)

    def _add(self, key: str, model: str, detail: dict[str, Any], happening: Happening) -> None:
        cap = 1000 if self.version_number == (6, 6, 96) and self.details_cap is None else self.details_cap
        self._snapshot.add(key, model, detail)
        if cap is not None:
            details = self._snapshot.apis[key][model].details
            del details[: max(len(details) - cap, 0)]
        self._undelivered.append((detail, happening))

    def enqueue(self, records: Iterable[Mapping[str, Any] | bytes]) -> None:
        """Put ready wire records, or raw JSON values, into the queue; no credential's count moves."""
        with self._lock:
            for record in records:
                self._append(record if isinstance(record, bytes) else msgspec.json.encode(record))

    def inserted(self, raws: Iterable[bytes]) -> list[Item]:
        """Count the elements that a fault adds to an answer as enqueued and popped, and return them."""
        with self._lock:
            items: list[Item] = [KnownItem(raw, self.clock.monotonic()) for raw in raws]
            self.waiting.enqueued += len(items)
            self.waiting.popped += len(items)
            return items

    def delivered(self, items: Iterable[Item | Happening]) -> None:
        """Note that the complete answer with these elements or happenings is on its way."""
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
        """Note that the client cannot read the answer with these elements; the next one shows its happenings again."""
        with self._lock:
            self.lost += [item.raw for item in items if isinstance(item, Item)]

    def pushed(self, item: Item) -> None:
        """Note that a subscriber has received this record."""
        with self._lock:
            self._tell(item)

    def turn_clock(self, hours: float) -> None:
        """Set the server's clock forward or back; only later timestamps change."""
        with self._lock:
            self._clock_shift += hours * 3600

    def restart(self) -> None:
        """Restart the process: waiting records, counters and statistics are gone."""
        with self._lock:
            self.subscribers.drop()
            self.logins.forget()
            self.waiting.drop()
            self._undelivered.clear()
            self._restarts += 1
            self._forget()

    def _forget(self) -> None:
        self._accounts = {each.name: SteeredAccount(each, created=self.clock.now()) for each in self.accounts}
        self._snapshot = snapshot.UsageSnapshot()

    def auth_files(self) -> list[dict[str, Any]]:
        index = {each.file_name: self.auth_index(each) for each in self.accounts}
        return [
            auth_file_at(self.version_number, entry | {"auth_index": index[entry["name"]]})
            for entry in super().auth_files()
        ]

    def api_key_usage(self) -> dict[str, dict[str, Any]]:
        """The usage of each API key. Before v6.9.49 it has only the buckets."""
        usage = super().api_key_usage()
        add_recent_requests(usage, self._accounts.values(), self.clock.now(), self.zone)
        if self.version_number >= (6, 9, 49):
            return usage
        return {
            provider: {name.split("|")[1]: of_key["recent_requests"] for name, of_key in keys.items()}
            for provider, keys in usage.items()
        }

    # --- cumulative statistics ----------------------------------------------------------------------------------------

    def shown_usage(self) -> tuple[bytes, list[Happening]]:
        """The body of the legacy ``/usage``, and the happenings in it that no client has received yet.

        Without details, its totals show all of them.
        """
        with self._lock:
            self._undelivered = [each for each in self._undelivered if not each[1].delivered]
            kept = {id(detail) for _, _, detail in snapshot.details_of(self._snapshot.usage())}
            shown = [each for detail, each in self._undelivered if id(detail) in kept or self.details != "full"]
            return self.usage_snapshot(), shown

    def usage_snapshot(self) -> bytes:
        with self._lock:
            body: dict[str, Any] = {"usage": self._usage()}
            if self.version_number >= (6, 2, 26):
                body = {"failed_requests": self._snapshot.failures} | body
            return msgspec.json.encode(body)

    def _usage(self) -> dict[str, Any]:
        return snapshot.reshaped(self._snapshot.usage(), self.details, self._random if self.shuffle_details else None)

    def export_usage(self) -> dict[str, Any]:
        """The body of ``/usage/export``, which ``import_usage`` accepts."""
        with self._lock:
            at = go_timestamp(self.clock.now() + self._clock_shift, UTC)
            return {"version": 1, "exported_at": at, "usage": self._usage()}

    def import_usage(self, body: Any) -> dict[str, int]:
        """Merge an export, as ``/usage/import`` does; return its answer.

        Attempts from elsewhere join the ``truth``, which already has this proxy's own. Raises ``ValueError`` with CPA's
        message.
        """
        usage = snapshot.usage_of_export(body)
        with self._lock:
            return snapshot.merge(self._snapshot, usage, self._add_imported)

    def _add_imported(self, key: str, model: str, detail: dict[str, Any]) -> None:
        mark = snapshot.fingerprint(key, model, detail)
        if mark not in self._happenings:
            by_index = {self.auth_index(credential): credential for credential in self.accounts}
            attempt = imported_attempt(key, model, detail, by_index.get(detail.get("auth_index", "")))
            self._happenings[mark] = Happening(attempt)
            self.truth.add(attempt)
        self._add(key, model, detail, self._happenings[mark])

    def counts(self) -> Counts:
        """All counts at one moment."""
        with self._lock:
            queue, numbers = self.waiting, self._numbers
            queue.expire()
            return Counts(
                enqueued=queue.enqueued,
                popped=queue.popped,
                delivered=numbers["delivered"],
                lost=len(self.lost),
                expired=queue.expired,
                dropped=queue.dropped,
                queued=len(queue),
                discarded=numbers["discarded"],
                refused_logins=self.logins.refused_logins,
                mutating_calls=numbers["mutating"],
                counted=numbers["counted"],
                shown=numbers["shown"],
                restarts=self._restarts,
                subscribers=len(self.subscribers),
                pushed=self.subscribers.pushed,
                unsent=self.subscribers.unsent,
            )

    def note_request(self, name: str, *, mutating: bool) -> None:
        """Count a call, and whether it would change the proxy; the exporter never makes such a call."""
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
            orders = self._always if times is None else self._faults
            orders += [order] * (times or 1)

    def clear_faults(self) -> None:
        with self._lock:
            self._faults.clear()
            self._always.clear()

    def take_fault(self, name: str, *, in_front: bool) -> Fault | None:
        """The oldest order for the route, either in front of the proxy or behind it."""
        with self._lock:
            for order in (*self._faults, *self._always):
                if order.path in {name, "*"} and order.kind.in_front == in_front:
                    if order in self._faults:
                        self._faults.remove(order)
                    return order
            return None
