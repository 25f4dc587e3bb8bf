"""Usage records for tests of prices: a model's usage, and its time."""

from exporter.records import Billing, Tokens, UsageRecord


def record(
    provider: str,
    model: str,
    tokens: Tokens,
    *,
    at_ms: int,
    alias: str = "",
    service_tier: str = "",
    tier_only_asked: bool = False,
    code: str = "",
) -> UsageRecord:
    """One request by API key."""
    return UsageRecord(
        ts_ms=at_ms,
        fingerprint=1,
        provider=provider,
        model=model,
        alias=alias,
        auth_index="0123456789abcdef",
        source="source",
        client="client",
        billing=Billing.METERED,
        tokens=tokens,
        service_tier=service_tier,
        tier_only_asked=tier_only_asked,
        code=code,
    )
