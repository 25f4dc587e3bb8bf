"""Which response headers may be stored. Pure.

A header map also holds cookies, organisation ids and request ids. What passes here is small and tells of a provider's
windows, and ``exporter.quotas.reading`` needs nothing else.
"""

import re
from collections.abc import Mapping
from typing import Any

from exporter.quotas.values import MAX_VALUE, first, instant, number

MAX_HEADERS = 128
MAX_BYTES = 8192
"""Bounds of what ``allowed_headers`` returns: names and values together. Real responses need about 1,000 bytes."""
MAX_SLUG = 32

CLAUDE, CODEX, META = "anthropic-ratelimit-unified-", "x-codex-", "x-meta-"
RESERVE = "x-base-model-inference-"
"""Of the Codex backend, beside its own."""
GROUP = r"[a-z0-9][a-z0-9_-]{0,31}"
STATUS = {"allowed": "allowed", "allowed_warning": "warning", "rejected": "rejected"}
NAMED_SLUG = "iguana_necktie"
"""The one slug of Claude that does not begin with its duration, which is a week."""
_SLUG = rf"(?:[0-9]{{1,4}}[hd](?:_[a-z_]{{1,26}})?|{NAMED_SLUG})"
_STEM = rf"(?:{CODEX}(?:{GROUP}-)?|{RESERVE})(?:primary|secondary)"
MAX_NAME = 100
_MAX_IDENTITY = 512

# The alternatives are named after the shape that their values have.
_ALLOWED_NAME = re.compile(
    rf"""(?P<instant> date | {CLAUDE}(?:{_SLUG}-)?reset | {_STEM}-reset-at
                   | {META}(?:window|weekly)-reset-at )
       | (?P<number> {CLAUDE}{_SLUG}-(?:utilization|surpassed-threshold)
                   | {_STEM}-(?:used-percent|window-minutes|reset-after-seconds)
                   | {META}(?:window-minutes|(?:window|weekly)-used-percent) )
       | (?P<status> {CLAUDE}(?:{_SLUG}-)?status )
       | (?P<flag> {CODEX}(?:allowed|limit-reached) )
       | (?P<word> {CLAUDE}representative-claim | {CODEX}(?:plan-type|active-limit) )
       | (?P<title> {CODEX}{GROUP}-limit-name )""",
    re.VERBOSE,
).fullmatch
# Words of providers are in lower case; keys and ids hardly ever are.
_WORD = re.compile(r"[a-z][a-z0-9_]{0,31}").fullmatch
_TITLE = re.compile(rf"[A-Za-z0-9][A-Za-z0-9 ._()+/-]{{0,{MAX_SLUG - 1}}}").fullmatch


def allowed_headers(headers: Mapping[str, Any]) -> dict[str, str]:
    """The headers that may be stored: names in lower case, the first value that is not empty, all of them bounded.

    A value must have the shape of its header, so that whatever else an upstream writes into one is not kept.
    """
    kept: dict[str, str] = {}
    room = MAX_BYTES
    for given, values in headers.items():
        if not isinstance(given, str) or len(given) > MAX_NAME:
            continue
        name = given.lower()
        if name != "date" and not name.startswith((CLAUDE, CODEX, META, RESERVE)):
            continue
        match = _ALLOWED_NAME(name)
        if match is None or name in kept:
            continue
        value = first(values)
        if value and len(value) <= MAX_VALUE and _fits(match.lastgroup, value):
            room -= len(name) + len(value)
            if room < 0 or len(kept) == MAX_HEADERS:
                break
            kept[name] = value
    return kept


def tells_of_quota(allowed: Mapping[str, str]) -> bool:
    """Whether allowed headers hold the use of any window, or that nothing is left of one."""
    return denies(allowed) or any(
        name.endswith(("-utilization", "-used-percent")) or (name.endswith("-status") and value == "rejected")
        for name, value in allowed.items()
    )


def denies(allowed: Mapping[str, str]) -> bool:
    """Whether the Codex backend says that the account's limit is reached."""
    return _flag(allowed, "allowed") == "false" or _flag(allowed, "limit-reached") == "true"


def _flag(allowed: Mapping[str, object], name: str) -> str:
    value = allowed.get(CODEX + name)
    return value.lower() if isinstance(value, str) else ""


def _fits(shape: str | None, value: str) -> bool:
    if shape == "number":
        return number(value) is not None
    if shape == "instant":
        return instant(value) is not None
    if shape == "status":
        return value in STATUS
    if shape == "flag":
        return value.lower() in ("true", "false")
    return (_WORD if shape == "word" else _TITLE)(value) is not None


def response_identity(headers: Mapping[str, Any]) -> str:
    """A text that tells one upstream response from another; empty if nothing does. Never to be stored as it is.

    A proxy that retries may show an answer of the first account again in the record of the second: the same identity
    under two accounts is the sign of it.
    """
    ids: dict[str, str] = {}
    for given, values in headers.items():
        if isinstance(given, str) and len(given) <= MAX_NAME:
            name = given.lower()
            if name in ("request-id", "x-request-id", "cf-ray"):
                ids.setdefault(name, first(values))
    for name in ("request-id", "x-request-id", "cf-ray"):
        value = ids.get(name, "")
        if value and len(value) <= _MAX_IDENTITY:
            return f"{name}: {value}"
    allowed = allowed_headers(headers)
    date = allowed.pop("date", "")
    if not date or not allowed:
        return ""  # a second is shared by many responses; it takes the numbers beside it
    return "\n".join([f"date: {date}", *(f"{name}: {allowed[name]}" for name in sorted(allowed))])


def takes_windows(failed: bool, status_code: int) -> bool:
    """Whether the headers of a record are those of its own attempt.

    An attempt that dies before an answer is recorded with the headers of the attempt before it, which may have been
    another account's, and with a status that the proxy made up. These three come from upstreams only.
    """
    return not failed or status_code in (402, 403, 429)
