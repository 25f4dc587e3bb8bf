"""Grok's windows, reported only on request: the week in percents, the month and extra use in cents. Pure.

Shapes: api-call recordings of CPA 7.2.140, and what public clients read (August to November 2026). xAI documents none
of these pages. Accounts that pay per use have no window; their empty pages are answers, too.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from exporter.quotas.asking import Call, Question, Report
from exporter.quotas.reading import Answer, Reading
from exporter.quotas.values import DAY, HOUR, OTHER, amount, field, mapping, nano_usd, quotient, share_of_percent, text

_CENTS = 100
_PLANS = {
    "free": "free",
    "premium": "premium",
    "supergrok": "supergrok",
    "supergrok heavy": "supergrok-heavy",
    "supergrok lite": "supergrok-lite",
    "x basic": "x-basic",
    "x premium": "x-premium",
    "x premium+": "x-premium-plus",
}


def _read_week(content: Mapping[str, Any], answer: Answer) -> Report | None:
    config = _config(content)
    if config is None:
        return None
    period = mapping(field(config, "current_period"))
    used_ratio = share_of_percent(field(config, "credit_usage_percent"))
    # Without a percent the week may be unused, or the account may have none.
    if used_ratio is None or "WEEKLY" not in text(period.get("type")).upper():
        return Report()
    return Report(readings=(answer.reading(7 * DAY, "", used_ratio, period.get("end")),))


def _read_month(content: Mapping[str, Any], answer: Answer) -> Report | None:
    config = _config(content)
    return None if config is None else Report(readings=tuple(_caps(config, answer)))


def _config(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The content of a billing page, which may be empty; None if it is another page."""
    config = content.get("config")
    if isinstance(config, Mapping):
        return config
    return {} if config is None and content.keys() <= {"config"} else None


def _caps(config: Mapping[str, Any], answer: Answer) -> Iterator[Reading]:
    end = field(config, "billing_period_end")
    for scope, used_key, limit_key in (("", "used", "monthly_limit"), ("on-demand", "on_demand_used", "on_demand_cap")):
        used, limit = (_cents(field(config, key)) for key in (used_key, limit_key))
        used_ratio = quotient(used, limit)
        if used_ratio is not None:
            money = nano_usd(used, scale=_CENTS), nano_usd(limit, scale=_CENTS)
            yield answer.reading(None, scope, used_ratio, end, name="month", money=money)


def _cents(value: object) -> float | None:
    return amount(value.get("val")) if isinstance(value, Mapping) else amount(value)


def _read_plan(content: Mapping[str, Any], _: Answer) -> Report | None:
    plan = text(content.get("subscription_tier_display")).lower()
    return Report(plan=_PLANS.get(plan, OTHER)) if plan else None


_HEADERS = {
    "Accept": "*/*",
    "User-Agent": "grok-pager/0.2.101 grok-shell/0.2.101 (macos; aarch64)",
    "x-xai-token-auth": "xai-grok-cli",
    # Clients that are too old get 426.
    "x-grok-client-version": "0.2.101",
}
_URL = "https://cli-chat-proxy.grok.com/v1"

XAI_ASKED = (
    Question(900, (Call(url=f"{_URL}/billing?format=credits", headers=_HEADERS, read=_read_week),)),
    Question(900, (Call(url=f"{_URL}/billing", headers=_HEADERS, read=_read_month),)),
    Question(12 * HOUR, (Call(url=f"{_URL}/settings", headers=_HEADERS, read=_read_plan),)),
)
