"""Values in the headers and answers of providers: numbers, shares, moments, money, names. Pure, and strict.

No provider documents them. A value whose meaning is not certain is None or empty, which means "not said".
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from math import isfinite
from typing import Any

from exporter.days import epoch_ms
from exporter.quotas.reading import (
    DAY,
    HIGHEST_RATIO,
    HOUR,
    LATEST_RESET_MS,
    LONGEST_WINDOW,
    MAX_SLUG,
    UNTOLD,
    Answer,
)

MAX_VALUE = 64
_MILLISECONDS_FROM = 1e12
"""A larger epoch is in milliseconds: as seconds it would be 30,000 years ahead."""

_NUMBER = re.compile(r"(?:-(?=[0.]+\Z))?[0-9]{1,16}(?:\.[0-9]{1,24})?(?:[eE][+-]?[0-9]{1,3})?").fullmatch
_HTTP_DATE = "%a, %d %b %Y %H:%M:%S GMT"

# Providers' words are in lower case; keys and ids hardly ever are.
is_word = re.compile(r"[a-z][a-z0-9_]{0,31}").fullmatch
is_title = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._()+/-]{0,31}").fullmatch

MAX_ENTRIES = 256
"""The most that are read of one list or map; real ones have fewer than 50."""
OTHER = "other"
"""Any name that our lists do not have. A provider could write anything there, even a person's address."""

_HIGHEST_NUMBER = 1e15
_NANO = 1_000_000_000
_HIGHEST_NANO_USD = 10**9 * _NANO

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

_NAMED_LENGTHS = {
    "five-hour": 5 * HOUR,
    "hourly": HOUR,
    "daily": DAY,
    "day": DAY,
    "weekly": 7 * DAY,
    "week": 7 * DAY,
}
_LENGTH = re.compile(r"([0-9]{1,4})([mhd])").fullmatch
_UNITS = {"m": 60, "h": HOUR, "d": DAY}

_NEARLY_WHOLE = 180
_MOST_AHEAD_MS = 300_000
"""How far a clock may be ahead of ours. A reading from the future shuts out all others until then."""


# --- shapes -----------------------------------------------------------------------------------------------------------


def mapping(value: object) -> Mapping[str, Any]:
    """A JSON object; an empty one in place of anything else."""
    return value if isinstance(value, Mapping) else {}


def mappings(value: object) -> Iterator[Mapping[str, Any]]:
    """The objects in a JSON list."""
    if isinstance(value, list):
        yield from (each for each in islice(value, MAX_ENTRIES) if isinstance(each, Mapping))


