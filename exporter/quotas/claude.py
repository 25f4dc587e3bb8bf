"""Claude's windows, which Anthropic reports to subscription accounts in the headers of its answers. Pure.

The ``anthropic-ratelimit-{requests,tokens,…}-*`` headers of API keys are left out. They are buckets that refill within
a minute or less: by the time such a reading is looked at, its window is over. ``retry-after`` is left out as well: it
says when to try again, not how much of anything is used.
"""

import re
from collections.abc import Iterator, Mapping

from exporter.quotas.reading import (
    DAY,
    HOUR,
    LONGEST_WINDOW,
    Answer,
    QuotaProvider,
    Reading,
    header,
    ratio,
    reset,
    scope_named,
)
from exporter.quotas.values import is_instant, is_number, is_word

_PREFIX = "anthropic-ratelimit-unified-"
_NAMED_SLUG = "iguana_necktie"
"""The one slug that does not begin with its duration, which is a week."""
_SLUG = rf"(?:[0-9]{{1,4}}[hd](?:_[a-z_]{{1,26}})?|{_NAMED_SLUG})"
_WINDOW = re.compile(
    rf"{_PREFIX}(([0-9]{{1,4}})([hd])(_[a-z_]{{1,26}})?|{_NAMED_SLUG})-(?:utilization|status)"
).fullmatch
_STATUS = {"allowed": "allowed", "allowed_warning": "warning", "rejected": "rejected"}
_CLAIMED = {"five_hour": "5h", "seven_day_overage_included": "7d_oi", "seven_day": "7d"}


def _read_headers(headers: Mapping[str, str], answer: Answer) -> Iterator[Reading]:
    claimed = _claimed_slug(header(headers, f"{_PREFIX}representative-claim"))
    for slug, match in {match[1]: match for name in headers if (match := _WINDOW(name))}.items():
        tail = slug if slug == _NAMED_SLUG else match[4] or ""
        scope = scope_named(tail)
        seconds = int(match[2] or 7) * (HOUR if match[3] == "h" else DAY)
        if (tail and not scope) or not 0 < seconds <= LONGEST_WINDOW:
            continue
        status = _STATUS.get(header(headers, f"{_PREFIX}{slug}-status"), "")
        used_ratio = ratio(header(headers, f"{_PREFIX}{slug}-utilization"))
        if used_ratio is None and status != "rejected":
            continue
        resets_ms = reset(header(headers, f"{_PREFIX}{slug}-reset"), answer.observed_ms)
        overall = resets_ms is None and slug == claimed
        if overall:
            # The reset without a slug belongs to the window that decides.
            resets_ms = reset(header(headers, f"{_PREFIX}reset"), answer.observed_ms)
        yield answer.reading(
            seconds, scope, used_ratio, resets_ms, status=status, inferred=overall and resets_ms is not None
        )


def _claimed_slug(claim: str) -> str:
    """``seven_day_opus`` → ``7d_opus``."""
    for words, slug in _CLAIMED.items():
        if claim == words or claim.startswith(f"{words}_"):
            return slug + claim[len(words) :]
    return ""


def _refuses(headers: Mapping[str, str]) -> bool:
    return any(name.endswith("-status") and value == "rejected" for name, value in headers.items())


CLAUDE = QuotaProvider(
    prefixes=(_PREFIX,),
    stored={
        rf"{_PREFIX}(?:{_SLUG}-)?reset": is_instant,
        rf"{_PREFIX}{_SLUG}-(?:utilization|surpassed-threshold)": is_number,
        rf"{_PREFIX}(?:{_SLUG}-)?status": _STATUS.__contains__,
        rf"{_PREFIX}representative-claim": is_word,
    },
    use_suffix="-utilization",
    read_headers=_read_headers,
    refuses=_refuses,
)
