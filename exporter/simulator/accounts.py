"""What CPA knows of one of its credentials: its own counts, ten-minute buckets and the state after the last result."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any

from exporter.simulator.quotas import FIVE_HOURS
from exporter.simulator.wire import Event, go_timestamp
from exporter.simulator.world import AUTH_DIR, Credential

_BUCKET_SECONDS = 600
_BUCKETS = 20
# Seconds for which CPA avoids a credential after a failure with that status.
_COOLDOWNS = {401: 1800, 403: 1800, 429: 30, 500: 60, 529: 60}
_TOO_LONG_SECONDS = 8 * 3600
"""After the reset of its window, for the account that cools too long."""


@dataclass(slots=True)
class Account:
    """Counts since the proxy started, including attempts with discarded records."""

    credential: Credential
    created: float
    success: int = 0
    failed: int = 0
    message: str = ""
    retry_at: float | None = None
    updated: float = 0.0
    _successes: Counter[int] = field(default_factory=Counter)
    _failures: Counter[int] = field(default_factory=Counter)

    def note(self, event: Event) -> None:
        """Count the attempt; a success clears the error state, a failure sets it."""
        bucket = int(event.ended // _BUCKET_SECONDS)
        self.updated = max(self.updated, event.ended)
        self.message = event.error_body
        self.retry_at = None
        if event.failed:
            self.failed += 1
            self._failures[bucket] += 1
            if event.status in _COOLDOWNS:
                self.retry_at = event.ended + _COOLDOWNS[event.status]
        else:
            self.success += 1
            self._successes[bucket] += 1

    def as_key(self, now: float, zone: tzinfo) -> dict[str, Any]:
        """A configured key's entry in ``/api-key-usage``."""
        return {"success": self.success, "failed": self.failed, "recent_requests": self._recent_requests(now, zone)}

    def as_auth_file(self, now: float, zone: tzinfo) -> dict[str, Any]:
        """An account's entry in ``/auth-files``; fields in the order of CPA's answer."""
        credential = self.credential
        retry_at, message = self.retry_at, self.message
        if credential.trouble == "cools too long":
            retry_at, message = now // FIVE_HOURS * FIVE_HOURS + _TOO_LONG_SECONDS, "usage limit reached"
        id_token = {
            "chatgpt_account_id": credential.account_id,
            "chatgpt_subscription_active_start": "2026-08-01T00:00:00+00:00",
            "chatgpt_subscription_active_until": "2027-08-01T00:00:00+00:00",
            "plan_type": credential.plan,
        }
        entry = {
            "account": credential.email or None,
            "account_type": "oauth",
            "auth_index": credential.auth_index,
            "created_at": go_timestamp(self.created, zone),
            "disabled": False,
            "email": credential.email or None,
            "failed": self.failed,
            "id": credential.file_name,
            "id_token": id_token if credential.provider == "codex" else None,
            "label": credential.email or credential.provider,
            "modtime": go_timestamp(self.created, zone),
            "name": credential.file_name,
            "next_retry_after": None if retry_at is None else go_timestamp(retry_at, zone),
            "path": f"{AUTH_DIR}/{credential.file_name}",
            "project_id": credential.project_id or None,
            "provider": credential.provider,
            "recent_requests": self._recent_requests(now, zone),
            "runtime_only": False,
            "size": 400,
            "source": "file",
            "status": "error" if message else "active",
            "status_message": message,
            "success": self.success,
            "type": credential.provider,
            "unavailable": retry_at is not None,
            "updated_at": go_timestamp(max(self.updated, self.created), zone),
        }
        return {name: value for name, value in entry.items() if value is not None}

    def _recent_requests(self, now: float, zone: tzinfo) -> list[dict[str, Any]]:
        """The 20 latest buckets, oldest first; the last one is still running."""
        current = int(now // _BUCKET_SECONDS)
        return [
            {
                "time": f"{_hour(number, zone)}-{_hour(number + 1, zone)}",
                "success": self._successes[number],
                "failed": self._failures[number],
            }
            for number in range(current - _BUCKETS + 1, current + 1)
        ]


def _hour(bucket: int, zone: tzinfo) -> str:
    return datetime.fromtimestamp(bucket * _BUCKET_SECONDS, zone).strftime("%H:%M")
