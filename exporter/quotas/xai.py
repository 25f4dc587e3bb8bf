"""Grok's windows, reported only on request. The week is in percents, the month and extra use in cents. Pure.

Shapes: api-call recordings of CPA 7.2.140, and what public clients read (August to November 2026). xAI documents none
of these pages. Accounts that pay per use have no window; their empty pages are answers, too.
"""

from collections.abc import Iterator, Mapping

from exporter.quotas.base import Call, Provider, Question, Report
from exporter.quotas.reading import Answer, Reading
from exporter.quotas.values import DAY, HOUR, OTHER, nano_usd, quotient

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


def _read_week(answer: Answer) -> Report | None:
    if not _is_billing(answer):
        return None
    config = answer.part("config")
    period, used_ratio = config.part("current_period"), config.percent("credit_usage_percent")
    # Without a percent the week may be unused, or the account may have none.
    if used_ratio is None or "WEEKLY" not in period.text("type").upper():
        return Report()
    return Report(readings=(answer.reading(7 * DAY, "", used_ratio, period.get("end")),))


def _read_month(answer: Answer) -> Report | None:
    return Report(readings=tuple(_caps(answer.part("config")))) if _is_billing(answer) else None


def _is_billing(answer: Answer) -> bool:
    """Whether this is a billing page, which may be empty."""
    config = answer.get("config")
    return isinstance(config, Mapping) or (config is None and answer.stated.keys() <= {"config"})


def _caps(config: Answer) -> Iterator[Reading]:
    end = config.get("billing_period_end")
    for scope, used_key, limit_key in (("", "used", "monthly_limit"), ("on-demand", "on_demand_used", "on_demand_cap")):
        used, limit = _cents(config, used_key), _cents(config, limit_key)
        used_ratio = quotient(used, limit)
        if used_ratio is not None:
            money = nano_usd(used, scale=100), nano_usd(limit, scale=100)
            yield config.reading(None, scope, used_ratio, end, name="month", money=money)


def _cents(config: Answer, name: str) -> float | None:
    cents = config.amount(name)
    return config.part(name).amount("val") if cents is None else cents


def _read_plan(answer: Answer) -> Report | None:
    plan = answer.text("subscription_tier_display").lower()
    return Report(plan=_PLANS.get(plan, OTHER)) if plan else None


_HEADERS = {
    "Accept": "*/*",
    "User-Agent": "grok-pager/0.2.101 grok-shell/0.2.101 (macos; aarch64)",
    "x-xai-token-auth": "xai-grok-cli",
    # Clients that are too old get 426.
    "x-grok-client-version": "0.2.101",
}
_URL = "https://cli-chat-proxy.grok.com/v1"

XAI = Provider(
    questions=(
        Question(900, (Call(url=f"{_URL}/billing?format=credits", headers=_HEADERS, read=_read_week),)),
        Question(900, (Call(url=f"{_URL}/billing", headers=_HEADERS, read=_read_month),)),
        Question(12 * HOUR, (Call(url=f"{_URL}/settings", headers=_HEADERS, read=_read_plan),)),
    )
)
