"""The state of the demo proxy: a queue that really pops, counters, faults, and counts for tests.

It plays any version of CPA from v6.0 on, for people who try the exporter and for its tests, and can change the version
while it runs. Thread-safe. Timestamps come from the clock's ``now``, retention and bans use its ``monotonic``.
"""

import random
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from exporter.clock import Clock, SystemClock
from exporter.simulator.accounts import Accounts
from exporter.simulator.door import Door
from exporter.simulator.faults import Fault, FaultKind
from exporter.simulator.played import as_played, imported_attempt
from exporter.simulator.queue import Counts, Item, RecordQueue
from exporter.simulator.snapshot import (
    Details,
    Fingerprint,
    Happening,
    UsageSnapshot,
    detail_of,
    fingerprint,
    usage_of_export,
)
from exporter.simulator.subscribers import Subscribers
from exporter.simulator.traffic import Attempt, Truth
from exporter.simulator.vendors import Vendors
from exporter.simulator.versions import VersionNumber, has_usage, version_number
from exporter.simulator.wire import Shape, go_timestamp
from exporter.simulator.world import CREDENTIALS, MANAGEMENT_KEY, Credential

_ZONE_OF_OFFICIAL_IMAGE = "Asia/Shanghai"
_MAX_RETENTION_SECONDS = 3600
_DEFAULT_RETENTION_SECONDS = 60


