"""Which response headers may be stored: those that a provider's parser needs, and ``date``. Pure.

A header map also holds cookies, organisation ids and request ids. Each parser declares the headers that it needs
(``QuotaProvider.stored``); the list consists of these declarations.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from exporter.quotas.providers import PROVIDERS
from exporter.quotas.values import MAX_VALUE, first, is_instant

MAX_HEADERS = 128
MAX_BYTES = 8192
"""Bounds of what ``allowed_headers`` returns, names and values together. Real responses need about 1,000 bytes."""
MAX_NAME = 100

_PREFIXES = tuple(prefix for provider in PROVIDERS.values() for prefix in provider.prefixes)
_USE_SUFFIXES = tuple({provider.use_suffix for provider in PROVIDERS.values()})
_STORED = {"date": is_instant} | {
    pattern: fits for provider in PROVIDERS.values() for pattern, fits in provider.stored.items()
}
# One group per pattern, so the number of the matching group leads to the test of the value.
_ALLOWED_NAME = re.compile("|".join(f"({pattern})" for pattern in _STORED)).fullmatch
_FITS = tuple(_STORED.values())


def allowed_headers(headers: Mapping[str, Any]) -> dict[str, str]:
    """The headers that may be stored: names in lower case, the first value that is not empty, all of them bounded.

    A value must have the shape of its header; anything else that an upstream writes there is dropped.
    """
    kept: dict[str, str] = {}
    room = MAX_BYTES
    for given, values in headers.items():
        if not isinstance(given, str) or len(given) > MAX_NAME:
            continue
        name, fits = _allowed(given)
        if fits is None or name in kept:
            continue
        value = first(values)
        if value and len(value) <= MAX_VALUE and fits(value):
            room -= len(name) + len(value)
            if room < 0 or len(kept) == MAX_HEADERS:
                break
            kept[name] = value
    return kept


@lru_cache(maxsize=1024)  # answers name the same few headers again and again
def _allowed(given: str) -> tuple[str, Callable[[str], object] | None]:
    """A header's name in lower case, and the test of its value; None if it may not be stored."""
    name = given.lower()
    match = _ALLOWED_NAME(name) if name == "date" or name.startswith(_PREFIXES) else None
    return name, None if match is None or match.lastindex is None else _FITS[match.lastindex - 1]


def tells_of_quota(allowed: Mapping[str, str]) -> bool:
    """Whether allowed headers state the use of any window, or report one as full."""
    return any(name.endswith(_USE_SUFFIXES) for name in allowed) or any(
        provider.refuses(allowed) for provider in PROVIDERS.values()
    )