def entries(value: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects in a JSON object, by key."""
    for key, each in islice(mapping(value).items(), MAX_ENTRIES):
        if isinstance(each, Mapping):
            yield key, each


def field(value: Mapping[str, Any], name: str) -> Any:
    """The value of a name in snake_case, or of the same name in camelCase."""
    if name in value:
        return value[name]
    first, *others = name.split("_")
    return value.get(first + "".join(other.capitalize() for other in others))


def text(value: object) -> str:
    return value.strip() if isinstance(value, str) and len(value) <= MAX_VALUE else ""


def first(values: object) -> str:
    """The first value that is not empty. Header maps hold lists, auth-files hold plain text."""
    if isinstance(values, str):
        return values.strip()
    if isinstance(values, list | tuple):
        for value in values:
            if isinstance(value, str) and (stripped := value.strip()):
                return stripped
    return ""


# --- numbers ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)  # each value is tested before it is stored, and read again afterwards
def number(text: str) -> float | None:
    """A finite number that is not negative; ``-0.0`` is 0.

    Stricter than ``float``, which also takes ``nan``, ``1_0`` and ``٣``.
    """
    if _NUMBER(text) is None:
        return None
    value = abs(float(text))
    return value if isfinite(value) else None


def is_flag(text: str) -> bool:
    return text.lower() in ("true", "false")


def is_number(text: str) -> bool:
    return number(text) is not None


def is_instant(text: str) -> bool:
    return instant(text) is not None


def amount(value: object) -> float | None:
    """A finite number that is not negative; text counts, too."""
    if isinstance(value, str):
        return number(value.strip()) if len(value) <= MAX_VALUE else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return abs(float(value)) if 0 <= value <= _HIGHEST_NUMBER else None


def share_of_percent(value: object) -> float | None:
    """A share of 1 from percents, or from text with or without a percent sign; it may exceed 1."""
    percents = amount(value.strip().removesuffix("%") if isinstance(value, str) else value)
    return round(percents / 100, 9) if percents is not None and percents <= HIGHEST_RATIO * 100 else None


def share(value: object) -> float | None:
    """A share of 1 from a fraction, or from text such as ``95%``."""
    if isinstance(value, str) and value.strip().endswith("%"):
        return share_of_percent(value)
    fraction = amount(value)
    return fraction if fraction is not None and fraction <= HIGHEST_RATIO else None


def used_of_remaining(value: object) -> float | None:
    """The used share from the remaining fraction, which cannot exceed 1."""
    remaining = share(value)
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
    """Seconds or milliseconds since the epoch, RFC 3339, or an HTTP date."""
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


def moment(value: object, answer: Answer) -> int | None:
    """A reset: seconds or milliseconds since the epoch, as number or text, or RFC 3339.

    It may have passed, because some providers keep reporting a window that is over; but it is near enough to be one.
    """
    written = text(value)
    if not written:
        seconds = amount(value)
        written = "" if seconds is None else f"{seconds:f}"
    found = instant(written) if written else None
    return found if found is not None and abs(found - answer.observed_ms) <= LATEST_RESET_MS else None


def moment_after(value: object, answer: Answer) -> int | None:
    """A reset stated in seconds after the answer."""
    seconds = amount(value)
    return None if seconds is None or seconds * 1000 > LATEST_RESET_MS else answer.observed_ms + round(seconds * 1000)


def reset(answer: Answer, *, at: Iterable[object], after: Iterable[object]) -> tuple[int | None, bool]:
    """A window's reset, and whether it was stated in seconds after the answer: the first value that can be read."""
    stated = next((each for each in (moment(value, answer) for value in at) if each is not None), None)
    if stated is not None:
        return stated, False
    after_ms = next((each for each in (moment_after(value, answer) for value in after) if each is not None), None)
    return after_ms, after_ms is not None


def plausible(value: object, received_ms: int, *, oldest_ms: int = DAY * 1000) -> int | None:
    """A believable moment of observation: hardly ahead of us, and not older than ``oldest_ms``."""
    moment = instant(text(value))
    return moment if moment is not None and -oldest_ms <= moment - received_ms <= _MOST_AHEAD_MS else None


# --- lengths and names ------------------------------------------------------------------------------------------------


def window_seconds(minutes: str) -> int | None:
    """The length of a window that is stated in whole minutes."""
    value = number(minutes)
    return None if value is None or value != round(value) else near_length(value * 60)


def near_length(seconds: float) -> int | None:
    """The length of a window, rounded to whole hours if it is close.

    Codex also states 299 and 10079 minutes for its windows of 5 hours and 7 days.
    """
    hours = round(seconds / HOUR) * HOUR
    whole = hours if hours and abs(seconds - hours) <= _NEARLY_WHOLE else round(seconds)
    return whole if 0 < whole <= LONGEST_WINDOW else None


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


def window_called(name: object) -> tuple[str, int | None]:
    """The name and the length in seconds of a provider's ``5h``, ``five_hour`` or ``weekly``.

    The name is for a window without a length.
    """
    slug = text(name).lower().replace("_", "-")
    length = _LENGTH(slug)
    seconds = int(length[1]) * _UNITS[length[2]] if length else _NAMED_LENGTHS.get(slug)
    if seconds is not None and not 0 < seconds <= LONGEST_WINDOW:
        seconds = None
    return "month" if slug in ("month", "monthly") else UNTOLD, seconds
