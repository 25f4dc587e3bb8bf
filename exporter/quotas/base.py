"""What a provider is: its headers, the questions about an account, and the answers.

Each provider is a ``Provider`` in a file of its own, and a line in ``exporter.quotas.all_providers``. Pure; the caller
does the waiting. The proxy makes each ``Call`` and replaces ``$TOKEN$`` with the account's token: no token ever comes
here. Hosts and paths stand in the providers' files, never in a setting, a record or an answer. Every call only reads.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from exporter.quotas.reading import Answer, Reading

_ACCOUNT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch
_PROJECT_ID = re.compile(r"[a-z0-9][a-z0-9.:-]{0,98}").fullmatch


class AccountIds(msgspec.Struct, frozen=True, kw_only=True):
    """What a call needs of an account, from the inventory: its id at the provider, and its Google project.

    Both are personal. They stay in memory for the call and are shown nowhere.
    """

    account_id: str = ""
    project_id: str = ""

    def __repr__(self) -> str:
        return "AccountIds()"


class Refusal(StrEnum):
    """Why there is no answer. The first five concern the account, the next four the provider, the last two the proxy.

    ``OUTDATED``: the provider wants a newer client than we claim to be (426). ``UNREADABLE``: an HTML page, an unknown
    shape, or more than ``MAX_ANSWER``. ``GONE``: the proxy no longer has the account. ``NO_PROJECT``: it lists the
    account without a Google project, which the call needs. ``REFUSED``: the proxy refuses our management key, so every
    call to it has to stop. ``UNSUPPORTED``: the proxy cannot make such calls.
    """

    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate_limited"
    GONE = "gone"
    NO_PROJECT = "no_project"
    NOT_FOUND = "not_found"
    OUTDATED = "outdated"
    UNAVAILABLE = "unavailable"
    UNREADABLE = "unreadable"
    UNSUPPORTED = "unsupported"
    REFUSED = "refused"


NEXT_WAY = frozenset({Refusal.NOT_FOUND, Refusal.UNAVAILABLE, Refusal.UNREADABLE})
"""After these the next way of asking may succeed; after all others it would only be one more call."""


class Balance(msgspec.Struct, frozen=True):
    """What is left of a prepayment, in nano-USD. ``name`` is one of a few words."""

    name: str
    nano_usd: int


class AccountState(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider has reported about an account besides its windows. Whatever is left out is "not said".

    ``plan`` is one of a few words, ``other`` among them, and empty for "not said". ``reset_credits``: how many times
    the user may reset a window at once (Codex). ``elsewhere_ratio``: the share of a Claude account's weekly use that
    came from surfaces other than Claude Code, and so not through the proxy; ``elsewhere_ms`` dates it, in ms since the
    epoch.
    """

    plan: str = ""
    balances: tuple[Balance, ...] = ()
    reset_credits: int | None = None
    elsewhere_ratio: float | None = None
    elsewhere_ms: int = 0

    def after(self, report: "Report", *, now_ms: int) -> "AccountState":
        """The values after one more answer: what it leaves out stays as it was."""
        told = {name: getattr(report, name) for name in self.__struct_fields__}
        said = {name: value for name, value in told.items() if value not in (None, "", ())}
        said["elsewhere_ms"] = now_ms if "elsewhere_ratio" in said else self.elsewhere_ms
        return msgspec.structs.replace(self, **said)


class Report(AccountState, frozen=True, kw_only=True):
    """What one answer says: what it leaves out is neither 0 nor gone. ``after`` sets ``elsewhere_ms``.

    ``refusal`` is None if there was an answer; ``retry_after_s`` is then None, too. Otherwise it is the number of
    seconds for which the provider wants no call, None if it states none or 0.
    """

    readings: tuple[Reading, ...] = ()
    refusal: Refusal | None = None
    retry_after_s: int | None = None


Reader = Callable[[Answer], Report | None]
"""Returns None for an unknown shape."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request, with ``data`` a POST, and the reader of its answer.

    ``$ACCOUNT$`` in a header stands for the account's id; without a known id, the header is left out. ``$PROJECT$`` in
    ``data`` stands for its project; without a known project, there is no call.
    """

    url: str
    read: Reader
    headers: Mapping[str, str] = {}
    data: str = ""

    def request(self, auth_index: str, ids: AccountIds) -> dict[str, Any] | None:
        """The body of the proxy's ``api-call``; None if the call needs the account's project and it is unknown."""
        if "$PROJECT$" in self.data and not _PROJECT_ID(ids.project_id):
            return None
        account = ids.account_id if _ACCOUNT_ID(ids.account_id) else ""
        headers = {name: value.replace("$ACCOUNT$", account) for name, value in self.headers.items()}
        return {
            "auth_index": auth_index,
            "method": "POST" if self.data else "GET",
            "url": self.url,
            "header": {"Authorization": "Bearer $TOKEN$"} | {name: value for name, value in headers.items() if value},
            "data": self.data.replace("$PROJECT$", ids.project_id),
        }


class Question(msgspec.Struct, frozen=True):
    """One thing to ask about an account, every ``every_seconds``.

    ``gap_seconds`` is the shortest time between two calls to the provider from one outgoing address, whatever the
    account, question or way. The ``ways`` to ask are tried in order: see ``NEXT_WAY``. A way that is None is the
    proxy's own quota API.
    """

    every_seconds: int
    ways: tuple[Call | None, ...]
    gap_seconds: int = 60


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """How one provider reports its windows: in headers, to ``questions``, or both.

    The question about windows comes first. ``read_headers`` turns allowed headers into readings; signals of auth-files
    are the same headers. ``stored`` lists the headers that may be stored for it: patterns of names in lower case, and
    the test of a value, which gives None for one that does not fit. ``use_suffix`` ends the names of headers that state
    a share; ``refuses`` says whether headers report a full window, with a share or not. ``in_records``: whether to read
    the headers of usage records, not just the signals. ``states_all``: whether each answer states all windows of a
    scope. ``counts``: whether use of a model certainly counts in the windows of a scope.
    """

    questions: tuple[Question, ...] = ()
    stored: Mapping[str, Callable[[str], object]] = {}
    use_suffix: str = ""
    read_headers: Callable[[Answer], Iterable[Reading]] = lambda _: ()
    refuses: Callable[[Mapping[str, str]], bool] = lambda _: False
    in_records: bool = False
    states_all: bool = False
    counts: Callable[[str, str], bool] = lambda _model, scope: not scope
