"""The state of each proxy now, in words and values.

Each poll replaces the whole value, so a reader never sees half of a change.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from exporter.normalize.inventory import Account
from exporter.sentences import say


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a state means, in words.

    ``headline`` follows the proxy's name on the page. ``meaning`` and ``advice`` are Markdown for ``docs/states.md``;
    the sentence of a ``ProxyStatus`` says the same about one proxy. ``is_failure``: the poll failed, and is counted
    under the state's name.
    """

    headline: str
    meaning: str
    advice: str
    is_failure: bool = True


STATES: Mapping[str, State] = {
    "starting": State(
        headline=say("has not been asked yet"),
        meaning="It has not been polled yet.",
        advice="Wait a few seconds.",
        is_failure=False,
    ),
    "ok": State(
        headline="",
        meaning="Its queue or snapshot is read.",
        advice="Nothing.",
        is_failure=False,
    ),
    "publishing_off": State(
        headline=say("does not record usage"),
        meaning="It is reachable but records no usage.",
        advice=("Set `usage-statistics-enabled: true`. The state changes within about a minute."),
        is_failure=False,
    ),
    "another_consumer": State(
        headline=say("seems to give its records to another program"),
        meaning="It counts attempts, but too few records arrive, or none.",
        advice=(
            "Stop the other [reader](proxies.md#one-reader-only): a dashboard that subscribes, a script that polls, a "
            "second exporter. Or set `source: subscribe` to [read beside it](proxies.md#beside-another-dashboard)."
        ),
        is_failure=False,
    ),
    "unreachable": State(
        headline=say("cannot be reached"),
        meaning="No connection, no answer in time, or the answer broke off.",
        advice="Start CPA; check host, port and `http` or `https` in `CLIPROXY_URL`. The sentence names the cause.",
    ),
    "server_error": State(
        headline=say("answers with an error"),
        meaning="An unexpected status such as 500 or 503.",
        advice="Check CPA's log. The next poll tries again.",
    ),
    "bad_answer": State(
        headline=say("answers with something other than CPA's data"),
        meaning="Something answers, but not as CPA does: with a web page, a redirect, no JSON, or too much.",
        advice=("Usually a reverse proxy with its own login. Let it pass `/v0/management`, or use CPA's own address."),
    ),
    "key_refused": State(
        headline=say("refuses the management key"),
        meaning="It does not accept the management key. Calls have stopped.",
        advice="Set the right key and restart the exporter; or correct it in CPA, then run `cliproxy-exporter"
        " try-key`. See [below](#what-a-refused-key-does-and-why).",
    ),
    "banned": State(
        headline=say("has banned this address"),
        meaning="It has banned this address after too many failed logins, by this or another program.",
        advice=("Find the program that uses a wrong key. The exporter waits as long as CPA says, then continues."),
    ),
    "remote_disabled": State(
        headline=say("does not allow management from here"),
        meaning="Only its own machine may manage it.",
        advice="Set `allow-remote: true`, or `MANAGEMENT_PASSWORD`.",
    ),
    "no_key_set": State(
        headline=say("has no management key"),
        meaning="It has no management key.",
        advice="Set `secret-key`, or `MANAGEMENT_PASSWORD`.",
    ),
    "management_off": State(
        headline=say("has no Management API"),
        meaning=(
            "It has no Management API (404): it is a node of a Home cluster or older than 6.0.5, has no key, or is "
            "not CPA."
        ),
        advice="Set a key, which switches the API on; check that the URL ends before `/v0/management`.",
    ),
    "resp_only": State(
        headline=say("is too old: its usage queue is not reachable over HTTP"),
        meaning="It is CPA 6.10.0 to 6.10.7, whose queue cannot be read over HTTP.",
        advice="Upgrade to 6.10.8 or newer.",
    ),
    "unknown_server": State(
        headline=say("is not a CPA that the exporter knows"),
        meaning=(
            "It takes the key but answers like no known CPA. Its queue is not touched: a wrong guess would "
            "lose records."
        ),
        advice="Use a released CPA; check for a newer exporter.",
    ),
    "source_gone": State(
        headline=say("no longer provides its usage"),
        meaning="Its queue or snapshot now answers 404: its version changed, or management was switched off.",
        advice="Nothing; the next poll examines it again.",
    ),
    "ledger": State(
        headline=say("is not read: the ledger cannot be written"),
        meaning="The exporter cannot write its own ledger, so it reads nothing more.",
        advice="See [a full disk](operations.md#a-full-disk).",
    ),
    "internal_error": State(
        headline=say("is not read: the exporter has a fault"),
        meaning="The exporter itself failed.",
        advice="Please report it with the log line `poll_failed`. The next poll tries again.",
    ),
}
"""All states by name: the reasons of ``ProxyError``, and what a poll that succeeds can find."""

FAILURE_REASONS = tuple(name for name, state in STATES.items() if state.is_failure)
"""All values of the label ``reason`` of ``cliproxy_exporter_poll_failures_total``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyStatus:
    """State of one proxy. ``state`` is one of ``STATES``, ``sentence`` what it means and what to do about it.

    ``source_is_cumulative`` and ``source_is_pushed`` are what ``exporter.sources.base.Source`` says of its source.
    ``accounts`` are the credentials of the last inventory with their ids in the ledger; if that was incomplete, also
    those known before.
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

    @property
    def is_well(self) -> bool:
        return self.state == "ok"

    @property
    def up(self) -> bool | None:
        """Whether the last poll could read usage, None before the first."""
        return None if self.state == "starting" else self.state not in FAILURE_REASONS


Statuses = Callable[[], Iterable[ProxyStatus]]
"""Returns the state of each proxy that is polled."""
