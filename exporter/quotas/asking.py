"""Asking a provider about an account: what is asked, and what an answer may say. Pure; whoever calls does the waiting.

A ``Call`` is made by the proxy, which puts the account's token in the place of ``$TOKEN$``: nobody here ever sees one.
Hosts and paths stand in the providers' files, never in a setting, a record or an answer. Every call only reads.
"""

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from exporter.quotas.reading import Answer, Reading

_ACCOUNT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch
_PROJECT_ID = re.compile(r"[a-z0-9][a-z0-9.:-]{0,98}").fullmatch


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a call needs to know of an account, from the inventory: its id at the provider (``id_token``'s
    ``chatgpt_account_id``) and its Google project (``project_id``).

    Both are personal. They are held in memory, for the call, and shown nowhere.
    """

    account_id: str = ""
    project_id: str = ""

    def __repr__(self) -> str:
        return "Facts()"


class Refusal(StrEnum):
    """Why there is no answer. The first four speak of the account, the next four of the provider, two of the proxy.

    ``OUTDATED``: the provider wants a newer client than we say to be (426). ``UNREADABLE``: a page of HTML, a shape
    that nobody knows, more than ``MAX_ANSWER``. ``GONE``: the proxy does not have the account any more.
    ``REFUSED``: the proxy refuses our management key, so every call to it has to stop. ``UNSUPPORTED``: the proxy
    cannot make such calls.
    """

    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate_limited"
    GONE = "gone"
    NOT_FOUND = "not_found"
    OUTDATED = "outdated"
    UNAVAILABLE = "unavailable"
    UNREADABLE = "unreadable"
    UNSUPPORTED = "unsupported"
    REFUSED = "refused"


NEXT_WAY = frozenset({Refusal.NOT_FOUND, Refusal.UNAVAILABLE, Refusal.UNREADABLE})
"""After these the next way of a question may know; after all others it would only be one more call."""


class Balance(msgspec.Struct, frozen=True):
    """Money that is left of what was paid in advance, in nano-USD. ``name`` is one of a few words."""

    name: str
    nano_usd: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer says. What is not mentioned is "not said", never 0, and never gone.

    ``plan`` is one of a few words, ``other`` among them; empty for not said. ``reset_credits``: how many times the
    user may reset a window at once (Codex). ``elsewhere_ratio``: of what is used of the week of a Claude account, the
    share that was used on other surfaces than Claude Code, so surely not through the proxy.
    ``refusal`` is None if there was an answer; then ``retry_after_s`` is None as well. ``retry_after_s``: how long the
    provider wants to be left alone, None if it does not say, or says 0.
    """

    readings: tuple[Reading, ...] = ()
    plan: str = ""
    balances: tuple[Balance, ...] = ()
    reset_credits: int | None = None
    elsewhere_ratio: float | None = None
    refusal: Refusal | None = None
    retry_after_s: int | None = None


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request, and how its answer is read.

    ``$ACCOUNT$`` in a header is the account's id, and the header is left out where that is unknown; ``$PROJECT$`` in
    ``data`` is its project, without which there is no call. ``read`` gets the decoded answer, and returns None for a
    shape that it does not know.
    """

    url: str
    read: Callable[[Mapping[str, Any], Answer], Report | None]
    method: str = "GET"
    headers: Mapping[str, str] = {}
    data: str = ""

    def needs_project(self) -> bool:
        return "$PROJECT$" in self.data

    def request(self, auth_index: str, facts: Facts) -> dict[str, Any] | None:
        """The body of the proxy's ``api-call``; None if the account's project is needed and not known."""
        if self.needs_project() and not _PROJECT_ID(facts.project_id):
            return None
        account = facts.account_id if _ACCOUNT_ID(facts.account_id) else ""
        headers = {name: value.replace("$ACCOUNT$", account) for name, value in self.headers.items()}
        return {
            "auth_index": auth_index,
            "method": self.method,
            "url": self.url,
            "header": {"Authorization": "Bearer $TOKEN$"} | {name: value for name, value in headers.items() if value},
            "data": self.data.replace("$PROJECT$", facts.project_id),
        }


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to know of an account, every ``every_seconds``. ``ways`` are tried in their order, see ``NEXT_WAY``."""

    ways: tuple[Call, ...]
    every_seconds: int


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """How the accounts of a provider are asked.

    ``gap_seconds`` is the least time between two calls to it from one outgoing address, whichever account, question or
    way they are for.
    """

    questions: tuple[Question, ...]
    gap_seconds: int = 60
