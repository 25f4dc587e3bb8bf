"""Response headers that report providers' windows: which may be stored, and the readings in them. Pure.

Newer proxies list the same headers for a credential, as signals. A header map also holds cookies, organisation ids and
request ids, so only ``date`` and the headers that a parser declares as needed (``Provider.stored``) may be stored.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

from exporter.quotas.all_providers import PROVIDERS, provider_of
from exporter.quotas.reading import Answer, Reading, fullest
from exporter.quotas.values import LATEST_RESET_MS, MAX_VALUE, first, instant, mapping, plausible

MAX_HEADERS = 128
MAX_BYTES = 8192
"""Bounds of what ``allowed_headers`` returns, names and values together. Real responses need about 1,000 bytes."""
MAX_NAME = 100
_MAX_MODELS = 256

_USE_SUFFIXES = tuple({provider.use_suffix for provider in PROVIDERS.values() if provider.use_suffix})
_STORED = {"date": instant} | {
    pattern: fits for provider in PROVIDERS.values() for pattern, fits in provider.stored.items()
}


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
        if value and len(value) <= MAX_VALUE and fits(value) is not None:
            room -= len(name) + len(value)
            if room < 0 or len(kept) == MAX_HEADERS:
                break
            kept[name] = value
    return kept


@lru_cache(maxsize=1024)  # answers name the same few headers again and again
def _allowed(given: str) -> tuple[str, Callable[[str], object] | None]:
    """A header's name in lower case, and the test of its value; None if it may not be stored."""
    name = given.lower()
    return name, next((fits for pattern, fits in _STORED.items() if re.fullmatch(pattern, name)), None)


def tells_of_quota(allowed: Mapping[str, str]) -> bool:
    """Whether allowed headers state the use of any window, or report one as full."""
    return any(name.endswith(_USE_SUFFIXES) for name in allowed) or any(
        provider.refuses(allowed) for provider in PROVIDERS.values()
    )


def read_headers(
    headers: Mapping[str, str], *, provider: str, model: str, answered_ms: int, received_ms: int
) -> list[Reading]:
    """The windows in the allowed headers of one record: ``model`` at ``provider`` answered.

    ``answered_ms`` is when, by the proxy's clock. The fuller of two windows with the same name and scope wins. A window
    that is not mentioned is "not said". Never raises.
    """
    # The proxy's clock can be wrong; a moment in our future would shut out all readings until then.
    observed_ms = plausible(headers.get("date"), received_ms) or min(answered_ms, received_ms)
    return fullest(provider_of(provider).read_headers(Answer(headers, observed_ms, "header", model)))


def read_signals(provider: str, quota: object, model_quotas: object, *, received_ms: int) -> list[Reading]:
    """The windows that newer proxies keep for an account, in these fields of its auth file. Never raises.

    Signals are the same headers, with the time at which the proxy saw them. Signals without a time are left out: they
    would look new at every poll.
    """
    reads = provider_of(provider).read_headers
    readings: list[Reading] = []
    models = islice(mapping(model_quotas).items(), _MAX_MODELS)
    # The account's own block has no model.
    for model, block in [("", quota), *models]:
        allowed = allowed_headers(mapping(mapping(block).get("signals")))
        observed_ms = plausible(mapping(block).get("observed_at"), received_ms, oldest_ms=LATEST_RESET_MS)
        if observed_ms is None:
            observed_ms = plausible(allowed.get("date"), received_ms, oldest_ms=LATEST_RESET_MS)
        if observed_ms is not None:
            readings += reads(Answer(allowed, observed_ms, "auth_files", model))
    return fullest(readings)
