"""The windows of the Codex backend: in its response headers, and on the usage pages. Pure.

The ``x-ratelimit-*`` headers of API keys are left out: their buckets refill within a minute.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from exporter.quotas.asking import Call, Question, Report
from exporter.quotas.reading import ACCOUNT, Answer, QuotaProvider, Reading
from exporter.quotas.values import (
    HOUR,
    OTHER,
    amount,
    entries,
    field,
    is_flag,
    is_instant,
    is_number,
    is_title,
    is_word,
    mapping,
    mappings,
    nano_usd,
    near_length,
    scope_named,
    scope_of,
    share_of_percent,
    text,
    used_of_remaining,
    window_seconds,
)

_PREFIX = "x-codex-"
_RESERVE = "x-base-model-inference-"
"""The reserve beside the backend's own windows."""
_GROUP = r"[a-z0-9][a-z0-9_-]{0,31}"
_STEM = rf"(?:{_PREFIX}(?:{_GROUP}-)?|{_RESERVE})(?:primary|secondary)"
_WINDOW = re.compile(rf"((?:{_PREFIX}(?:({_GROUP})-)?|({_RESERVE}))(?:primary|secondary))-window-minutes").fullmatch


def _read_headers(headers: Mapping[str, str], answer: Answer) -> Iterable[Reading]:
    own: list[Reading] = []
    grouped: list[Reading] = []
    refused, own_scope = _refuses(headers), _scope_of_model(answer.model)
    for match in filter(None, map(_WINDOW, headers)):
        stem, group = match[1], match[2] or (match[3] and _RESERVE[2:-1])
        scope = own_scope
        if group is not None:
            scope = scope_named(text(headers.get(f"{_PREFIX}{group}-limit-name"))) or scope_named(group) or None
        used_ratio = share_of_percent(headers.get(f"{stem}-used-percent"))
        seconds = window_seconds(text(headers.get(match[0])))
        # A refusal concerns the account's own windows; those that state a share keep it.
        concluded = used_ratio is None and refused and group is None
        if scope is None or seconds is None or (used_ratio is None and not concluded):
            continue
        at, after = headers.get(f"{stem}-reset-at"), headers.get(f"{stem}-reset-after-seconds")
        status = "rejected" if concluded else ""
        reading = answer.reading(seconds, scope, used_ratio, at, after, status=status)
        if reading.resets_ms is not None:
            (own if group is None else grouped).append(reading)
    if refused and not own and own_scope is not None:
        own.append(answer.reading(None, own_scope, None, answer.observed_ms, name=ACCOUNT, status="rejected"))
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
    return (
        text(headers.get(f"{_PREFIX}allowed")).lower() == "false"
        or text(headers.get(f"{_PREFIX}limit-reached")).lower() == "true"
    )


CODEX = QuotaProvider(
    prefixes=(_PREFIX, _RESERVE),
    stored={
        rf"{_STEM}-reset-at": is_instant,
        rf"{_STEM}-(?:used-percent|window-minutes|reset-after-seconds)": is_number,
        rf"{_PREFIX}(?:allowed|limit-reached)": is_flag,
        rf"{_PREFIX}(?:plan-type|active-limit)": is_word,
        rf"{_PREFIX}{_GROUP}-limit-name": is_title,
    },
    use_suffix="-used-percent",
    read_headers=_read_headers,
    refuses=_refuses,
    counts=lambda model, scope: _scope_of_model(model) == scope,
)


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


def _read_usage(content: Mapping[str, Any], answer: Answer) -> Report | None:
    own = mapping(field(content, "rate_limit"))
    readings = [*_windows(own, "", answer)]
    if not readings and _is_refused(own):
        readings.append(answer.reading(None, "", None, answer.observed_ms, name=ACCOUNT, status="rejected"))
    readings += _windows(mapping(field(content, "code_review_rate_limit")), "code-review", answer)
    for limit in mappings(field(content, "additional_rate_limits")):
        readings += _windows(mapping(field(limit, "rate_limit")), _limit_scope(limit), answer)
    readings += _spend_cap(mapping(mapping(field(content, "spend_control")).get("individual_limit")), answer)
    plan = text(field(content, "plan_type"))
    if not readings and not plan and not own:
        return None
    credit = amount(field(mapping(field(content, "rate_limit_reset_credits")), "available_count"))
    return Report(
        readings=tuple(readings),
        plan=_PLANS.get(plan, OTHER) if plan else "",
        reset_credits=None if credit is None else round(credit),
    )


def _windows(limit: Mapping[str, Any], scope: str, answer: Answer) -> Iterator[Reading]:
    for key, entry in entries(limit):
        seconds = near_length(amount(field(entry, "limit_window_seconds")))
        used_ratio = share_of_percent(field(entry, "used_percent"))
        concluded = used_ratio is None and _is_refused(limit)
        if not key.lower().endswith("window") or seconds is None or (used_ratio is None and not concluded):
            continue
        at, after = field(entry, "reset_at"), field(entry, "reset_after_seconds")
        reading = answer.reading(seconds, scope, used_ratio, at, after, status="rejected" if concluded else "")
        if not concluded or reading.resets_ms is not None:
            yield reading


def _is_refused(limit: Mapping[str, Any]) -> bool:
    return limit.get("allowed") is False or field(limit, "limit_reached") is True


def _limit_scope(limit: Mapping[str, Any]) -> str:
    scope, feature = scope_of(field(limit, "limit_name")), text(field(limit, "metered_feature"))
    return scope if scope != OTHER or not is_word(feature) else scope_named(feature)


def _spend_cap(cap: Mapping[str, Any], answer: Answer) -> Iterator[Reading]:
    """What one member of a business plan may spend. The unit is usually credits, whose price is not published."""
    used_ratio = share_of_percent(field(cap, "used_percent"))
    if used_ratio is None:
        used_ratio = used_of_remaining(share_of_percent(field(cap, "remaining_percent")))
    if used_ratio is not None:
        in_usd = text(cap.get("unit")).lower() == "usd"
        money = (nano_usd(cap.get("used")), nano_usd(cap.get("limit"))) if in_usd else (None, None)
        yield answer.reading(None, "spend-cap", used_ratio, field(cap, "reset_at"), name="month", money=money)


def _read_reset_credits(content: Mapping[str, Any], _: Answer) -> Report | None:
    count = amount(field(content, "available_count"))
    return None if count is None else Report(reset_credits=round(count))


_HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": "codex_cli_rs/0.76.0 (Debian 13.0.0; x86_64) WindowsTerminal",
    "Chatgpt-Account-Id": "$ACCOUNT$",
}
_BACKEND = "https://chatgpt.com/backend-api/wham"
_DESKTOP_HEADERS = _HEADERS | {"OpenAI-Beta": "codex-1", "Originator": "Codex Desktop"}

_RESETS = Call(url=f"{_BACKEND}/rate-limit-reset-credits", headers=_DESKTOP_HEADERS, read=_read_reset_credits)

CODEX_ASKED = (
    Question(600, (Call(url=f"{_BACKEND}/usage", headers=_HEADERS, read=_read_usage),)),
    Question(12 * HOUR, (_RESETS,)),
)
