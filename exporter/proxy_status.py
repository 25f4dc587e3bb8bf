"""What is known of a proxy right now: the words for the page, the values for the metrics.

Each poll replaces the whole value, so a reader never sees half of a change.
"""

from dataclasses import dataclass, field

from exporter.normalize.credentials import Account

STATES = (
    "starting",
    "ok",
    "publishing_off",
    "another_consumer",
    "key_refused",
    "banned",
    "remote_disabled",
    "no_key_set",
    "management_off",
    "unreachable",
    "server_error",
    "bad_answer",
    "resp_only",
    "unknown_server",
    "source_gone",
    "unsupported",
    "ledger",
    "internal_error",
    "other",
)
"""All states: the reasons of ``ProxyError`` and its like, and what a poll that succeeded can find."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyStatus:
    """State of one proxy. ``state`` is one of ``STATES``, ``sentence`` what it means and what to do about it.

    ``source_is_cumulative`` is whether its source counts all usage itself: see ``exporter.sources.base.Source``.
    ``up`` is whether the last poll could read usage, None before the first. ``accounts`` are the credentials of the
    last inventory with their ids in the ledger.
    """

    name: str
    state: str = "starting"
    sentence: str = "Not asked yet."
    since_ms: int = 0
    up: bool | None = None
    source: str = ""
    source_is_cumulative: bool = False
    version: str = ""
    commit: str = ""
    publishing_enabled: bool | None = None
    retention_seconds: int | None = None
    accounts: tuple[tuple[int, Account], ...] = field(default=())

    @property
    def is_well(self) -> bool:
        return self.state == "ok"
