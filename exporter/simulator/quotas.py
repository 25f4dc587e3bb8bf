"""The demo accounts' windows, as response headers and as answers of providers.

A reading is a pure function of the account and the time: the used share grows evenly to the account's ceiling until
the window ends. So headers and ``api-call`` always agree without any state.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from exporter.simulator.world import ORGANIZATION_ID, Credential

FIVE_HOURS = 5 * 3600
SEVEN_DAYS = 7 * 86400
_DAY = 86400


@dataclass(frozen=True, slots=True)
class Reading:
    """The used share of a window, which may exceed 1, and its end in Unix seconds."""

    used_ratio: float
    resets_at: int


def reading(credential: Credential, window_seconds: int, at: float, *, scoped: bool = False) -> Reading:
    """The state of the credential's window of 5 hours or 7 days at Unix time ``at``.

    ``scoped`` means the window of a single model: Opus at Claude, Spark at Codex.
    """
    start = int(at // window_seconds) * window_seconds
    ceiling = credential.ceiling_5h if window_seconds == FIVE_HOURS else credential.ceiling_7d
    if scoped:
        ceiling = credential.ceiling_scoped
    elif window_seconds == FIVE_HOURS and credential.trouble == "shrinks" and start // _DAY % 2:
        ceiling *= 1.5
    elif window_seconds == SEVEN_DAYS and credential.trouble == "exhausted":
        return Reading(1.0, start + window_seconds)
    return Reading(ceiling * (at - start) / window_seconds, start + window_seconds)


def is_exhausted(credential: Credential, at: float) -> bool:
    """Whether the provider refuses this account now. Only accounts with windows in headers can be exhausted."""
    if credential.kind != "oauth" or credential.provider not in {"claude", "codex"}:
        return False
    return any(reading(credential, window, at).used_ratio >= 1 for window in (FIVE_HOURS, SEVEN_DAYS))


def _status(used_ratio: float) -> str:
    if used_ratio >= 1:
        return "rejected"
    return "allowed_warning" if used_ratio >= 0.9 else "allowed"


def claude_headers(credential: Credential, at: float, model: str = "") -> dict[str, str]:
    """Anthropic's headers for subscription accounts. Opus has its own week, reported only if ``model`` is an Opus."""
    windows = _Windows(credential, at)
    named = {"5h": windows.short, "7d": windows.week} | ({"7d_opus": windows.scoped_week} if "opus" in model else {})
    five_hour_decides = windows.short.used_ratio >= windows.week.used_ratio
    deciding = windows.short if five_hour_decides else windows.week
    headers = {
        "Representative-Claim": "five_hour" if five_hour_decides else "seven_day",
        "Reset": str(deciding.resets_at),
        "Status": _status(deciding.used_ratio),
    }
    for name, window in named.items():
        headers |= {
            f"{name}-Reset": str(window.resets_at),
            f"{name}-Status": _status(window.used_ratio),
            f"{name}-Utilization": f"{window.used_ratio:.4f}",
        }
    return {f"Anthropic-Ratelimit-Unified-{name}": value for name, value in headers.items()}


def codex_headers(credential: Credential, at: float) -> dict[str, str]:
    """The Codex backend's headers: the main windows and the Spark model's group."""
    windows = _Windows(credential, at)
    headers = {
        "Active-Limit": "codex",
        "Bengalfox-Limit-Name": "GPT-5.3-Codex-Spark",
        "Plan-Type": credential.plan,
        "Primary-Reset-After-Seconds": str(windows.short.resets_at - int(at)),
        "Secondary-Reset-After-Seconds": str(windows.week.resets_at - int(at)),
    }
    spark = reading(credential, FIVE_HOURS, at, scoped=True)
    for group, window, minutes in (
        ("Primary", windows.short, 300),
        ("Secondary", windows.week, 10_080),
        ("Bengalfox-Primary", spark, 300),
    ):
        headers |= {
            f"{group}-Reset-At": str(window.resets_at),
            f"{group}-Used-Percent": f"{window.used_ratio * 100:.1f}",
            f"{group}-Window-Minutes": str(minutes),
        }
    return {f"X-Codex-{name}": value for name, value in headers.items()}


class _Windows:
    def __init__(self, credential: Credential, at: float) -> None:
        self.credential = credential
        self.at = at
        self.short = reading(credential, FIVE_HOURS, at)
        self.week = reading(credential, SEVEN_DAYS, at)
        self.scoped_week = reading(credential, SEVEN_DAYS, at, scoped=True)


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _claude_usage(account: _Windows) -> dict[str, Any]:
    windows = {"five_hour": account.short, "seven_day": account.week, "seven_day_opus": account.scoped_week}
    has_extra = account.credential.plan.startswith("max")
    return {
        **{
            name: {"utilization": round(of.used_ratio * 100, 1), "resets_at": _iso(of.resets_at)}
            for name, of in windows.items()
        },
        "seven_day_sonnet": {"utilization": 4.0, "resets_at": _iso(account.week.resets_at)},
        "extra_usage": {"is_enabled": has_extra, "monthly_limit": 5000, "used_credits": 1200} if has_extra else None,
        "seven_day_breakdown": {
            "rows": [
                {"key": "claude_code", "display_name": "Claude Code", "percent": 70},
                {"key": "chat", "display_name": "Claude", "percent": 30},
            ]
        },
    }


