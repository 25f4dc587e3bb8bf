"""Values in the headers and answers of providers: numbers, shares, moments, money, names. Pure, and strict.

No provider documents them. A value whose meaning is not certain is None or empty, which means "not said".
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from math import inf
from typing import Any

from exporter.days import epoch_ms

HOUR, DAY = 3_600, 86_400
LONGEST_WINDOW = 366 * DAY
LATEST_RESET_MS = 62 * DAY * 1000
HIGHEST_RATIO = 1000.0
MAX_SLUG = 32
MAX_VALUE = 64
MAX_ENTRIES = 256
"""The most that are read of one list or map; real ones have fewer than 50."""

OTHER = "other"
"""Any name that our lists do not have. A provider could write anything there, even a person's address."""
UNTOLD = "unknown"
"""A window whose length the provider does not state."""

_NUMBER = re.compile(r"(?:-(?=[0.]+\Z))?[0-9]{1,16}(?:\.[0-9]{1,24})?(?:[eE][+-]?[0-9]{1,3})?").fullmatch
_HIGHEST_NUMBER = 1e15
_MILLISECONDS_FROM = 1e12
"""A larger epoch is in milliseconds: as seconds it would be 30,000 years ahead."""
_HTTP_DATE = "%a, %d %b %Y %H:%M:%S GMT"
MOST_AHEAD_MS = 300_000
"""How far a clock may be ahead of ours. A reading from the future shuts out all others until then."""
_NANO = 1_000_000_000
_HIGHEST_NANO_USD = 10**9 * _NANO

is_flag = re.compile(r"(?i)true|false").fullmatch
# Providers' words are in lower case; keys and ids hardly ever are.
is_word = re.compile(r"[a-z][a-z0-9_]{0,31}").fullmatch
is_title = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._()+/-]{0,31}").fullmatch

_VOCABULARY = """
advanced agent api build chat claude code codex completion composer cowork fable fast flash gemini gemma gpt grok haiku
heavy high image imagen instant k1 k2 k3 kimi lite low luna max medium mini nano o1 o3 o4 opus oss preview premium pro
reasoning requests reserve review search sol sonnet spark tab terra thinking tokens tools turbo ultra veo video vision
voice web
"""
_WORDS = frozenset(_VOCABULARY.split())
_FILLERS = frozenset({"", "all", "and", "for", "model", "models", "or", "the"})
_VERSION = re.compile(r"[0-9]{1,4}[a-z]?|v[0-9]{1,2}|20[0-9]{6}").fullmatch
_BETWEEN_WORDS = re.compile(r"[^a-z0-9.]+")
_ONE_SCOPE = {
    "oi": "fable",
    "overage-included": "fable",
    "iguana-necktie": "fable",
    "base-model-inference": "gpt-reserve",
}
"""Scopes with several names, code names among them."""

_UNITS = {"m": 60, "h": HOUR, "d": DAY}
_LENGTH = re.compile(r"([0-9]{1,4})([mhd])").fullmatch
_NAMED_LENGTHS = {"five-hour": "5h", "hourly": "1h", "daily": "1d", "day": "1d", "weekly": "7d", "week": "7d"}
_NEARLY_WHOLE = 180


# --- shapes -----------------------------------------------------------------------------------------------------------


def mapping(value: object) -> Mapping[str, Any]:
    """A JSON object; an empty one in place of anything else."""
    return value if isinstance(value, Mapping) else {}