class DemoProxy:
    """A simulated CPA server without its sockets.

    ``version`` decides routes, record shape and answers; ``shown_version`` overrides it in ``X-Cpa-Version`` (own
    builds say ``dev``; empty: no such header). ``zone`` defaults to the official image's. A fork may have kept or lost
    a source: ``with_usage`` and ``with_queue`` override whether the version has ``/usage`` and ``/usage-queue``.
    ``vendors`` are the providers of its ``accounts``.

    Settings that a test may change at any time: ``publishing``, ``subscribed`` (an unseen subscriber takes all
    records), ``management``, ``retention_seconds``, ``door.key``, ``door.allow_remote``, ``without_v0`` (only v8 paths
    are left), ``open_proxy`` (no client keys), ``plugins`` (whether each runs); for ``/usage``: ``details``,
    ``shuffle_details`` and ``details_cap`` (keep only the newest of each key and model; ``None``: as the version does).
    """

    def __init__(
        self,
        *,
        key: str = MANAGEMENT_KEY,
        version: str = "v7.2.140",
        shown_version: str | None = None,
        retention_seconds: int = _DEFAULT_RETENTION_SECONDS,
        zone: tzinfo | None = None,
        clock: Clock | None = None,
        with_usage: bool | None = None,
        with_queue: bool | None = None,
        accounts: tuple[Credential, ...] = CREDENTIALS,
    ) -> None:
        self.accounts = accounts
        self.zone: tzinfo = zone or ZoneInfo(_ZONE_OF_OFFICIAL_IMAGE)
        self.clock = clock or SystemClock()
        self.vendors = Vendors(self.clock)
        self.door = Door(key=key, clock=self.clock)
        self.publishing = True
        self.subscribed = False
        self.management = True
        self.without_v0 = False
        self.open_proxy = False
        self.plugins: dict[str, bool] = {}
        self.details: Details = "full"
        self.shuffle_details = False
        self.details_cap: int | None = None
        self.retention_seconds = retention_seconds
        self.requests: Counter[str] = Counter()
        self.lost: list[bytes] = []
        self.subscribers = Subscribers()
        self.truth = Truth()
        self.delivered_truth = Truth()
        self._lock = threading.RLock()
        self._numbers: Counter[str] = Counter()
        self._faults: list[Fault] = []
        self._always: list[Fault] = []
        self._queue = RecordQueue(self.clock)
        self._random = random.Random(0)  # noqa: S311 the order of details
        self._clock_shift = 0.0
        self._happenings: dict[Fingerprint, Happening] = {}
        self._accounts = Accounts(self.clock.now(), self.accounts)
        self._snapshot = UsageSnapshot()
        self._become(version, shown_version, with_usage, with_queue)

    # --- version ------------------------------------------------------------------------------------------------------

    @property
    def version_number(self) -> VersionNumber:
        return version_number(self.version)

    @property
    def shape(self) -> Shape:
        """The shape of this version's wire records, or of its details if it has nothing else."""
        if self.version_number < (7, 0, 0) or (self.has_usage_snapshot and not self.has_http_queue):
            return "6.10"
        return "7.2" if self.version_number >= (7, 2, 97) else "7.1"

    @property
    def has_http_queue(self) -> bool:
        return self.version_number >= (6, 10, 8) if self._with_queue is None else self._with_queue

    @property
    def has_usage_snapshot(self) -> bool:
        return has_usage(self.version) if self._with_usage is None else self._with_usage

    @property
    def credentials(self) -> tuple[Credential, ...]:
        """The credentials that this version can use for requests."""
        return tuple(each for each in self.accounts if self.version_number >= each.first_version)

    def auth_index(self, credential: Credential) -> str | int:
        """The credential's handle in this version: before v6.6.56 a number, new at each start."""
        if self.version_number < (6, 6, 56):
            return (self.accounts.index(credential) + self._numbers["restarts"]) % len(self.accounts) + 1
        return credential.auth_index_at(self.version_number)

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
            self._become(version, shown_version, with_usage, with_queue)
            self.restart()

    def _become(
        self, version: str, shown_version: str | None, with_usage: bool | None, with_queue: bool | None
    ) -> None:
        self.version = version
        self.shown_version = version if shown_version is None else shown_version
        self._with_usage = with_usage
        self._with_queue = with_queue
        self.door.bans_local = self.version_number >= (6, 9, 38)

    @property
    def effective_retention_seconds(self) -> int:
        """The retention in force: 60 unless positive, and an hour at most."""
        if self.retention_seconds <= 0:
            return _DEFAULT_RETENTION_SECONDS
        return min(self.retention_seconds, _MAX_RETENTION_SECONDS)

    # --- traffic ------------------------------------------------------------------------------------------------------

    def publish(self, attempts: Iterable[Attempt]) -> None:
        """Attempts that ended: the credentials' counts always move; a record stays only where CPA would keep it.

        This version decides the record's form, whatever the traffic was made for; the truth holds what the record
        reveals. The traffic has to choose credentials that the version can use.
        """
        with self._lock:
            for made in attempts:
                index = self.auth_index(self._accounts[made.credential].credential)
                attempt = as_played(
                    made,
                    version=self.version_number,
                    shape=self.shape,
                    zone=self.zone,
                    auth_index=index,
                    clock_shift=self._clock_shift,
                    open_proxy=self.open_proxy,
                    legacy=self.has_usage_snapshot,
                )
                self._accounts[attempt.credential].note(attempt)
                self._record(attempt, index)

    def _record(self, attempt: Attempt, auth_index: str | int) -> None:
        queues = self.has_http_queue or not self.has_usage_snapshot
        into_queue = queues and self.publishing and self.management and not self.subscribed
        into_usage = self.has_usage_snapshot and self.publishing and self._counts(attempt)
        if not into_queue and not into_usage:
            self._numbers["discarded"] += 1
            return
        happening = Happening(attempt)
        self.truth.add(attempt)
        if into_queue:
            self._append(msgspec.json.encode(attempt.record), happening)
        if into_usage:
            record = attempt.record
            key = record["api_key"] or record["endpoint"] or record["provider"] or "unknown"
            detail = detail_of(record, self.version_number, auth_index)
            self._happenings.setdefault(fingerprint(key, record["model"], detail), happening)
            self._snapshot.add(key, record["model"], detail, happening, cap=self._cap)
            self._numbers["counted"] += 1

    def _counts(self, attempt: Attempt) -> bool:
        """Up to v6.2.25 CPA counted only attempts with token counts."""
        return self.version_number >= (6, 2, 26) or bool(attempt.record["tokens"]["total_tokens"])

    @property
    def _cap(self) -> int | None:
        by_version = 1000 if self.version_number == (6, 6, 96) else None
        return by_version if self.details_cap is None else self.details_cap

    def enqueue(self, records: Iterable[Mapping[str, Any] | bytes]) -> None:
        """Put ready wire records, or raw JSON values, into the queue; no credential's count moves."""
        with self._lock:
            for record in records:
                self._append(record if isinstance(record, bytes) else msgspec.json.encode(record), None)

    def pop(self, count: int) -> list[Item]:
        """Take out up to ``count`` of the oldest elements. The caller reports each to ``delivered`` or ``lose``."""
        with self._lock:
            return self._queue.pop(count, retention=self.effective_retention_seconds)

    def inserted(self, raws: Iterable[bytes]) -> list[Item]:
        """Elements that a fault adds to an answer: they count as enqueued and popped."""
        with self._lock:
            return self._queue.pass_through(list(raws))

    def delivered(self, items: Iterable[Item | Happening]) -> None:
        """The complete answer with these elements or happenings is on its way."""
        with self._lock:
            for item in items:
                self._numbers["delivered" if isinstance(item, Item) else "shown"] += 1
                self._tell(item.happening if isinstance(item, Item) else item)

    def _tell(self, happening: Happening | None) -> None:
        if happening is not None and not happening.delivered:
            happening.delivered = True
            self.delivered_truth.add(happening.attempt)

    def lose(self, items: Iterable[Item | Happening]) -> None:
        """The client cannot read the answer with these elements; happenings are in the next one again."""
        with self._lock:
            self.lost += [item.raw for item in items if isinstance(item, Item)]

    def pushed(self, item: Item) -> None:
        """A subscriber has got this record."""
        with self._lock:
            self._tell(item.happening)

    def turn_clock(self, hours: float) -> None:
        """Set the server's clock forward or back: only later timestamps change."""
        with self._lock:
            self._clock_shift += hours * 3600

    def restart(self) -> None:
        """Restart the process: queue, counters, statistics and bans are gone."""
        with self._lock:
            self._numbers["restarts"] += 1
            self._queue.drop()
            self.subscribers.drop()
            self._accounts = Accounts(self.clock.now(), self.accounts)
            self._snapshot = UsageSnapshot()
            self.door.forget()

    # --- what the server shows ----------------------------------------------------------------------------------------

    def auth_files(self) -> list[dict[str, Any]]:
        """The entries of ``/auth-files``: OAuth accounts, sorted by file name."""
        with self._lock:
            return self._accounts.auth_files(
                self.clock.now(), self.zone, version=self.version_number, auth_index=self.auth_index
            )

    def api_key_usage(self) -> dict[str, dict[str, Any]]:
        """The body of ``/api-key-usage``."""
        with self._lock:
            return self._accounts.api_key_usage(self.clock.now(), self.zone, version=self.version_number)

    def usage_snapshot(self) -> tuple[bytes, list[Happening]]:
        """The body of the legacy ``/usage``, and the happenings in it that no client has got yet."""
        with self._lock:
            body: dict[str, Any] = {"usage": self._usage()}
            if self.version_number >= (6, 2, 26):
                body = {"failed_requests": self._snapshot.failures} | body
            return msgspec.json.encode(body), self._snapshot.shown(self.details)

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
            return self._snapshot.merge(usage, self._known, cap=self._cap)

    def _known(self, key: str, model: str, detail: dict[str, Any]) -> Happening:
        mark = fingerprint(key, model, detail)
        if mark not in self._happenings:
            by_index = {self.auth_index(credential): credential for credential in self.accounts}
            attempt = imported_attempt(key, model, detail, by_index.get(detail.get("auth_index", "")))
            self._happenings[mark] = Happening(attempt)
            self.truth.add(attempt)
        return self._happenings[mark]

    def _usage(self) -> dict[str, Any]:
        shuffled = self._random if self.shuffle_details else None
        return self._snapshot.usage(details=self.details, shuffled=shuffled)

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
                restarts=numbers["restarts"],
                subscribers=len(self.subscribers),
                pushed=self.subscribers.pushed,
                unsent=self.subscribers.unsent,
            )

    def note_request(self, name: str) -> None:
        with self._lock:
            self.requests[name] += 1

    def note_mutating_call(self) -> None:
        """Count a call that would change the proxy; the exporter never makes one."""
        with self._lock:
            self._numbers["mutating"] += 1

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

    # --- inside -------------------------------------------------------------------------------------------------------

    def _append(self, raw: bytes, happening: Happening | None) -> None:
        """Put a record into the queue, or hand it to all subscribers alone if there are any."""
        item = Item(raw, happening, self.clock.monotonic())
        if not self.subscribers.publish(item):
            self._queue.append(item, retention=self.effective_retention_seconds)
