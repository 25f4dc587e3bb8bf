"""Values in headers: numbers, moments, the first of several. Pure, and strict: no guessing."""

import re
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite

from exporter.days import epoch_ms

MAX_VALUE = 64
_MILLISECONDS_FROM = 1e12
"""A larger epoch is in milliseconds: as seconds it would be 30,000 years ahead."""

_NUMBER = re.compile(r"(?:-(?=[0.]+\Z))?[0-9]{1,16}(?:\.[0-9]{1,24})?(?:[eE][+-]?[0-9]{1,3})?").fullmatch
_HTTP_DATE = re.compile(
    r"[A-Z][a-z]{2}, ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT"
).fullmatch
_MONTH_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, start=1)}

# Providers' words are in lower case; keys and ids hardly ever are.
is_word = re.compile(r"[a-z][a-z0-9_]{0,31}").fullmatch
is_title = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._()+/-]{0,31}").fullmatch


def first(values: object) -> str:
    """The first value that is not empty. Header maps hold lists, auth-files hold plain text."""
    if isinstance(values, str):
        return values.strip()
    if isinstance(values, list | tuple):
        for value in values:
            if isinstance(value, str) and (stripped := value.strip()):
                return stripped
    return ""


def is_flag(text: str) -> bool:
    return text.lower() in ("true", "false")


def is_number(text: str) -> bool:
    return number(text) is not None


def is_instant(text: str) -> bool:
    return instant(text) is not None


@lru_cache(maxsize=1024)  # each value is tested before it is stored, and read again afterwards
def number(text: str) -> float | None:
    """A finite number that is not negative; ``-0.0`` is 0.

    Stricter than ``float``, which also takes ``nan``, ``1_0`` and ``٣``.
    """
    if _NUMBER(text) is None:
        return None
    value = abs(float(text))
    return value if isfinite(value) else None


@lru_cache(maxsize=1024)
def instant(text: str) -> int | None:
    """Seconds or milliseconds since the epoch, RFC 3339, or an HTTP date."""
    epoch = number(text)
    try:
        if epoch is not None:
            return round(epoch if epoch >= _MILLISECONDS_FROM else epoch * 1000)
        http = _HTTP_DATE(text)
        if http is not None:
            day, month, year, *clock = http.groups()
            hour, minute, second = map(int, clock)
            return epoch_ms(datetime(int(year), _MONTHS[month], int(day), hour, minute, second, tzinfo=UTC))
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else epoch_ms(moment)
    except (ValueError, KeyError, OverflowError):
        return None