@lru_cache(maxsize=1024)
def camel_case(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(map(str.capitalize, tail))


def text(value: object) -> str:
    return value.strip() if isinstance(value, str) and len(value) <= MAX_VALUE else ""


def first(values: object) -> str:
    """The first value that is not empty. Header maps hold lists, auth-files hold plain text."""
    for value in values if isinstance(values, list) else [values]:
        if isinstance(value, str) and (stripped := value.strip()):
            return stripped
    return ""


# --- numbers ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)  # each value is tested before it is stored, and read again afterwards
def number(text: str) -> float | None:
    """A finite number that is not negative; ``-0.0`` is 0.

    Stricter than ``float``, which also takes ``nan``, ``1_0`` and ``٣``.
    """
    value = abs(float(text)) if _NUMBER(text) else inf
    return value if value < inf else None


def amount(value: object) -> float | None:
    """The number in a JSON value, which may be a text; None if it is higher than anybody counts."""
    found = number(_written(value))
    return found if found is not None and found <= _HIGHEST_NUMBER else None


def _written(value: object) -> str:
    """A text or number as text; true and false are neither."""
    return text(str(value)) if isinstance(value, str | int | float) else ""


def used_of_remaining(remaining: float | None) -> float | None:
    """The used share from the remaining share, which cannot exceed 1."""
    return None if remaining is None or remaining > 1 else round(1 - remaining, 9)


def quotient(used: float | None, limit: float | None) -> float | None:
    if used is None or not limit or used / limit > HIGHEST_RATIO:
        return None
    return round(used / limit, 9)


def nano_usd(value: object, *, scale: float = 1) -> int | None:
    """An amount of money; ``scale`` is how many of its units make a dollar."""
    units = amount(value)
    nano = None if units is None else round(units / scale * _NANO)
    return nano if nano is not None and nano <= _HIGHEST_NANO_USD else None


# --- moments ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def instant(text: str) -> int | None:
    """A moment in ms, from seconds or milliseconds since the epoch, RFC 3339, or an HTTP date."""
    epoch = number(text)
    try:
        if epoch is not None:
            return round(epoch if epoch >= _MILLISECONDS_FROM else epoch * 1000)
        if text.isascii() and text.endswith("GMT"):
            return epoch_ms(datetime.strptime(text, _HTTP_DATE).replace(tzinfo=UTC))
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else epoch_ms(moment)
    except (ValueError, OverflowError):
        return None


def moment(value: object, near_ms: int) -> int | None:
    """A reset in ms, from seconds or milliseconds since the epoch, as number or text, or from RFC 3339.

    It may have passed, because some providers keep reporting a window that is over. None if it is too far from
    ``near_ms`` to be a reset.
    """
    found = instant(_written(value))
    return found if found is not None and abs(found - near_ms) <= LATEST_RESET_MS else None


def plausible(value: object, received_ms: int, *, oldest_ms: int = DAY * 1000) -> int | None:
    """A believable moment of observation: hardly ahead of us, and not older than ``oldest_ms``."""
    moment = instant(text(value))
    return moment if moment is not None and -oldest_ms <= moment - received_ms <= MOST_AHEAD_MS else None


# --- lengths and names ------------------------------------------------------------------------------------------------


def window_seconds(minutes: str) -> int | None:
    """The length of a window that is stated in whole minutes."""
    value = amount(minutes)
    return None if value is None or value != round(value) else near_length(value * 60)


def near_length(seconds: float | None) -> int | None:
    """The length of a window, rounded to whole hours if it is close.

    Codex also states 299 and 10079 minutes for its windows of 5 hours and 7 days.
    """
    if seconds is None:
        return None
    hours = round(seconds / HOUR) * HOUR
    whole = hours if hours and abs(seconds - hours) <= _NEARLY_WHOLE else round(seconds)
    return whole if 0 < whole <= LONGEST_WINDOW else None


def window_called(name: object) -> tuple[str, int | None]:
    """The name and the length in seconds of a provider's ``5h``, ``five_hour`` or ``weekly``.

    The name is for a window without a length.
    """
    slug = text(name).lower().replace("_", "-")
    length = _LENGTH(_NAMED_LENGTHS.get(slug, slug))
    seconds = int(length[1]) * _UNITS[length[2]] if length else 0
    return "month" if slug in ("month", "monthly") else UNTOLD, seconds if 0 < seconds <= LONGEST_WINDOW else None


def window_name(seconds: int) -> str:
    """The length; 28 to 31 days are a ``month``, because providers use different ones."""
    return "month" if 28 * DAY <= seconds <= 31 * DAY else length_name(seconds)


def length_name(seconds: int) -> str:
    """A length in the largest unit that divides it: ``90m``, ``5h``, ``7d``."""
    for unit, size in reversed(_UNITS.items()):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def scope_of(name: object) -> str:
    """The scope of a provider's ``name``: known words and versions, else ``OTHER``; empty for all models."""
    written = text(name).lower()
    words = [word for word in _BETWEEN_WORDS.split(written) if word not in _FILLERS]
    if not words:
        return "" if written else OTHER
    scope = "-".join(words)
    parts = re.split("[-.]", scope)
    known = all(part in _WORDS or _VERSION(part) for part in parts) and any(part in _WORDS for part in parts)
    return scope if known and len(scope) <= MAX_SLUG else OTHER


def scope_named(text: str) -> str:
    """The scope of a provider's slug ``text`` as a label value: lower case, digits, dots and hyphens.

    Several names may mean one scope. Empty if nothing is left, or if it is too long: a long name is not cut, because
    two limits could become one, and the emptier would hide the fuller.
    """
    slug = _BETWEEN_WORDS.sub("-", text[:200].lower()).strip("-.")
    return _ONE_SCOPE.get(slug, slug) if len(slug) <= MAX_SLUG else ""
