"""Kimi's windows, reported only on request, in two shapes. Pure.

``usage`` and ``limits`` hold counts: recorded through CPA 7.2.140. ``usages`` holds fractions: the plans sold since
mid-September 2026, from full answers in public reports (token-monitor 696, ai-usagebar 199). An answer may hold both,
and older ones wrap the counts in a list ``usages``. Moonshot documents neither.
"""

from collections.abc import Iterator

from exporter.quotas.base import Call, Provider, Question, Report
from exporter.quotas.reading import Answer, Reading
from exporter.quotas.values import DAY, HOUR, OTHER, amount, moment, near_length, quotient

_NAMED = {
    "limit_5h": (5 * HOUR, ""),
    "limit_day": (DAY, ""),
    "limit_7d": (7 * DAY, ""),
    "limit_week": (7 * DAY, ""),
    "limit_month_total": (None, ""),
    "limit_month_code": (None, "code"),
}
"""Length and scope by the keys of ``usages``; the length of a month is not stated."""
_WEEK = {"duration": 7, "timeUnit": "TIME_UNIT_DAY"}
_UNITS = {"SECOND": 1, "MINUTE": 60, "HOUR": HOUR, "DAY": DAY, "WEEK": 7 * DAY}
_LEVELS = ("free", "basic", "standard", "intermediate", "advanced", "premium")


def _read_usages(answer: Answer) -> Report | None:
    # Where both shapes state a window, the fuller wins: counts are rounded, and often 0.
    readings = [*_fractions(answer.part("usages")), *_counts(answer, answer.get("usage"))]
    for wrapped in answer.each("usages"):
        readings += _counts(wrapped, wrapped.get("detail"))
    level = answer.part("user", "membership").text("level").removeprefix("LEVEL_").lower()
    plan = level if level in _LEVELS or not level else OTHER
    return Report(readings=tuple(readings), plan=plan) if readings or plan else None


def _fractions(usages: Answer) -> Iterator[Reading]:
    for key, entry in usages.entries():
        used_ratio = entry.share("used_ratio")
        if key in _NAMED and used_ratio is not None:
            yield _window(*_NAMED[key], used_ratio, entry)


def _counts(content: Answer, week: object) -> Iterator[Reading]:
    # The last states no length; other clients call it the week.
    for entry in [*content.each("limits"), content.of({"window": _WEEK, "detail": week})]:
        detail, length = entry.part("detail"), entry.part("window")
        unit = _UNITS.get(length.text("time_unit").removeprefix("TIME_UNIT_"))
        seconds = near_length((length.amount("duration") or 0) * (unit or 0))
        # Older answers have the counts beside the window, and only the reset in ``detail``.
        used_ratio = _used_ratio(detail if "limit" in detail.stated else entry)
        if seconds is not None and used_ratio is not None:
            yield _window(seconds, "", used_ratio, detail if detail.stated else entry)


def _used_ratio(counts: Answer) -> float | None:
    limit, used, remaining = map(counts.amount, ("limit", "used", "remaining"))
    if used is None and limit is not None and remaining is not None and remaining <= limit:
        used = limit - remaining
    return quotient(used, limit)


def _window(seconds: int | None, scope: str, used_ratio: float, entry: Answer) -> Reading:
    moments, waits = (map(entry.get, names) for names in (("reset_time", "reset_at"), ("reset_in", "ttl")))
    at = next((value for value in moments if moment(value, entry.observed_ms) is not None), None)
    after = next((value for value in waits if amount(value) is not None), None)
    return entry.reading(seconds, scope, used_ratio, at, after, name="month")


KIMI, KIMI_AI = (
    Provider(
        questions=(Question(900, (Call(url=f"https://{host}/coding/v1/usages", read=_read_usages),)),),
        states_all=True,
        counts=lambda _model, _scope: True,  # the proxy calls nothing but the endpoint for code
    )
    for host in ("api.kimi.com", "api.kimi.ai")
)
