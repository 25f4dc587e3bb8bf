"""Kimi's windows, reported only on request, in two shapes. Pure.

``usage`` and ``limits`` hold counts: recorded through CPA 7.2.140. ``usages`` holds fractions: the plans sold since
mid-September 2026, from full answers in public reports (token-monitor 696, ai-usagebar 199). An answer may hold both,
and older ones wrap the counts in a list ``usages``. Moonshot documents neither.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from exporter.quotas.asking import Call, Question, Report
from exporter.quotas.reading import Answer, Reading
from exporter.quotas.values import (
    DAY,
    HOUR,
    OTHER,
    amount,
    entries,
    field,
    mapping,
    mappings,
    near_length,
    quotient,
    share,
    text,
)

_NAMED = {
    "limit_5h": (5 * HOUR, ""),
    "limit_day": (DAY, ""),
    "limit_7d": (7 * DAY, ""),
    "limit_week": (7 * DAY, ""),
    "limit_month_total": (None, ""),
    "limit_month_code": (None, "code"),
}
"""Length and scope by the keys of ``usages``; of a month no length is stated."""
_WEEK = {"duration": 7, "timeUnit": "TIME_UNIT_DAY"}
_UNITS = {"SECOND": 1, "MINUTE": 60, "HOUR": HOUR, "DAY": DAY, "WEEK": 7 * DAY}
_LEVELS = ("free", "basic", "standard", "intermediate", "advanced", "premium")


def _read_usages(content: Mapping[str, Any], answer: Answer) -> Report | None:
    # Where both shapes state a window, the fuller wins: counts are rounded, and often 0.
    readings = [*_fractions(content.get("usages"), answer), *_counts(content, content.get("usage"), answer)]
    for wrapped in mappings(content.get("usages")):
        readings += _counts(wrapped, wrapped.get("detail"), answer)
    level = text(mapping(mapping(content.get("user")).get("membership")).get("level")).removeprefix("LEVEL_").lower()
    plan = level if level in _LEVELS or not level else OTHER
    return Report(readings=tuple(readings), plan=plan) if readings or plan else None


def _fractions(usages: object, answer: Answer) -> Iterator[Reading]:
    for key, entry in entries(usages):
        used_ratio = share(field(entry, "used_ratio"))
        if key in _NAMED and used_ratio is not None:
            yield _window(*_NAMED[key], used_ratio, entry, answer)


def _counts(content: Mapping[str, Any], week: object, answer: Answer) -> Iterator[Reading]:
    # The last states no length; other clients call it the week.
    for entry in [*mappings(content.get("limits")), {"window": _WEEK, "detail": week}]:
        detail, length = mapping(entry.get("detail")), mapping(entry.get("window"))
        unit = _UNITS.get(text(field(length, "time_unit")).removeprefix("TIME_UNIT_"))
        seconds = near_length((amount(length.get("duration")) or 0) * (unit or 0))
        # Older answers have the counts beside the window, and only the reset in ``detail``.
        used_ratio = _used_ratio(detail if "limit" in detail else entry)
        if seconds is not None and used_ratio is not None:
            yield _window(seconds, "", used_ratio, detail or entry, answer)


def _used_ratio(counts: Mapping[str, Any]) -> float | None:
    limit, used, remaining = (amount(counts.get(name)) for name in ("limit", "used", "remaining"))
    if used is None and limit is not None and remaining is not None and remaining <= limit:
        used = limit - remaining
    return quotient(used, limit)


def _window(seconds: int | None, scope: str, used_ratio: float, stated: Mapping[str, Any], answer: Answer) -> Reading:
    at, after = field(stated, "reset_time", "reset_at"), field(stated, "reset_in", "ttl")
    return answer.reading(seconds, scope, used_ratio, at, after, name="month")


def _asked(host: str) -> tuple[Question, ...]:
    return (Question(900, (Call(url=f"https://{host}/coding/v1/usages", read=_read_usages),)),)


KIMI_ASKED = _asked("api.kimi.com")
KIMI_AI_ASKED = _asked("api.kimi.ai")
