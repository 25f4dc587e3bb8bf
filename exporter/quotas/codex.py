"""The windows of the Codex backend: in its response headers, and on the usage pages. Pure.

The ``x-ratelimit-*`` headers of API keys are left out: their buckets refill within a minute.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from exporter.quotas.base import Call, Provider, Question, Report
from exporter.quotas.reading import ACCOUNT, Answer, Reading
from exporter.quotas.values import (
    HOUR,
    OTHER,
    instant,
    is_flag,
    is_title,
    is_word,
    nano_usd,
    near_length,
    number,
    scope_named,
    used_of_remaining,
    window_seconds,
)

_PREFIX = "x-codex-"
_RESERVE = "x-base-model-inference-"
"""Begins the headers of the reserve beside the backend's own windows."""
_GROUP = r"(?:additional-)?[a-z0-9][a-z0-9._-]{0,31}"
"""A limit's name for its headers. Over WebSocket CPA uses the whole name: ``additional-gpt-5.3-codex-spark``."""
_STEM = rf"(?:{_PREFIX}(?:{_GROUP}-)?|{_RESERVE})(?:primary|secondary)"
_WINDOW = re.compile(rf"((?:{_PREFIX}(?:({_GROUP})-)?|({_RESERVE}))(?:primary|secondary))-window-minutes").fullmatch


def _read_headers(headers: Answer) -> Iterable[Reading]:
    own: list[Reading] = []
    grouped: list[Reading] = []
    refused, own_scope = _refuses(headers.stated), _scope_of_model(headers.model)
    is_full = any((headers.percent(f"{_PREFIX}{place}-used-percent") or 0) >= 1 for place in ("primary", "secondary"))
    for match in filter(None, map(_WINDOW, headers.stated)):
        stem, group = match[1], match[2] or (match[3] and _RESERVE[2:-1])
        scope = own_scope
        if group is not None:
            scope = scope_named(headers.text(f"{_PREFIX}{group}-limit-name")) or scope_named(group) or None
        used_ratio = headers.percent(f"{stem}-used-percent")
        seconds = window_seconds(headers.text(match[0]))
        # A refusal concerns the account's own windows, unless one of them states that it is full.
        concluded = used_ratio is None and refused and not is_full and group is None
        if scope is None or seconds is None or (used_ratio is None and not concluded):
            continue
        at, after = headers.get(f"{stem}-reset-at"), headers.get(f"{stem}-reset-after-seconds")
        reading = headers.reading(seconds, scope, used_ratio, at, after, status="rejected" if concluded else "")
        if reading.resets_ms is not None:
            (own if group is None else grouped).append(reading)
    if refused and own_scope is not None and not any(reading.used_ratio >= 1 for reading in own):
        own.append(headers.reading(None, own_scope, None, headers.observed_ms, name=ACCOUNT, status="rejected"))
    # A group names its own scope; the scope of the others is a conclusion from the model.
    named = {(reading.window, reading.scope) for reading in grouped}
    return [*grouped, *(reading for reading in own if (reading.window, reading.scope) not in named)]


def _scope_of_model(model: str) -> str | None:
    """The scope of the windows without a group: they belong to the limit of the model that answered. None if unknown.

    The Spark model has a limit of its own; without this, its 0 % would hide a full main window.
    """
    name = model[:200].rpartition("/")[2].partition("(")[0].strip().lower()
    if not name or name == "unknown":
        return None
    end = name.find("-spark")
    return "" if end < 0 else scope_named(name[: end + len("-spark")]) or None


def _refuses(headers: Mapping[str, str]) -> bool:
    """Whether the backend reports that the account has reached its limit."""
    allowed, reached = (headers.get(f"{_PREFIX}{name}", "") for name in ("allowed", "limit-reached"))
    return str(allowed).lower() == "false" or str(reached).lower() == "true"


# --- asked for --------------------------------------------------------------------------------------------------------

# Shapes: api-call recordings of CPA 7.2.140, and what public clients read (August to November 2026); plans: the list in
# openai/codex. OpenAI documents neither page.

_PLANS = {
    **{name: name for name in ("free", "go", "plus", "pro", "prolite", "team", "business", "enterprise", "edu", "k12")},
    "edu_plus": "edu",
    "edu_pro": "edu",
    "education": "edu",
    "ent26": "enterprise",
    "enterprise_cbp_automation": "enterprise",
    "enterprise_cbp_usage_based": "enterprise",
    "self_serve_business_prolite": "business",
    "self_serve_business_usage_based": "business",
}


