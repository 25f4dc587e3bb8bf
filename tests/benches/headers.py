"""Response headers with providers' windows, made for a test, and the windows that the exporter reads from them."""

from typing import Any

from exporter.quotas.headers import allowed_headers, read_headers, read_signals
from exporter.quotas.reading import Reading

NOW_MS = 1_787_306_405_000  # 2026-08-21 10:00:05 UTC
NOW = NOW_MS // 1000
DATE = "Fri, 21 Aug 2026 10:00:05 GMT"
DAY_MS = 86_400_000
SPARK = "gpt-5.3-codex-spark"


def read(headers: dict[str, Any], *, provider: str = "claude", model: str = "", **times: int) -> list[Reading]:
    """The windows of a record with these raw headers, received two seconds after they were sent."""
    at = {"answered_ms": NOW_MS, "received_ms": NOW_MS + 2000} | times
    return read_headers(allowed_headers(headers), provider=provider, model=model, **at)


def claude(slug: str = "5h", **values: str) -> dict[str, str]:
    fields = {"utilization": "0.21", "reset": str(NOW + 3600)} | values
    return {"Date": DATE} | {f"Anthropic-Ratelimit-Unified-{slug}-{name}": value for name, value in fields.items()}


def codex(position: str = "Primary", **values: str | None) -> dict[str, str]:
    fields = {"used_percent": "12.5", "window_minutes": "300", "reset_at": str(NOW + 3600)} | values
    return {"Date": DATE} | {
        f"X-Codex-{position}-{name.replace('_', '-')}": value for name, value in fields.items() if value is not None
    }


def read_one(headers: dict[str, Any], **record: Any) -> Reading:
    (reading,) = read(headers, **record)
    return reading


def named(readings: list[Reading]) -> list[tuple[str, str, float]]:
    return [(reading.window, reading.scope, reading.used_ratio) for reading in readings]


def meta(**changes: str) -> dict[str, str]:
    usual = {"Window-Used-Percent": "104.5", "Window-Minutes": "300", "Window-Reset-At": str(NOW + 60)}
    usual |= {"Weekly-Used-Percent": "31", "Weekly-Reset-At": str(NOW + 86_400)}
    return {"Date": DATE} | {f"X-Meta-{name}": changes.get(name, value) for name, value in usual.items()}


def signals(headers: dict[str, str], observed_at: Any = "2026-08-21T10:00:05Z") -> dict[str, Any]:
    return {"observed_at": observed_at, "signals": headers}


def signalled(entry: dict[str, Any], *, received_ms: int = NOW_MS) -> list[Reading]:
    """The readings in the signals of an entry of auth-files."""
    provider = entry.get("provider") or entry.get("type") or ""
    return read_signals(provider, entry.get("quota"), entry.get("model_quotas"), received_ms=received_ms)
