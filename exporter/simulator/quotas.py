"""The demo accounts' windows at their providers, as response headers and as answers of the vendors' usage pages.

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


def reading(credential: Credential, window_seconds: int, at: float) -> Reading:
    """The state of the credential's window of 5 hours or 7 days at Unix time ``at``."""
    start = int(at // window_seconds) * window_seconds
    if window_seconds == SEVEN_DAYS and credential.trouble == "exhausted":
        return Reading(1.0, start + window_seconds)
    ceiling = credential.ceiling_5h if window_seconds == FIVE_HOURS else credential.ceiling_7d
    if window_seconds == FIVE_HOURS and credential.trouble == "shrinks" and start // _DAY % 2:
        ceiling *= 1.5
    return _evenly(ceiling, window_seconds, at)


def scoped_reading(credential: Credential, window_seconds: int, at: float) -> Reading:
    """The state of a single model's window: Opus at Claude, Spark at Codex."""
    return _evenly(credential.ceiling_scoped, window_seconds, at)


def _evenly(ceiling: float, window_seconds: int, at: float) -> Reading:
    start = int(at // window_seconds) * window_seconds
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
    short = reading(credential, FIVE_HOURS, at)
    week = reading(credential, SEVEN_DAYS, at)
    five_hour_decides = short.used_ratio >= week.used_ratio
    deciding = short if five_hour_decides else week
    prefix = "Anthropic-Ratelimit-Unified"
    opus = scoped_reading(credential, SEVEN_DAYS, at)
    of_opus = {
        f"{prefix}-7d_opus-Reset": str(opus.resets_at),
        f"{prefix}-7d_opus-Status": _status(opus.used_ratio),
        f"{prefix}-7d_opus-Utilization": f"{opus.used_ratio:.4f}",
    }
    return (of_opus if "opus" in model else {}) | {
        f"{prefix}-5h-Reset": str(short.resets_at),
        f"{prefix}-5h-Status": _status(short.used_ratio),
        f"{prefix}-5h-Utilization": f"{short.used_ratio:.4f}",
        f"{prefix}-7d-Reset": str(week.resets_at),
        f"{prefix}-7d-Status": _status(week.used_ratio),
        f"{prefix}-7d-Utilization": f"{week.used_ratio:.4f}",
        f"{prefix}-Fallback-Percentage": "0.5",
        f"{prefix}-Overage-Disabled-Reason": "org_level_disabled",
        f"{prefix}-Overage-Status": "rejected",
        f"{prefix}-Representative-Claim": "five_hour" if five_hour_decides else "seven_day",
        f"{prefix}-Reset": str(deciding.resets_at),
        f"{prefix}-Status": _status(deciding.used_ratio),
    }


def codex_headers(credential: Credential, at: float) -> dict[str, str]:
    """The Codex backend's headers: the main windows and the Spark model's group."""
    short = reading(credential, FIVE_HOURS, at)
    week = reading(credential, SEVEN_DAYS, at)
    spark = scoped_reading(credential, FIVE_HOURS, at)
    return {
        "X-Codex-Active-Limit": "codex",
        "X-Codex-Bengalfox-Limit-Name": "GPT-5.3-Codex-Spark",
        "X-Codex-Bengalfox-Primary-Reset-At": str(spark.resets_at),
        "X-Codex-Bengalfox-Primary-Used-Percent": f"{spark.used_ratio * 100:.1f}",
        "X-Codex-Bengalfox-Primary-Window-Minutes": "300",
        "X-Codex-Credits-Balance": "",
        "X-Codex-Credits-Has-Credits": "False",
        "X-Codex-Credits-Unlimited": "False",
        "X-Codex-Plan-Type": credential.plan,
        "X-Codex-Primary-Over-Secondary-Limit-Percent": "0",
        "X-Codex-Primary-Reset-After-Seconds": str(short.resets_at - int(at)),
        "X-Codex-Primary-Reset-At": str(short.resets_at),
        "X-Codex-Primary-Used-Percent": f"{short.used_ratio * 100:.1f}",
        "X-Codex-Primary-Window-Minutes": "300",
        "X-Codex-Secondary-Reset-After-Seconds": str(week.resets_at - int(at)),
        "X-Codex-Secondary-Reset-At": str(week.resets_at),
        "X-Codex-Secondary-Used-Percent": f"{week.used_ratio * 100:.1f}",
        "X-Codex-Secondary-Window-Minutes": "10080",
    }


class _Account:
    """An account at a moment, for the pages below."""

    def __init__(self, credential: Credential, at: float) -> None:
        self.credential = credential
        self.at = at
        self.short = reading(credential, FIVE_HOURS, at)
        self.week = reading(credential, SEVEN_DAYS, at)
        self.scoped_week = scoped_reading(credential, SEVEN_DAYS, at)


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _claude_usage(account: _Account) -> dict[str, Any]:
    extra: dict[str, Any] = {"is_enabled": False, "monthly_limit": None, "used_credits": None, "utilization": None}
    if account.credential.plan.startswith("max"):
        extra = {"is_enabled": True, "monthly_limit": 5000, "used_credits": 1200, "utilization": 24.0}
    breakdown = [
        {"key": "claude_code", "display_name": "Claude Code", "percent": 70},
        {"key": "chat", "display_name": "Claude", "percent": 30},
    ]
    return {
        "five_hour": {
            "utilization": round(account.short.used_ratio * 100, 1),
            "resets_at": _iso(account.short.resets_at),
        },
        "seven_day": {
            "utilization": round(account.week.used_ratio * 100, 1),
            "resets_at": _iso(account.week.resets_at),
        },
        "seven_day_opus": {
            "utilization": round(account.scoped_week.used_ratio * 100, 1),
            "resets_at": _iso(account.scoped_week.resets_at),
        },
        "seven_day_sonnet": {"utilization": 4.0, "resets_at": _iso(account.week.resets_at)},
        "extra_usage": extra,
        "seven_day_breakdown": {"rows": breakdown},
    }


def _codex_usage(account: _Account) -> dict[str, Any]:
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
        "code_review_rate_limit": None,
        "additional_rate_limits": [],
        "credits": {"has_credits": False, "unlimited": False, "overage_limit_reached": False, "balance": "0"},
        "rate_limit_reached_type": None,
    }


def _kimi_usage(account: _Account) -> dict[str, Any]:
    def detail(of: Reading, limit: int) -> dict[str, str]:
        used = round(of.used_ratio * limit)
        return {
            "limit": str(limit),
            "used": str(used),
            "remaining": str(limit - used),
            "resetTime": _iso(of.resets_at),
        }

    five_hours = {"duration": 300, "timeUnit": "TIME_UNIT_MINUTE"}
    return {
        "usage": detail(account.week, 2048),
        "limits": [{"window": five_hours, "detail": detail(account.short, 200)}],
    }


def _antigravity_usage(account: _Account) -> dict[str, Any]:
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


def _xai_usage(account: _Account) -> dict[str, Any]:
    period = {
        "type": "USAGE_PERIOD_TYPE_WEEKLY",
        "start": _iso(account.week.resets_at - SEVEN_DAYS),
        "end": _iso(account.week.resets_at),
    }
    return {"config": {"currentPeriod": period, "creditUsagePercent": round(account.week.used_ratio * 100, 1)}}


def _claude_profile(account: _Account) -> dict[str, Any]:
    credential = account.credential
    tier = "default_claude_max_20x" if credential.plan == "max-20x" else "default_claude_ai"
    return {
        "account": {
            "email": credential.email,
            "full_name": credential.name,
            "has_claude_max": credential.plan.startswith("max"),
            "has_claude_pro": credential.plan == "pro",
        },
        "organization": {"uuid": ORGANIZATION_ID, "organization_type": "claude_max", "rate_limit_tier": tier},
    }


def _google_tier(_: _Account) -> dict[str, Any]:
    return {"currentTier": {"id": "free-tier", "name": "Free"}, "paidTier": {"id": "g1-pro-tier", "name": "Pro"}}


def _xai_month(account: _Account) -> dict[str, Any]:
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
_PAGES: dict[tuple[str, str], Callable[[_Account], dict[str, Any]]] = {
    ("claude", f"{_ANTHROPIC}/usage"): _claude_usage,
    ("claude", f"{_ANTHROPIC}/profile"): _claude_profile,
    ("codex", f"{_CODEX}/usage"): _codex_usage,
    ("codex", f"{_CODEX}/rate-limit-reset-credits"): lambda _: {"available_count": 1, "credits": []},
    ("kimi", "https://api.kimi.com/coding/v1/usages"): _kimi_usage,
    (
        "antigravity",
        "https://daily-cloudcode-pa.googleapis.com/v1internal:retrieveUserQuotaSummary",
    ): _antigravity_usage,
    ("antigravity", "https://cloudcode-pa.googleapis.com/v1internal:loadCodeAssist"): _google_tier,
    ("xai", f"{_XAI}/billing?format=credits"): _xai_usage,
    ("xai", f"{_XAI}/billing"): _xai_month,
    ("xai", f"{_XAI}/settings"): lambda _: {"subscription_tier_display": "SuperGrok"},
}


def vendor_answer(credential: Credential | None, url: str, at: float) -> tuple[int, str] | None:
    """Status and body of a vendor's page called through ``api-call``, or ``None`` for an unreachable host.

    CPA raises no error for an account that it lacks: the vendor sees the literal text ``$TOKEN$`` and answers 401.
    """
    if url not in {page for _, page in _PAGES}:
        return None
    page = _PAGES.get((credential.provider, url)) if credential is not None and credential.kind == "oauth" else None
    if credential is None or page is None:
        error = {"type": "authentication_error", "message": "the demo vendor says 401"}
        return 401, json.dumps({"type": "error", "error": error})
    return 200, json.dumps(page(_Account(credential, at)))
