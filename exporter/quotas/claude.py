"""Claude's windows: in response headers to subscription accounts, and on the usage pages. Pure.

The ``anthropic-ratelimit-{requests,tokens,…}-*`` headers of API keys are left out. Their buckets refill within a
minute: by the time anybody sees such a reading, its window is over. ``retry-after`` is left out, too: it says when to
try again, not how much is used.
"""

import re
from collections.abc import Iterator

from msgspec.structs import replace

from exporter.quotas.base import Call, Provider, Question, Report
from exporter.quotas.reading import ACCOUNT, OVERAGE, Answer, Reading
from exporter.quotas.values import (
    DAY,
    HOUR,
    LONGEST_WINDOW,
    instant,
    is_word,
    moment,
    nano_usd,
    number,
    quotient,
    scope_named,
    scope_of,
)

_PREFIX = "anthropic-ratelimit-unified-"
_NAMED_SLUG = "iguana_necktie"
"""The one slug that does not begin with its duration. Its window is a week."""
_SLUG = rf"(?:[0-9]{{1,4}}[hd](?:_[a-z_]{{1,26}})?|{_NAMED_SLUG})"
_WINDOW = re.compile(
    rf"{_PREFIX}(([0-9]{{1,4}})([hd])(_[a-z_]{{1,26}})?|{_NAMED_SLUG})-(?:utilization|status)"
).fullmatch

_STATUS = {"allowed": "allowed", "allowed_warning": "warning", "rejected": "rejected"}
_OVERAGE_STATUS = f"{_PREFIX}overage-status"
_is_allowed = re.compile("allowed(?:_warning)?").fullmatch
_CLAIMED = {"five_hour": "5h", "seven_day_overage_included": "7d_oi", "seven_day": "7d"}
"""The words of claims for the beginnings of slugs: ``seven_day_opus`` is ``7d_opus``."""


def _read_headers(headers: Answer) -> list[Reading]:
    claimed = headers.text(f"{_PREFIX}representative-claim")
    for words, beginning in _CLAIMED.items():
        claimed = claimed.replace(words, beginning)
    # What is stated without a slug belongs to the window that decides, or to no known one.
    overall, reset = headers.text(f"{_PREFIX}status"), headers.get(f"{_PREFIX}reset")
    is_paid = _is_allowed(headers.text(_OVERAGE_STATUS)) is not None
    names = (*headers.stated, f"{_PREFIX}{claimed}-status")
    readings: list[Reading] = []
    for slug, match in {match[1]: match for name in names if (match := _WINDOW(name))}.items():
        tail = slug if slug == _NAMED_SLUG else match[4] or ""
        scope = scope_named(tail)
        seconds = int(match[2] or 7) * (HOUR if match[3] == "h" else DAY)
        stated = headers.text(f"{_PREFIX}{slug}-status") or (overall if slug == claimed else "")
        status, used_ratio = _STATUS.get(stated, ""), headers.share(f"{_PREFIX}{slug}-utilization")
        if (tail and not scope) or not 0 < seconds <= LONGEST_WINDOW or (used_ratio is None and status != "rejected"):
            continue
        at, inferred = headers.get(f"{_PREFIX}{slug}-reset"), False
        if slug == claimed and moment(at, headers.observed_ms) is None:
            at, inferred = reset, moment(reset, headers.observed_ms) is not None
        if is_paid and status == "rejected":
            status = OVERAGE
        readings.append(headers.reading(seconds, scope, used_ratio, at, status=status, inferred=inferred))
    # If neither the session nor the week refuses, a model's window did, and other requests still work.
    allowed = {reading.window for reading in readings if not reading.scope and reading.status in ("allowed", "warning")}
    explained = allowed >= {"5h", "7d"} or any(reading.status == overall for reading in readings)
    if overall == "rejected" and not explained and not is_paid:
        at = moment(reset, headers.observed_ms) or headers.observed_ms
        readings.append(headers.reading(None, "", None, at, name=ACCOUNT, status=overall))
    return readings