def _read_usage(answer: Answer) -> Report | None:
    own = answer.part("rate_limit")
    readings = [*_windows(own, "")]
    if _is_refused(own) and not any(reading.used_ratio >= 1 for reading in readings):
        readings.append(own.reading(None, "", None, own.observed_ms, name=ACCOUNT, status="rejected"))
    readings += _windows(answer.part("code_review_rate_limit"), "code-review")
    for limit in answer.each("additional_rate_limits"):
        readings += _windows(limit.part("rate_limit"), _limit_scope(limit))
    readings += _spend_cap(answer.part("spend_control", "individual_limit"))
    plan, credit = answer.text("plan_type"), answer.part("rate_limit_reset_credits").amount("available_count")
    if not readings and not plan and not own.stated:
        return None
    return Report(
        readings=tuple(readings),
        plan=_PLANS.get(plan, OTHER) if plan else "",
        reset_credits=None if credit is None else round(credit),
    )


def _windows(limit: Answer, scope: str) -> Iterator[Reading]:
    is_full = any((entry.percent("used_percent") or 0) >= 1 for _, entry in limit.entries())
    for key, entry in limit.entries():
        seconds, used_ratio = near_length(entry.amount("limit_window_seconds")), entry.percent("used_percent")
        concluded = used_ratio is None and not is_full and _is_refused(limit)
        if not key.lower().endswith("window") or seconds is None or (used_ratio is None and not concluded):
            continue
        at, after = entry.get("reset_at"), entry.get("reset_after_seconds")
        reading = entry.reading(seconds, scope, used_ratio, at, after, status="rejected" if concluded else "")
        if not concluded or reading.resets_ms is not None:
            yield reading


def _is_refused(limit: Answer) -> bool:
    return limit.get("allowed") is False or limit.get("limit_reached") is True


def _limit_scope(limit: Answer) -> str:
    """The scope, as in headers: from the limit's name, else from its group, ``bengalfox`` in ``codex_bengalfox``."""
    name, feature = limit.text("limit_name"), limit.text("metered_feature")
    if is_title(name):
        return scope_named(name)
    return scope_named(feature.removeprefix("codex_")) if is_word(feature) else OTHER


def _spend_cap(cap: Answer) -> Iterator[Reading]:
    """What one member of a business plan may spend. The unit is usually credits, whose price is not published."""
    used_ratio = cap.percent("used_percent")
    if used_ratio is None:
        used_ratio = used_of_remaining(cap.percent("remaining_percent"))
    if used_ratio is not None:
        in_usd = cap.text("unit").lower() == "usd"
        money = (nano_usd(cap.get("used")), nano_usd(cap.get("limit"))) if in_usd else (None, None)
        yield cap.reading(None, "spend-cap", used_ratio, cap.get("reset_at"), name="month", money=money)


def _read_reset_credits(answer: Answer) -> Report | None:
    count = answer.amount("available_count")
    return None if count is None else Report(reset_credits=round(count))


_HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": "codex_cli_rs/0.76.0 (Debian 13.0.0; x86_64) WindowsTerminal",
    "Chatgpt-Account-Id": "$ACCOUNT$",
}
_BACKEND = "https://chatgpt.com/backend-api/wham"
_DESKTOP_HEADERS = _HEADERS | {"OpenAI-Beta": "codex-1", "Originator": "Codex Desktop"}

_RESETS = Call(url=f"{_BACKEND}/rate-limit-reset-credits", headers=_DESKTOP_HEADERS, read=_read_reset_credits)

CODEX = Provider(
    questions=(
        Question(600, (Call(url=f"{_BACKEND}/usage", headers=_HEADERS, read=_read_usage),)),
        Question(12 * HOUR, (_RESETS,)),
    ),
    stored={
        rf"{_STEM}-reset-at": instant,
        rf"{_STEM}-(?:used-percent|window-minutes|reset-after-seconds)": number,
        rf"{_PREFIX}(?:allowed|limit-reached)": is_flag,
        rf"{_PREFIX}(?:plan-type|active-limit)": is_word,
        rf"{_PREFIX}{_GROUP}-limit-name": is_title,
    },
    use_suffix="-used-percent",
    read_headers=_read_headers,
    refuses=_refuses,
    in_records=True,
    states_all=True,
    counts=lambda model, scope: _scope_of_model(model) == scope,
)
