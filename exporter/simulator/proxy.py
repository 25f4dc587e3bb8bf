"""The state of the demo proxy: records that a client really pops, and the counts of credentials.

Thread-safe. Timestamps come from the clock's ``now``, retention and bans use its ``monotonic``.
"""

import threading
from collections.abc import Iterable
from datetime import tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from exporter.clock import Clock
from exporter.simulator.accounts import Account
from exporter.simulator.logins import Logins
from exporter.simulator.options import DEFAULT_VERSION, VERSIONS, has_usage
from exporter.simulator.snapshot import UsageSnapshot
from exporter.simulator.traffic import IMAGE_MODEL
from exporter.simulator.waiting_records import Item, WaitingRecords
from exporter.simulator.wire import Event, usage_detail, wire_record
from exporter.simulator.world import CLIENTS, CREDENTIALS, MANAGEMENT_KEY, Client, Credential

_ZONE_OF_OFFICIAL_IMAGE = "Asia/Shanghai"


class DemoProxy:
    """A simulated CPA server without its sockets. ``version`` decides whether it has ``/usage`` or a queue."""

    def __init__(
        self,
        *,
        key: str = MANAGEMENT_KEY,
        version: str = DEFAULT_VERSION,
        clock: Clock | None = None,
        accounts: tuple[Credential, ...] = CREDENTIALS,
    ) -> None:
        self.version = version
        self.accounts = accounts
        self.zone: tzinfo = ZoneInfo(_ZONE_OF_OFFICIAL_IMAGE)
        self.clock = clock or Clock()
        self.logins = Logins(key=key, clock=self.clock)
        self.publishing = True
        self.waiting = WaitingRecords(self.clock)
        self._lock = threading.RLock()
        self._forget()

    @property
    def has_usage_snapshot(self) -> bool:
        return has_usage(self.version)

    @property
    def has_http_queue(self) -> bool:
        return not self.has_usage_snapshot

    @property
    def has_v8_paths(self) -> bool:
        return self.version == VERSIONS["8"]

    @property
    def clients(self) -> tuple[Client, ...]:
        """The clients whose keys it knows."""
        return CLIENTS

    def upgrade(self, version: str) -> None:
        """Replace the program with another version, older or newer: a restart, then other routes."""
        with self._lock:
            self.version = version
            self.restart()

    def restart(self) -> None:
        """Restart the process: waiting records, counters, statistics and bans are gone."""
        with self._lock:
            self.waiting.drop()
            self.logins.forget()
            self._forget()

    def _forget(self) -> None:
        self._accounts = {each.name: Account(each, self.clock.now()) for each in self.accounts}
        self._snapshot = UsageSnapshot()

    # --- traffic ------------------------------------------------------------------------------------------------------

    def publish(self, events: Iterable[Event]) -> None:
        """Attempts that ended: the credentials' counts move, and their records are kept."""
        with self._lock:
            for event in events:
                if event.model != IMAGE_MODEL:  # the image tool's record is another record of an attempt
                    self._accounts[event.credential.name].note(event)
                self._keep(event)

    def _keep(self, event: Event) -> None:
        """Keep the attempt's record where a client will find it."""
        if self.has_usage_snapshot:
            self._snapshot.add(event.client.key, event.model, usage_detail(event, self.zone))
        else:
            self.waiting.append(Item(msgspec.json.encode(wire_record(event, self.zone)), self.clock.monotonic()))

    def pop(self, count: int) -> list[Item]:
        """Take out up to ``count`` of the oldest records."""
        with self._lock:
            return self.waiting.pop(count)

    # --- what the server shows ----------------------------------------------------------------------------------------

    def auth_files(self) -> list[dict[str, Any]]:
        """The entries of ``/auth-files``: OAuth accounts, sorted by file name."""
        with self._lock:
            entries = [
                account.as_auth_file(self.clock.now(), self.zone)
                for account in self._accounts.values()
                if account.credential.kind == "oauth"
            ]
        return sorted(entries, key=lambda entry: str(entry["name"]).lower())

    def api_key_usage(self) -> dict[str, dict[str, Any]]:
        """The body of ``/api-key-usage``: counts of the configured keys; raw keys are map keys, as in CPA."""
        body: dict[str, dict[str, Any]] = {}
        with self._lock:
            for account in self._accounts.values():
                credential = account.credential
                if credential.kind == "apikey":
                    name = f"{credential.base_url}|{credential.key}"
                    body.setdefault(credential.provider, {})[name] = account.as_key(self.clock.now(), self.zone)
        return body

    def usage_snapshot(self) -> bytes:
        """The body of ``/usage``."""
        with self._lock:
            return msgspec.json.encode({"failed_requests": self._snapshot.failures, "usage": self._snapshot.usage()})