# --- asked for --------------------------------------------------------------------------------------------------------

# Shapes: api-call recordings of CPA 7.2.140, and what public clients read (August to November 2026): CPAMC f60c8ca6,
# CodexBar 27c7f33. Anthropic documents neither page.

_WEEK = 7 * DAY
_CODE_NAME = re.compile(r"[a-z]{2,16}(?:_[a-z]{1,16}){0,3}").fullmatch
_NO_WINDOWS = {"extra_usage", "spend", "seven_day_breakdown", "error"}
_KINDS = {
    "session": (5 * HOUR, False),
    "weekly": (_WEEK, False),
    "weekly_all": (_WEEK, False),
    "weekly_scoped": (_WEEK, True),
    "weekly_model_scoped": (_WEEK, True),
    "model_scoped": (_WEEK, True),
}
"""Length, and whether the window is for one model only."""
_SEVERITY = {"normal": "allowed", "warning": "warning"}
_FAMILIES = ("fable", "opus", "sonnet", "haiku")
_SURFACES_BY_PROXY = ("claude_code", "code")


def _read_usage(answer: Answer) -> Report | None:
    found: dict[tuple[str, str], Reading] = {}
    for reading in [*_listed_windows(answer), *_keyed_windows(answer)]:
        found.setdefault((reading.window, reading.scope), reading)
    caps = [*_extra_usage(answer)]
    is_paid = any(cap.used_ratio < 1 for cap in caps)
    windows = (replace(each, status=OVERAGE) if is_paid and each.used_ratio >= 1 else each for each in found.values())
    readings = (*windows, *caps)
    elsewhere_ratio = _elsewhere(answer)
    # A window that the account does not have is null. One that cannot be read is something else.
    has_none = "five_hour" in answer.stated and not any(map(answer.get, ("five_hour", "seven_day", "limits")))
    told = readings or elsewhere_ratio is not None or has_none
    return Report(readings=readings, elsewhere_ratio=elsewhere_ratio) if told else None


def _listed_windows(answer: Answer) -> Iterator[Reading]:
    # Since July 2026 only ``limits`` has the windows of models, and ``is_active`` marks the one that decides now.
    for entry in sorted(answer.each("limits"), key=lambda entry: entry.get("is_active") is not True):
        known, used_ratio = _KINDS.get(entry.text("kind")), entry.percent("percent")
        if known is not None and used_ratio is not None:
            seconds, is_scoped = known
            scope = _scope(entry.part("scope")) if is_scoped else ""
            status = _SEVERITY.get(entry.text("severity"), "")
            yield entry.reading(seconds, scope, used_ratio, entry.get("resets_at"), status=status)


def _scope(scope: Answer) -> str:
    """The scope of a window for one model. Headers name families, so "Fable 5" is ``fable``."""
    model = scope.part("model")
    name = model.text("display_name") or model.text("id") or scope.text("surface")
    return next((family for family in _FAMILIES if family in name.lower()), scope_of(name))


def _keyed_windows(answer: Answer) -> Iterator[Reading]:
    for key, entry in answer.entries():
        used, limit, left = (nano_usd(entry.get(f"{name}_dollars")) for name in ("used", "limit", "remaining"))
        if used is None and limit is not None and left is not None:
            used = max(0, limit - left)
        used_ratio = entry.percent("utilization")
        if used_ratio is None:
            used_ratio = quotient(used, limit)
        if used_ratio is None or key in _NO_WINDOWS or not _CODE_NAME(key):
            continue
        if limit and not key.startswith(("five_hour", "seven_day")):
            continue  # credits that were given once, for another use: they expire instead of starting again
        seconds: int | None = _WEEK
        scope = scope_named(key.removeprefix("seven_day").removeprefix("_"))
        if key == "five_hour":
            seconds, scope = 5 * HOUR, ""
        elif not key.startswith("seven_day") and key != _NAMED_SLUG:
            seconds = None
        money = (used, limit) if limit else (None, None)
        reading = entry.reading(seconds, scope, used_ratio, entry.get("resets_at"), money=money)
        # A window that nobody has explained yet states no length, and often nothing else.
        if seconds is not None or reading.resets_ms is not None:
            yield reading


