"""What CPA reports about a credential beyond what the exporter reads: ten-minute buckets, paths and times."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from functools import cache
from typing import Any

from exporter.simulator.proxy import Account
from exporter.simulator.wire import Event, go_timestamp
from exporter.simulator.world import AUTH_DIR

_BUCKET_SECONDS = 600
_BUCKETS = 20


@dataclass
class SteeredAccount(Account):
    """Counts since the proxy started, including attempts with discarded records."""

    created: float = 0.0
    updated: float = 0.0
    _successes: Counter[int] = field(default_factory=Counter)
    _failures: Counter[int] = field(default_factory=Counter)

    def note(self, event: Event) -> None:
        super().note(event)
        self.updated = max(self.updated, event.ended)
        (self._failures if event.failed else self._successes)[int(event.ended // _BUCKET_SECONDS)] += 1

    def as_auth_file(self, now: float, zone: tzinfo) -> dict[str, Any]:
        """All fields, in the order of CPA's answer."""
        credential, entry = self.credential, super().as_auth_file(now, zone)
        if "id_token" in entry:
            entry["id_token"] |= {
                "chatgpt_subscription_active_start": "2026-08-01T00:00:00+00:00",
                "chatgpt_subscription_active_until": "2027-08-01T00:00:00+00:00",
            }
        entry |= {
            "created_at": go_timestamp(self.created, zone),
            "disabled": False,
            "id": credential.file_name,
            "label": credential.email or credential.provider,
            "modtime": go_timestamp(self.created, zone),
            "path": f"{AUTH_DIR}/{credential.file_name}",
            "recent_requests": self.recent_requests(now, zone),
            "runtime_only": False,
            "size": 400,
            "source": "file",
            "type": credential.provider,
            "updated_at": go_timestamp(max(self.updated, self.created), zone),
        }
        if credential.email:
            entry["account"] = credential.email
        return dict(sorted(entry.items()))

    def recent_requests(self, now: float, zone: tzinfo) -> list[dict[str, Any]]:
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


def add_recent_requests(
    usage: dict[str, dict[str, Any]], accounts: Iterable[Account], now: float, zone: tzinfo
) -> None:
    """Add to each key's counts in ``/api-key-usage`` what it was used for lately."""
    for account in accounts:
        assert isinstance(account, SteeredAccount)
        key = account.credential
        counts = usage.get(key.provider, {}).get(f"{key.base_url}|{key.key}")
        if counts is not None:
            counts["recent_requests"] = account.recent_requests(now, zone)


@cache
def _hour(bucket: int, zone: tzinfo) -> str:
    return datetime.fromtimestamp(bucket * _BUCKET_SECONDS, zone).strftime("%H:%M")