def _codex_usage(account: _Windows) -> dict[str, Any]:
    def window(of: Reading, seconds: int) -> dict[str, Any]:
        return {
            "used_percent": round(of.used_ratio * 100),
            "limit_window_seconds": seconds,
            "reset_after_seconds": of.resets_at - int(account.at),
            "reset_at": of.resets_at,
        }

    full = is_exhausted(account.credential, account.at)
    return {
        "plan_type": account.credential.plan,
        "rate_limit": {
            "allowed": not full,
            "limit_reached": full,
            "primary_window": window(account.short, FIVE_HOURS),
            "secondary_window": window(account.week, SEVEN_DAYS),
        },
    }


def _kimi_usage(account: _Windows) -> dict[str, Any]:
    def detail(of: Reading, limit: int) -> dict[str, str]:
        used = round(of.used_ratio * limit)
        figures = {"limit": limit, "used": used, "remaining": limit - used}
        return {name: str(figure) for name, figure in figures.items()} | {"resetTime": _iso(of.resets_at)}

    five_hours = {"duration": 300, "timeUnit": "TIME_UNIT_MINUTE"}
    return {
        "usage": detail(account.week, 2048),
        "limits": [{"window": five_hours, "detail": detail(account.short, 200)}],
    }


def _antigravity_usage(account: _Windows) -> dict[str, Any]:
    buckets = [
        {
            "bucketId": name,
            "window": name,
            "remainingFraction": round(1 - of.used_ratio, 4),
            "resetTime": _iso(of.resets_at),
        }
        for name, of in (("5h", account.short), ("weekly", account.week))
    ]
    return {"groups": [{"displayName": "Gemini", "buckets": buckets}]}


def _xai_usage(account: _Windows) -> dict[str, Any]:
    period = {"type": "USAGE_PERIOD_TYPE_WEEKLY", "end": _iso(account.week.resets_at)}
    return {"config": {"currentPeriod": period, "creditUsagePercent": round(account.week.used_ratio * 100, 1)}}


def _claude_profile(account: _Windows) -> dict[str, Any]:
    plan = account.credential.plan
    tier = "default_claude_max_20x" if plan == "max-20x" else "default_claude_ai"
    return {
        "account": {"has_claude_max": plan.startswith("max"), "has_claude_pro": plan == "pro"},
        "organization": {"uuid": ORGANIZATION_ID, "organization_type": "claude_max", "rate_limit_tier": tier},
    }


def _google_tier(_: _Windows) -> dict[str, Any]:
    return {"currentTier": {"id": "free-tier", "name": "Free"}, "paidTier": {"id": "g1-pro-tier", "name": "Pro"}}


def _xai_month(account: _Windows) -> dict[str, Any]:
    start = int(account.at // _MONTH) * _MONTH
    used = account.credential.ceiling_7d * 15_000 * (account.at - start) / _MONTH
    month = {"billingPeriodStart": _iso(start), "billingPeriodEnd": _iso(start + _MONTH)}
    return {"config": {"monthlyLimit": {"val": 15_000}, "used": {"val": round(used)}} | month}


_MONTH = 30 * 86400
_ANTHROPIC, _CODEX, _XAI = (
    "https://api.anthropic.com/api/oauth",
    "https://chatgpt.com/backend-api/wham",
    "https://cli-chat-proxy.grok.com/v1",
)
_GOOGLE = "cloudcode-pa.googleapis.com/v1internal"
_PAGES: dict[str, tuple[str, Callable[[_Windows], dict[str, Any]]]] = {
    f"{_ANTHROPIC}/usage": ("claude", _claude_usage),
    f"{_ANTHROPIC}/profile": ("claude", _claude_profile),
    f"{_CODEX}/usage": ("codex", _codex_usage),
    f"{_CODEX}/rate-limit-reset-credits": ("codex", lambda _: {"available_count": 1, "credits": []}),
    "https://api.kimi.com/coding/v1/usages": ("kimi", _kimi_usage),
    f"https://daily-{_GOOGLE}:retrieveUserQuotaSummary": ("antigravity", _antigravity_usage),
    f"https://{_GOOGLE}:loadCodeAssist": ("antigravity", _google_tier),
    f"{_XAI}/billing?format=credits": ("xai", _xai_usage),
    f"{_XAI}/billing": ("xai", _xai_month),
    f"{_XAI}/settings": ("xai", lambda _: {"subscription_tier_display": "SuperGrok"}),
}
"""By URL of a page: the provider whose accounts may call it, and the function that answers."""


def vendor_answer(credential: Credential | None, url: str, at: float) -> tuple[int, str] | None:
    """Status and body of a vendor's page called through ``api-call``, or ``None`` for an unreachable host.

    For an unknown account CPA raises no error: the vendor sees the literal text ``$TOKEN$`` and answers 401.
    """
    if url not in _PAGES:
        return None
    provider, page = _PAGES[url]
    if credential is None or (credential.provider, credential.kind) != (provider, "oauth"):
        error = {"type": "authentication_error", "message": "the demo vendor says 401"}
        return 401, json.dumps({"type": "error", "error": error})
    return 200, json.dumps(page(_Windows(credential, at)))