def _extra_usage(answer: Answer) -> Iterator[Reading]:
    """What may be spent beyond the plan in a month: in ``spend``, in older answers in ``extra_usage``.

    Where ``extra_usage`` names no currency, it has no unit; other clients show US cents.
    """
    spend, extra = answer.part("spend"), answer.part("extra_usage")
    cap = spend.part("limit")
    if spend.get("enabled") is not False and cap.stated:
        amounts = spend.part("used").get("amount_minor"), cap.get("amount_minor")
        places, currency = cap.amount("exponent"), cap.text("currency")
    elif extra.get("is_enabled") is True:
        amounts = extra.get("used_credits"), extra.get("monthly_limit")
        places, currency = extra.amount("decimal_places"), extra.text("currency")
    else:
        return
    scale = 10 ** (2 if places is None or places > 6 else round(places))
    spent, limit = (nano_usd(each, scale=scale) for each in amounts)
    used_ratio = quotient(spent, limit)
    if used_ratio is not None and currency.upper() in ("", "USD"):
        at, inferred = extra.get("resets_at"), not currency
        money = (spent, limit)
        yield extra.reading(None, "extra-usage", used_ratio, at, name="month", inferred=inferred, money=money)


def _elsewhere(answer: Answer) -> float | None:
    """The share of the week's use that was not by Claude Code. The answer divides that use into whole percents."""
    rows = [(row.text("key"), row.percent("percent")) for row in answer.part("seven_day_breakdown").each("rows")]
    total = sum(used for _, used in rows if used is not None)
    by_proxy = [used for key, used in rows if key in _SURFACES_BY_PROXY and used is not None]
    if not by_proxy or not 0 < total < 1.1:
        return None
    # Anthropic may leave rows out; the others then add up to less than the whole.
    return round(max(0.0, 1 - sum(by_proxy) / max(1.0, total)), 9)


def _read_profile(answer: Answer) -> Report | None:
    account, organization = answer.part("account"), answer.part("organization")
    if not account.stated and not organization.stated:
        return None
    kind, tier = organization.text("organization_type"), organization.text("rate_limit_tier")
    flags = account.get("has_claude_max"), account.get("has_claude_pro")
    plan = ""
    if flags[0] is True:
        plan = next((f"max-{times}" for times in ("5x", "20x") if tier.endswith(f"_{times}")), "max")
    elif flags[1] is True:
        plan = "pro"
    elif kind == "claude_team" and organization.text("subscription_status") == "active":
        plan = "team"
    elif kind == "claude_enterprise":
        plan = "enterprise"
    elif flags == (False, False):
        plan = "free"
    return Report(plan=plan)


_HEADERS = {
    "anthropic-beta": "oauth-2025-04-20",
    "Content-Type": "application/json",
    # Any other client nearly always gets 429.
    "User-Agent": "claude-code/2.1.0",
}

_URL = "https://api.anthropic.com/api/oauth"

CLAUDE = Provider(
    questions=(
        Question(600, (Call(url=f"{_URL}/usage", headers=_HEADERS, read=_read_usage),), gap_seconds=180),
        Question(12 * HOUR, (Call(url=f"{_URL}/profile", headers=_HEADERS, read=_read_profile),), gap_seconds=180),
    ),
    stored={
        rf"{_PREFIX}(?:{_SLUG}-)?reset": instant,
        rf"{_PREFIX}{_SLUG}-(?:utilization|surpassed-threshold)": number,
        rf"{_PREFIX}(?:{_SLUG}-)?status": _STATUS.get,
        _OVERAGE_STATUS: _is_allowed,
        rf"{_PREFIX}representative-claim": is_word,
    },
    use_suffix="-utilization",
    read_headers=_read_headers,
    refuses=lambda headers: any(name.endswith("-status") and value == "rejected" for name, value in headers.items()),
    in_records=True,
    counts=lambda model, scope: scope in model.lower(),
)
