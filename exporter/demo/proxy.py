"""The state of the demo proxy: a queue that really pops, counters, faults, and counts for whoever watches it.

One implementation serves people who try the exporter and the exporter's own tests. Everything is thread-safe; time
comes from the clock that is passed in: ``now`` for what is shown, ``monotonic`` for retention and bans.
"""

import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from exporter.clock import Clock, SystemClock
from exporter.demo.accounts import Account
from exporter.demo.door import Door
from exporter.demo.faults import Fault, FaultKind
from exporter.demo.snapshot import UsageSnapshot
from exporter.demo.traffic import Attempt, Truth
from exporter.demo.wire import Shape
from exporter.demo.world import CREDENTIALS, MANAGEMENT_KEY

_ZONE_OF_OFFICIAL_IMAGE = "Asia/Shanghai"
_MAX_RETENTION_SECONDS = 3600
_DEFAULT_RETENTION_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Counts:
    """What happened since the demo proxy was created; restarts of the proxy do not reset it.

    ``enqueued`` = ``popped`` + ``expired`` + ``dropped`` (by a restart) + ``queued``, and ``popped`` = ``delivered`` +
    the length of ``lost`` + what an answer that is still being sent holds.
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


@dataclass(frozen=True, slots=True)
class Item:
    """An element of the queue: its bytes, the truth about it if it came from traffic, and when it was enqueued."""

    raw: bytes
    attempt: Attempt | None
    since: float


class DemoProxy:
    """A simulated CPA server without its sockets.

    ``version`` decides routes, record shape and answers; ``shown_version`` is what ``X-Cpa-Version`` says if that is
    to differ (own builds say ``dev``; empty: no such header). ``zone`` is the server's, by default the official
    image's. Settings that a test may change at any time: ``publishing``, ``subscribed`` (a RESP subscriber takes all
    records), ``management``, ``retention_seconds``, ``door.key``, ``door.allow_remote``.
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
    ) -> None:
        self.version = version
        self.shown_version = version if shown_version is None else shown_version
        self.zone: tzinfo = zone or ZoneInfo(_ZONE_OF_OFFICIAL_IMAGE)
        self.clock = clock or SystemClock()
        self.door = Door(key=key, clock=self.clock)
        self.publishing = True
        self.subscribed = False
        self.management = True
        self.retention_seconds = retention_seconds
        self.requests: Counter[str] = Counter()
        self.lost: list[bytes] = []
        self.truth = Truth()
        self.delivered_truth = Truth()
        self._lock = threading.RLock()
        self._numbers: Counter[str] = Counter()
        self._faults: list[Fault] = []
        self._always: list[Fault] = []
        self._queue: deque[Item] = deque()
        self._accounts = self._fresh_accounts()
        self._snapshot = UsageSnapshot()

    # --- version ------------------------------------------------------------------------------------------------------

    @property
    def version_number(self) -> tuple[int, int, int]:
        major, minor, patch = self.version.lstrip("v").split(".")
        return int(major), int(minor), int(patch)

    @property
    def shape(self) -> Shape:
        """The shape of the wire records that this version writes."""
        return "7.2" if self.version_number >= (7, 2, 97) else "7.1"

    @property
    def has_http_queue(self) -> bool:
        return self.version_number >= (6, 10, 8)

    @property
    def has_usage_snapshot(self) -> bool:
        return self.version_number < (6, 10, 0)

    @property
    def effective_retention_seconds(self) -> int:
        """The retention in force: what is not positive becomes 60, more than an hour becomes an hour."""
        if self.retention_seconds <= 0:
            return _DEFAULT_RETENTION_SECONDS
        return min(self.retention_seconds, _MAX_RETENTION_SECONDS)

    # --- traffic ------------------------------------------------------------------------------------------------------

    def publish(self, attempts: Iterable[Attempt]) -> None:
        """Attempts that ended: the credentials' counts always move, a record is kept only as CPA would keep it."""
        with self._lock:
            for attempt in attempts:
                self._accounts[attempt.auth_index].note(attempt)
                if not self.publishing or self.subscribed or not self.management:
                    self._numbers["discarded"] += 1
                elif self.has_usage_snapshot:
                    self._snapshot.add(attempt.record)
                    self.truth.add(attempt)
                else:
                    self._append(msgspec.json.encode(attempt.record), attempt)
                    self.truth.add(attempt)

    def enqueue(self, records: Iterable[Mapping[str, Any] | bytes]) -> None:
        """Put ready wire records, or raw JSON values, into the queue; no credential's count moves."""
        with self._lock:
            for record in records:
                self._append(record if isinstance(record, bytes) else msgspec.json.encode(record), None)

    def pop(self, count: int) -> list[Item]:
        """Take up to ``count`` of the oldest elements out. Each must be reported as ``delivered`` or ``lose``-d."""
        with self._lock:
            self._expire()
            items = [self._queue.popleft() for _ in range(min(count, len(self._queue)))]
            self._numbers["popped"] += len(items)
            return items

    def inserted(self, raws: Iterable[bytes]) -> list[Item]:
        """Elements that a fault adds to an answer: they count as enqueued and popped."""
        with self._lock:
            items = [Item(raw, None, self.clock.monotonic()) for raw in raws]
            self._numbers["enqueued"] += len(items)
            self._numbers["popped"] += len(items)
            return items

    def delivered(self, items: Iterable[Item]) -> None:
        """The answer with these elements is on its way in full."""
        with self._lock:
            for item in items:
                self._numbers["delivered"] += 1
                if item.attempt is not None:
                    self.delivered_truth.add(item.attempt)

    def lose(self, items: Iterable[Item]) -> None:
        """The answer with these elements cannot be read by the client."""
        with self._lock:
            self.lost += [item.raw for item in items]

    def restart(self) -> None:
        """What a restart of the process does: queue, counters, statistics and bans are gone."""
        with self._lock:
            self._numbers["dropped"] += len(self._queue)
            self._queue.clear()
            self._accounts = self._fresh_accounts()
            self._snapshot = UsageSnapshot()
            self.door.forget()

    # --- what the server shows ----------------------------------------------------------------------------------------

    def auth_files(self) -> list[dict[str, Any]]:
        """The entries of ``/auth-files``: OAuth accounts, sorted by file name."""
        with self._lock:
            now = self.clock.now()
            # v7.1.0 names no account type where there is no account.
            typed = self.version_number >= (7, 2, 0)
            entries = [
                account.as_auth_file(now, self.zone, always_typed=typed)
                for account in self._accounts.values()
                if account.credential.kind == "oauth"
            ]
            return sorted(entries, key=lambda entry: str(entry["name"]).lower())

    def api_key_usage(self) -> dict[str, dict[str, Any]]:
        """The body of ``/api-key-usage``: counts of the configuration's keys; raw keys are map keys, as in CPA."""
        body: dict[str, dict[str, Any]] = {}
        with self._lock:
            now = self.clock.now()
            for account in self._accounts.values():
                credential = account.credential
                if credential.kind == "apikey":
                    body.setdefault(credential.provider, {})[f"{credential.base_url}|{credential.key}"] = {
                        "success": account.success,
                        "failed": account.failed,
                        "recent_requests": account.recent_requests(now, self.zone),
                    }
        return body

    def usage_snapshot(self) -> bytes:
        """The body of the legacy ``/usage``."""
        with self._lock:
            return msgspec.json.encode(self._snapshot.as_body())

    def counts(self) -> Counts:
        """All counts at one moment."""
        with self._lock:
            self._expire()
            numbers = self._numbers
            return Counts(
                enqueued=numbers["enqueued"],
                popped=numbers["popped"],
                delivered=numbers["delivered"],
                lost=len(self.lost),
                expired=numbers["expired"],
                dropped=numbers["dropped"],
                queued=len(self._queue),
                discarded=numbers["discarded"],
                refused_logins=self.door.refused_logins,
                mutating_calls=numbers["mutating"],
            )

    def note_request(self, name: str) -> None:
        """Count a call to the route of that v0 name (or to a path that is none)."""
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
        """Forget all orders."""
        with self._lock:
            self._faults.clear()
            self._always.clear()

    def take_fault(self, name: str, *, in_front: bool) -> Fault | None:
        """The oldest order for the route that is in front of the proxy, or behind it."""
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

    def _fresh_accounts(self) -> dict[str, Account]:
        now = self.clock.now()
        return {credential.auth_index: Account(credential, now) for credential in CREDENTIALS}

    def _append(self, raw: bytes, attempt: Attempt | None) -> None:
        self._expire()
        self._queue.append(Item(raw, attempt, self.clock.monotonic()))
        self._numbers["enqueued"] += 1

    def _expire(self) -> None:
        """Drop what is older than the retention in force now; CPA does so at the next append or pop."""
        limit = self.clock.monotonic() - self.effective_retention_seconds
        while self._queue and self._queue[0].since < limit:
            self._queue.popleft()
            self._numbers["expired"] += 1
