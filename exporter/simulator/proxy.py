"""The state of the demo proxy: a queue that really pops, and the counts of credentials.

It plays any version of CPA from v6.0 on, for people who try the exporter and for its tests, and can change the version
while it runs. Thread-safe. Timestamps come from the clock's ``now``, retention and bans use its ``monotonic``.
"""

import threading
from collections.abc import Iterable
from datetime import tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from exporter.clock import Clock, SystemClock
from exporter.simulator.accounts import Accounts
from exporter.simulator.door import Door
from exporter.simulator.played import as_played
from exporter.simulator.queue import Item, RecordQueue
from exporter.simulator.snapshot import UsageSnapshot, detail_of
from exporter.simulator.traffic import IMAGE_MODEL, Attempt
from exporter.simulator.vendors import Vendors
from exporter.simulator.versions import VersionNumber, has_usage, version_number
from exporter.simulator.wire import Shape
from exporter.simulator.world import CLIENTS, CREDENTIALS, MANAGEMENT_KEY, Client, Credential

_ZONE_OF_OFFICIAL_IMAGE = "Asia/Shanghai"
_MAX_RETENTION_SECONDS = 3600
_DEFAULT_RETENTION_SECONDS = 60


class DemoProxy:
    """A simulated CPA server without its sockets.

    ``version`` decides routes, record shape and answers. ``zone`` defaults to the official image's. ``vendors`` are the
    providers of its ``accounts``.

    Settings that may change at any time: ``publishing``, ``management``, ``retention_seconds``, ``door.key``,
    ``door.allow_remote``, ``without_v0`` (only v8 paths are left).
    """

    def __init__(
        self,
        *,
        key: str = MANAGEMENT_KEY,
        version: str = "v7.2.140",
        retention_seconds: int = _DEFAULT_RETENTION_SECONDS,
        zone: tzinfo | None = None,
        clock: Clock | None = None,
        accounts: tuple[Credential, ...] = CREDENTIALS,
    ) -> None:
        self.accounts = accounts
        self.zone: tzinfo = zone or ZoneInfo(_ZONE_OF_OFFICIAL_IMAGE)
        self.clock = clock or SystemClock()
        self.vendors = Vendors(self.clock)
        self.door = Door(key=key, clock=self.clock)
        self.publishing = True
        self.management = True
        self.without_v0 = False
        self.retention_seconds = retention_seconds
        self._lock = threading.RLock()
        self._restarts = 0
        self._queue = RecordQueue(self.clock)
        self._accounts = Accounts(self.clock.now(), self.accounts)
        self._snapshot = UsageSnapshot()
        self._become(version)

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
        return self.version_number >= (6, 10, 8)

    @property
    def has_usage_snapshot(self) -> bool:
        return has_usage(self.version)

    @property
    def shown_version(self) -> str:
        """The version that its answers name in ``X-Cpa-Version``; empty: they have no such header."""
        return self.version

    @property
    def credentials(self) -> tuple[Credential, ...]:
        """The credentials that this version can use for requests."""
        return tuple(each for each in self.accounts if self.version_number >= each.first_version)

    @property
    def clients(self) -> tuple[Client, ...]:
        """The clients whose keys it knows."""
        return CLIENTS

    def auth_index(self, credential: Credential) -> str | int:
        """The credential's handle in this version: before v6.6.56 a number, new at each start."""
        if self.version_number < (6, 6, 56):
            return (self.accounts.index(credential) + self._restarts) % len(self.accounts) + 1
        return credential.auth_index_at(self.version_number)

    def upgrade(self, version: str) -> None:
        """Replace the program with another version, older or newer: a restart, then other routes."""
        with self._lock:
            self._become(version)
            self.restart()

    def _become(self, version: str) -> None:
        self.version = version
        self.door.bans_local = self.version_number >= (6, 9, 38)

    @property
    def effective_retention_seconds(self) -> int:
        """The retention in force: 60 unless positive, and an hour at most."""
        if self.retention_seconds <= 0:
            return _DEFAULT_RETENTION_SECONDS
        return min(self.retention_seconds, _MAX_RETENTION_SECONDS)

    # --- traffic ------------------------------------------------------------------------------------------------------

    def publish(self, attempts: Iterable[Attempt]) -> None:
        """Attempts that ended: the credentials' counts move; a record stays only where CPA would keep it.

        This version decides the record's form, whatever the traffic was made for. The traffic has to choose credentials
        that the version can use.
        """
        with self._lock:
            for made in attempts:
                index = self.auth_index(self._accounts[made.credential].credential)
                attempt = self._played(made, index)
                if attempt.model != IMAGE_MODEL:  # the image tool's record is another record of an attempt
                    self._accounts[attempt.credential].note(attempt)
                self._record(attempt, index)

    def _played(self, made: Attempt, auth_index: str | int) -> Attempt:
        return as_played(
            made,
            version=self.version_number,
            shape=self.shape,
            zone=self.zone,
            auth_index=auth_index,
            legacy=self.has_usage_snapshot,
        )

    def _record(self, attempt: Attempt, auth_index: str | int) -> bool:
        """Keep the attempt's record where CPA would; whether it is kept anywhere."""
        queues = self.publishing and self.management and self._queues
        counts = self.publishing and self.has_usage_snapshot and self._counts(attempt)
        record = attempt.record
        if queues:
            self._append(msgspec.json.encode(record))
        if counts:
            key = record["api_key"] or record["endpoint"] or record["provider"] or "unknown"
            self._count(key, record["model"], detail_of(record, self.version_number, auth_index))
        return queues or counts

    @property
    def _queues(self) -> bool:
        return self.has_http_queue or not self.has_usage_snapshot

    def _append(self, raw: bytes) -> None:
        self._queue.append(Item(raw, self.clock.monotonic()), retention=self.effective_retention_seconds)

    def _count(self, key: str, model: str, detail: dict[str, Any]) -> None:
        self._snapshot.add(key, model, detail, cap=self._cap)

    def _counts(self, attempt: Attempt) -> bool:
        """Up to v6.2.25 CPA counted only attempts with token counts."""
        return self.version_number >= (6, 2, 26) or bool(attempt.record["tokens"]["total_tokens"])

    @property
    def _cap(self) -> int | None:
        return 1000 if self.version_number == (6, 6, 96) else None

    def pop(self, count: int) -> list[Item]:
        """Take out up to ``count`` of the oldest elements."""
        with self._lock:
            return self._queue.pop(count, retention=self.effective_retention_seconds)

    def restart(self) -> None:
        """Restart the process: queue, counters, statistics and bans are gone."""
        with self._lock:
            self._restarts += 1
            self._queue.drop()
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

    def usage_snapshot(self) -> bytes:
        """The body of the legacy ``/usage``."""
        with self._lock:
            body: dict[str, Any] = {"usage": self._usage()}
            if self.version_number >= (6, 2, 26):
                body = {"failed_requests": self._snapshot.failures} | body
            return msgspec.json.encode(body)

    def _usage(self) -> dict[str, Any]:
        return self._snapshot.usage()
