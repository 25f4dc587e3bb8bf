"""What is known of a proxy right now: the words for the page, the values for the metrics.

Each poll replaces the whole value, so a reader never sees half of a change.
"""

from dataclasses import dataclass, field

from exporter.credentials.accounts import Account


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyStatus:
    """State of one proxy. ``state`` is a snake_case word, ``sentence`` what it means and what to do about it.

    ``up`` is whether the last poll could read usage, None before the first. ``accounts`` are the credentials of the
    last inventory with their ids in the ledger.
    """

    name: str
    state: str = "starting"
    sentence: str = "Not asked yet."
    since_ms: int = 0
    up: bool | None = None
    source: str = ""
    version: str = ""
    commit: str = ""
    publishing_enabled: bool | None = None
    retention_seconds: int | None = None
    accounts: tuple[tuple[int, Account], ...] = field(default=())

    @property
    def is_well(self) -> bool:
        return self.state == "ok"
