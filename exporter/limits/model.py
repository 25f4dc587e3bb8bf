"""A configured limit: a budget over a time span, and which usage counts against it. Also the price of a plan."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Protocol

from exporter.days import epoch_ms
from exporter.limits.strategies import Strategy, window_name
from exporter.limits.windows import DEFAULT_THRESHOLDS, Thresholds


class Per(StrEnum):
    """What has a window of its own."""

    CREDENTIAL = "credential"
    CLIENT = "client"
    MODEL = "model"


class Unit(StrEnum):
    """What a budget counts. Tokens are input (with cache), output and unclassified ones."""

    TOKENS = "tokens"
    REQUESTS = "requests"
    USD = "usd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Whose usage it is, as it is shown.

    ``credential_in_history`` is how the history names the credential: limits written before labels became readable do.
    """

    proxy: str
    provider: str
    model: str
    credential: str
    client: str
    credential_in_history: str = ""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One limit. Empty texts match everything.

    ``provider`` is matched by its exact name, in any case; ``proxy``, ``credential``, ``client`` and ``models`` (one of
    them) by exact name or glob. ``model_pattern`` is a pattern of the predecessor: anywhere in the name, in any
    case, with ``%`` and ``_`` as wildcards. ``window_ms`` is the length of a rolling window or session, else None. A
    budget in USD is in nano-USD. ``anchor_ms`` is a manual reset in the configuration, ms since the epoch.

    ``config_id`` is the row of ``rate_limit_configs`` in Supabase that it comes from, None for any other.
    ``shown_provider`` is shown as its provider where none is matched.
    """

    id: str
    name: str
    strategy: Strategy
    zone: tzinfo
    budgets: tuple[tuple[Unit, int], ...]
    window_ms: int | None = None
    provider: str = ""
    proxy: str = ""
    credential: str = ""
    client: str = ""
    models: tuple[str, ...] = ()
    model_pattern: str = ""
    per: Per | None = None
    thresholds: Thresholds = DEFAULT_THRESHOLDS
    anchor_ms: int | None = None
    config_id: int | None = None
    shown_provider: str = ""

    def matches(self, usage: Usage) -> bool:
        """Whether this usage counts against the limit."""
        return (
            (not self.provider or self.provider.lower() == usage.provider.lower())
            and is_like(self.proxy, usage.proxy)
            and (is_like(self.credential, usage.credential) or self.credential == usage.credential_in_history)
            and is_like(self.client, usage.client)
            and (not self.models or any(is_like(model.lower(), usage.model.lower()) for model in self.models))
            and (not self.model_pattern or self._finds(usage.model))
        )

    @cached_property
    def _finds(self) -> Callable[[str], bool]:
        parts = (
            re.escape(text) if text else ".*" if wildcard == "%" else "."
            for text, wildcard in _parts(self.model_pattern)
        )
        pattern = re.compile("".join(parts), re.IGNORECASE | re.DOTALL)
        return lambda model: pattern.search(model) is not None

    @cached_property
    def window(self) -> str:
        """The window's name in metrics: ``day``, ``week``, ``month``, or its length as ``5h``."""
        return window_name(self.strategy, self.window_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a subscription costs a month, in billionths of ``currency`` (three capital letters).

    ``credential`` is the label of an account, or a glob. It holds from the day ``first`` until before the day ``end``;
    None is without an end.
    """

    credential: str
    nano_price: int
    currency: str
    first: date | None = None
    end: date | None = None

    def holds(self, credential: str, day: date) -> bool:
        """Whether it is what this account has on this day."""
        begun = self.first is None or self.first <= day
        return begun and (self.end is None or day < self.end) and is_like(self.credential, credential)


@dataclass(frozen=True, kw_only=True)
class LimitSet:
    """What a source says. ``thresholds`` hold for the windows that providers report, too."""

    limits: tuple[Limit, ...] = ()
    plans: tuple[Plan, ...] = ()
    thresholds: Thresholds = DEFAULT_THRESHOLDS


class LimitSource(Protocol):
    """Where limits come from, and what subscriptions cost."""

    @property
    def content(self) -> LimitSet:
        """The last good set."""
        ...

    @property
    def problems(self) -> Sequence[str]:
        """What of the last change is not in use, and why, a sentence each."""
        ...

    def reload(self, *, now: bool = False) -> object:
        """Take over what has changed; ``now``: a file also if it is just being written."""
        ...


def moment_ms(text: str, *, default_zone: tzinfo | None = None) -> int | None:
    """An ISO 8601 moment in ms since the epoch; one that names no zone is in ``default_zone``. None if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    zone = moment.tzinfo or default_zone
    return None if zone is None else epoch_ms(moment.replace(tzinfo=zone))


def is_like(wanted: str, name: str) -> bool:
    """Whether a name is the one that is wanted: itself, or by glob; an empty one wants all."""
    # The exact name first: a model may be called "a[1m]", which as a glob would be something else.
    return not wanted or wanted == name or fnmatchcase(name, wanted)


def _parts(pattern: str) -> list[tuple[str, str]]:
    """The pattern as (text, wildcard), one of the two empty; a backslash takes the meaning of what follows."""
    found: list[tuple[str, str]] = []
    for escaped, other in re.findall(r"\\(.)|([^\\])", pattern, re.DOTALL):
        if other in ("%", "_"):
            found.append(("", other))
        else:
            found.append((escaped or other, ""))
    return found
