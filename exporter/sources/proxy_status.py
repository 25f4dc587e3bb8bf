"""What is known of a proxy right now: the words for the page, the values for the metrics.

Each poll replaces the whole value, so a reader never sees half of a change.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from exporter.normalize.credentials import Account
from exporter.sentences import say

_READ = {
    "starting": say("has not been asked yet"),
    "ok": "",
    "publishing_off": say("does not record usage"),
    "another_consumer": say("seems to give its records to another program"),
}
_FAILED = {
    "unreachable": say("cannot be reached"),
    "server_error": say("answers with an error"),
    "bad_answer": say("answers with something other than CPA's data"),
    "key_refused": say("refuses the management key"),
    "banned": say("has banned this address"),
    "remote_disabled": say("does not allow management from here"),
    "no_key_set": say("has no management key"),
    "management_off": say("has no Management API"),
    "resp_only": say("is too old: its usage queue is not reachable over HTTP"),
    "unknown_server": say("is not a CPA that the exporter knows"),
    "source_gone": say("no longer provides its usage"),
    "ledger": say("is not read: the ledger cannot be written"),
    "internal_error": say("is not read: the exporter has a fault"),
}

STATES: Mapping[str, str] = {**_READ, **_FAILED}
"""What follows the proxy's name on the page, by state: what a poll that succeeds can find, and the reasons of failures.

docs/states.md says what each means and what to do; the sentence of a ``ProxyStatus`` says the same about one proxy.
"""

FAILURE_REASONS = tuple(_FAILED)
"""All values of the label ``reason`` of ``cliproxy_exporter_poll_failures_total``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyStatus:
    """State of one proxy. ``state`` is one of ``STATES``, ``sentence`` what it means and what to do about it.

    ``source_is_cumulative`` and ``source_is_pushed`` are what ``exporter.sources.base.Source`` says of its source.
    ``accounts`` are the credentials of the last inventory with their ids in the ledger; if that lacked a list, those
    known before are among them. ``lists_all``: there has been an inventory that lacked none.
    """

    name: str
    state: str = "starting"
    sentence: str = say("Not asked yet.")
    since_ms: int = 0
    source: str = ""
    source_is_cumulative: bool = False
    source_is_pushed: bool = False
    version: str = ""
    commit: str = ""
    publishing_enabled: bool | None = None
    retention_seconds: int | None = None
    accounts: tuple[tuple[int, Account], ...] = field(default=())
    lists_all: bool = False

    @property
    def is_well(self) -> bool:
        return self.state == "ok"

    @property
    def up(self) -> bool | None:
        """Whether the last poll could read usage, None before the first."""
        return None if self.state == "starting" else self.state not in FAILURE_REASONS


Statuses = Callable[[], Iterable[ProxyStatus]]
"""Tells the state of each proxy that is polled."""
