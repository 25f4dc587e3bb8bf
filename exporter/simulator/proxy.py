"""The state of the demo proxy: records to pop, statistics, and the counts of credentials.

Thread-safe. Timestamps come from the clock's ``now``; retention uses its ``monotonic``.
"""

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from exporter.clock import Clock
from exporter.simulator.options import DEFAULT_VERSION, has_usage
from exporter.simulator.quotas import FIVE_HOURS
from exporter.simulator.wire import IMAGE_MODEL, Event, go_timestamp, usage_detail, wire_record
from exporter.simulator.world import CREDENTIALS, MANAGEMENT_KEY, Credential

_ZONE_OF_OFFICIAL_IMAGE = "Asia/Shanghai"
# Seconds for which CPA avoids a credential after a failure with that status.
_COOLDOWNS = {401: 1800, 403: 1800, 429: 30, 500: 60, 529: 60}
_TOO_LONG_SECONDS = 8 * 3600
"""After the reset of its window, for the account that cools too long."""


@dataclass(frozen=True, slots=True)
class Item:
    """A waiting record: its bytes, and when it began to wait."""

    raw: bytes
    since: float


@dataclass
class Account:
    """What CPA knows of a credential: the counts since CPA started, and the state after the last result."""

    credential: Credential
    success: int = 0
    failed: int = 0
    message: str = ""
    retry_at: float | None = None

    def note(self, event: Event) -> None:
        """Count the attempt; a success clears the error state, a failure sets it."""
        self.message = event.error_body
        self.retry_at = None
        if event.failed:
            self.failed += 1
            if event.status in _COOLDOWNS:
                self.retry_at = event.ended + _COOLDOWNS[event.status]
        else:
            self.success += 1

    def as_auth_file(self, now: float, zone: tzinfo) -> dict[str, Any]:
        credential, retry_at, message = self.credential, self.retry_at, self.message
        if credential.trouble == "cools too long":
            retry_at, message = now // FIVE_HOURS * FIVE_HOURS + _TOO_LONG_SECONDS, "usage limit reached"
        id_token = {"chatgpt_account_id": credential.account_id, "plan_type": credential.plan}
        entry = {
            "account_type": "oauth",
            "auth_index": credential.auth_index,
            "email": credential.email or None,
            "failed": self.failed,
            "id_token": id_token if credential.provider == "codex" else None,
            "name": credential.file_name,
            "next_retry_after": None if retry_at is None else go_timestamp(retry_at, zone),
            "project_id": credential.project_id or None,
            "provider": credential.provider,
            "status": "error" if message else "active",
            "status_message": message,
            "success": self.success,
            "unavailable": retry_at is not None,
        }
        return {name: value for name, value in entry.items() if value is not None}


class DemoProxy:
    """A simulated CPA server without its sockets. ``version`` decides whether it has ``/usage`` or a queue.

    As in CPA, records older than ``retention_seconds`` are dropped at the next record or pop; 60 is CPA's default.
    """

    retention_seconds: int = 60

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
        self.key = key
        self.allow_remote = False
        self._lock = threading.RLock()
        self._forget()

    @property
    def has_usage_snapshot(self) -> bool:
        return has_usage(self.version)

    def upgrade(self, version: str) -> None:
        """Replace the program with another version, older or newer, which starts without records and counts."""
        with self._lock:
            self.version = version
            self._forget()

    def _forget(self) -> None:
        self._accounts = {each.name: Account(each) for each in self.accounts}
        self._waiting: deque[Item] = deque()
        self._details: dict[str, dict[str, list[dict[str, Any]]]] = {}

    # --- traffic ------------------------------------------------------------------------------------------------------

    def publish(self, events: Iterable[Event]) -> None:
        """Count attempts that ended, and keep their records."""
        with self._lock:
            for event in events:
                if event.model != IMAGE_MODEL:  # the image tool's is a second record of one attempt
                    self._accounts[event.credential.name].note(event)
                self._keep(event)

    def _keep(self, event: Event) -> None:
        if self.has_usage_snapshot:
            models = self._details.setdefault(event.client.key, {})
            models.setdefault(event.model, []).append(usage_detail(event, self.zone))
        else:
            self._expire()
            self._waiting.append(Item(msgspec.json.encode(wire_record(event, self.zone)), self.clock.monotonic()))

    def pop(self, count: int) -> list[Item]:
        """Take out up to ``count`` of the oldest records."""
        with self._lock:
            self._expire()
            return [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]

    def _expire(self) -> None:
        limit = self.clock.monotonic() - self.retention_seconds
        while self._waiting and self._waiting[0].since < limit:
            self._waiting.popleft()

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
                    counts = {"success": account.success, "failed": account.failed}
                    body.setdefault(credential.provider, {})[f"{credential.base_url}|{credential.key}"] = counts
        return body

    def usage_snapshot(self) -> bytes:
        with self._lock:
            apis = {
                key: {
                    "models": {
                        name: {
                            "total_requests": len(details),
                            "total_tokens": sum(each["tokens"]["total_tokens"] for each in details),
                            "details": details,
                        }
                        for name, details in models.items()
                    }
                }
                for key, models in self._details.items()
            }
            return msgspec.json.encode({"usage": {"apis": apis}})
