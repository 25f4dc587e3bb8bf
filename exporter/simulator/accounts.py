"""CPA's data about each credential: its own counts, ten-minute buckets and the state after the last result."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any

from exporter.simulator.quotas import FIVE_HOURS
from exporter.simulator.traffic import Attempt
from exporter.simulator.versions import VersionNumber
from exporter.simulator.wire import go_timestamp
from exporter.simulator.world import AUTH_DIR, Credential

_BUCKET_SECONDS = 600
_BUCKETS = 20
# Seconds for which CPA avoids a credential after a failure with that status.
_COOLDOWNS = {401: 1800, 403: 1800, 429: 30, 500: 60, 529: 60}
_TOO_LONG_SECONDS = 8 * 3600
"""After the reset of its window, for the account that cools too long."""
_FIELDS_SINCE: dict[str, VersionNumber] = {
    "auth_index": (6, 3, 56),
    "id_token": (6, 6, 66),
    "next_retry_after": (6, 8, 31),
    "recent_requests": (6, 9, 46),
    "success": (6, 9, 49),
    "failed": (6, 9, 49),
    "project_id": (7, 0, 7),
}


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

    def note(self, attempt: Attempt) -> None:
        """Count the attempt; a success clears the error state, a failure sets it."""
        bucket = int(attempt.ended // _BUCKET_SECONDS)
        self.updated = max(self.updated, attempt.ended)
        if attempt.failed:
            self.failed += 1
            self._failures[bucket] += 1
            self.message = attempt.error_body
            cooldown = _COOLDOWNS.get(attempt.status)
            self.retry_at = attempt.ended + cooldown if cooldown else None
        else:
            self.success += 1
            self._successes[bucket] += 1
            self.message = ""
            self.retry_at = None

    def recent_requests(self, now: float, zone: tzinfo) -> list[dict[str, Any]]:
        """The 20 latest buckets, oldest first; the last one is still running."""
        current = int(now // _BUCKET_SECONDS)
        numbers = range(current - _BUCKETS + 1, current + 1)
        return [
            {
                "time": f"{_hour(number, zone)}-{_hour(number + 1, zone)}",
                "success": self._successes[number],
                "failed": self._failures[number],
            }
            for number in numbers
        ]

    def as_auth_file(
        self, now: float, zone: tzinfo, *, version: VersionNumber, auth_index: str | int
    ) -> dict[str, Any]:
        """A version's entry in ``/auth-files``; fields in the order of CPA's answer."""
        entry = self._newest_auth_file(now, zone, auth_index)
        for name, since in _FIELDS_SINCE.items():
            if version < since:
                entry.pop(name, None)
        if "id_token" in entry and version < (6, 6, 98):
            entry["id_token"] = {name: entry["id_token"][name] for name in ("chatgpt_account_id", "plan_type")}
        # v7.1.0 names no account type without an account.
        if version < (7, 2, 0) and not self.credential.email:
            entry.pop("account_type", None)
        if version < (6, 3, 14):
            return {name: entry[name] for name in ("email", "modtime", "name", "size", "type") if name in entry}
        return entry

    def _newest_auth_file(self, now: float, zone: tzinfo, auth_index: str | int) -> dict[str, Any]:
        credential = self.credential
        entry: dict[str, Any] = {}
        if credential.email:
            entry["account"] = credential.email
        entry |= {
            "account_type": "oauth",
            "auth_index": auth_index,
            "created_at": go_timestamp(self.created, zone),
            "disabled": False,
        }
        if credential.email:
            entry["email"] = credential.email
        entry |= {"failed": self.failed, "id": credential.file_name}
        if credential.provider == "codex":
            entry["id_token"] = {
                "chatgpt_account_id": credential.account_id,
                "chatgpt_subscription_active_start": "2026-08-01T00:00:00+00:00",
                "chatgpt_subscription_active_until": "2027-08-01T00:00:00+00:00",
                "plan_type": credential.plan,
            }
        entry |= {
            "label": credential.email or credential.provider,
            "modtime": go_timestamp(self.created, zone),
            "name": credential.file_name,
        }
        retry_at, message = self.retry_at, self.message
        if credential.trouble == "cools too long":
            retry_at, message = now // FIVE_HOURS * FIVE_HOURS + _TOO_LONG_SECONDS, "usage limit reached"
        if retry_at is not None:
            entry["next_retry_after"] = go_timestamp(retry_at, zone)
        entry["path"] = f"{AUTH_DIR}/{credential.file_name}"
        if credential.project_id:
            entry["project_id"] = credential.project_id
        return entry | {
            "provider": credential.provider,
            "recent_requests": self.recent_requests(now, zone),
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


class Accounts:
    """All credentials of a proxy since it started. Not thread-safe."""

    def __init__(self, started: float, credentials: Iterable[Credential]) -> None:
        self._of = {credential.name: Account(credential, started) for credential in credentials}

    def __getitem__(self, name: str) -> Account:
        return self._of[name]

    def auth_files(
        self, now: float, zone: tzinfo, *, version: VersionNumber, auth_index: Callable[[Credential], str | int]
    ) -> list[dict[str, Any]]:
        """The entries of ``/auth-files``: OAuth accounts, sorted by file name."""
        entries = [
            account.as_auth_file(now, zone, version=version, auth_index=auth_index(account.credential))
            for account in self._of.values()
            if account.credential.kind == "oauth"
        ]
        return sorted(entries, key=lambda entry: str(entry["name"]).lower())

    def api_key_usage(self, now: float, zone: tzinfo, *, version: VersionNumber) -> dict[str, dict[str, Any]]:
        """The body of ``/api-key-usage``: counts of the configured keys; raw keys are map keys, as in CPA.

        Before v6.9.49 it has only the buckets.
        """
        body: dict[str, dict[str, Any]] = {}
        for account in self._of.values():
            credential = account.credential
            if credential.kind != "apikey":
                continue
            of_provider = body.setdefault(credential.provider, {})
            buckets = account.recent_requests(now, zone)
            if version >= (6, 9, 49):
                of_provider[f"{credential.base_url}|{credential.key}"] = {
                    "success": account.success,
                    "failed": account.failed,
                    "recent_requests": buckets,
                }
            else:
                of_provider[credential.key] = buckets
        return body


def _hour(bucket: int, zone: tzinfo) -> str:
    return datetime.fromtimestamp(bucket * _BUCKET_SECONDS, zone).strftime("%H:%M")
