"""The cost of requests by the catalogue: service tiers, sizes of prompts, hours and days."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from exporter.pricing.lookup import PriceList
from exporter.pricing.pricer import Pricer
from exporter.records import Basis, Tokens
from tests.benches.pricing import record

AT_MS = int(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()) * 1000


def ms(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000


def priced(
    catalogue: PriceList, provider: str, model: str, tokens: Tokens, *, tier: str = "", at_ms: int = AT_MS
) -> tuple[int, str]:
    """The cost of one request in nano-USD, and why some of it has no price."""
    cost = Pricer(catalogue).price(record(provider, model, tokens, at_ms=at_ms, service_tier=tier))
    assert cost.basis is Basis.EXACT
    return cost.nano_usd, cost.unpriced


# Prices are USD per million tokens, so tokens x price x 1,000 are nano-USD.
@pytest.mark.parametrize(
    ("provider", "model", "tier", "tokens", "nano_usd"),
    [
        pytest.param(
            "codex",
            "gpt-5.4",
            "",
            Tokens(uncached=1_000, cache_read=2_000, output=300),
            1_000 * 2_500 + 2_000 * 250 + 300 * 15_000,
            id="no tier",
        ),
        pytest.param(
            "codex",
            "gpt-5.4",
            "priority",
            Tokens(uncached=1_000, cache_read=2_000, output=300),
            1_000 * 5_000 + 2_000 * 500 + 300 * 30_000,
            id="priority is twice that",
        ),
        pytest.param(
            "codex",
            "gpt-5.4",
            "flex",
            Tokens(uncached=1_000, cache_read=2_000, output=300),
            1_000 * 1_250 + 2_000 * 130 + 300 * 7_500,
            id="flex is half of it, cache reads rounded up by the vendor",
        ),
        pytest.param(
            "codex",
            "gpt-5.4",
            "flex",
            Tokens(uncached=252_000, cache_read=20_000, output=300),
            252_000 * 1_250 + 20_000 * 130 + 300 * 7_500,
            id="flex, as large as the long-context tier",
        ),
        pytest.param(
            "codex",
            "gpt-5.4",
            "flex",
            Tokens(uncached=252_001, cache_read=20_000, output=300),
            252_001 * 2_500 + 20_000 * 250 + 300 * 11_250,
            id="flex and long context together",
        ),
        pytest.param(
            "claude",
            "claude-opus-4-8",
            "fast",
            Tokens(uncached=10, cache_read=1_000, cache_write=100, output=50),
            10 * 10_000 + 1_000 * 1_000 + 100 * 12_500 + 50 * 50_000,
            id="Claude's fast mode",
        ),
        pytest.param(
            "claude",
            "claude-opus-4-8",
            "priority",
            Tokens(uncached=10, output=50),
            10 * 10_000 + 50 * 50_000,
            id="Claude's fast mode by the word priority",
        ),
        pytest.param(
            "gemini-interactions",
            "gemini-3.1-pro-preview",
            "priority",
            Tokens(uncached=150_000, cache_read=50_000, output=100),
            150_000 * 3_600 + 50_000 * 360 + 100 * 21_600,
            id="a tier from the overlay, as large as the long-context tier",
        ),
        pytest.param(
            "gemini-interactions",
            "gemini-3.1-pro-preview",
            "priority",
            Tokens(uncached=150_001, cache_read=50_000, output=100),
            150_001 * 7_200 + 50_000 * 720 + 100 * 32_400,
            id="and above it",
        ),
        pytest.param(
            "qwen",
            "qwen3-coder-plus",
            "",
            Tokens(uncached=32_000, output=10),
            32_000 * 1_000 + 10 * 5_000,
            id="the first of several sizes",
        ),
        pytest.param(
            "qwen",
            "qwen3-coder-plus",
            "",
            Tokens(uncached=256_001, output=10),
            256_001 * 6_000 + 10 * 60_000,
            id="the last of several sizes",
        ),
    ],
)
def test_a_request_costs_the_sum_of_its_buckets(
    catalogue: PriceList, *, provider: str, model: str, tier: str, tokens: Tokens, nano_usd: int
) -> None:
    assert priced(catalogue, provider, model, tokens, tier=tier) == (nano_usd, "")


@pytest.mark.parametrize(
    ("provider", "model", "tier"),
    [
        ("claude", "claude-opus-4-6", "fast"),
        ("codex", "gpt-5.4-nano", "priority"),
        ("codex", "gpt-5.4", "scale"),
        ("xai", "grok-4.5", "priority"),
    ],
)
def test_a_tier_without_a_price_is_unpriced_and_not_charged_at_the_base_price(
    catalogue: PriceList, provider: str, model: str, tier: str
) -> None:
    assert priced(catalogue, provider, model, Tokens(uncached=1_000, output=10), tier=tier) == (0, "no_tier_price")


@pytest.mark.parametrize(
    ("day", "nano_usd", "unpriced"),
    [
        ("2026-09-24T23:59:59.999", 0, "no_tier_price"),
        ("2026-09-25T00:00:00", 1_000 * 1_350, ""),
        ("2026-12-31T23:59:59.999", 1_000 * 1_350, ""),
        ("2027-01-01T00:00:00", 0, "no_tier_price"),
    ],
)
def test_a_service_tier_applies_from_its_day_until_its_end(
    catalogue: PriceList, day: str, nano_usd: int, unpriced: str
) -> None:
    at_ms = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)
    cost = priced(catalogue, "gemini", "gemini-3.6-flash", Tokens(uncached=1_000), tier="priority", at_ms=at_ms)
    assert cost == (nano_usd, unpriced)


def test_the_packages_own_tiers_begin_on_their_day(catalogue: PriceList) -> None:
    tokens = Tokens(uncached=1_000)
    before, since = (
        priced(catalogue, "codex", "gpt-5.4", tokens, tier="priority", at_ms=at_ms)
        for at_ms in (ms("2026-10-12") - 1, ms("2026-10-12"))
    )
    assert (before, since) == ((0, "no_tier_price"), (1_000 * 5_000, ""))


def test_reasoning_is_part_of_output_and_charged_once(catalogue: PriceList) -> None:
    cost = priced(catalogue, "codex", "gpt-5.3-codex-spark", Tokens(uncached=100, output=50, reasoning=40))
    assert cost == (100 * 1_750 + 50 * 14_000, "")


# --- DeepSeek, whose prices change by the hour, the weekday and the holiday ------------------------------------------


@pytest.mark.parametrize(
    ("model", "moment", "usd"),
    [
        ("deepseek-v4-pro", "2026-07-28T02:00:00", "1.305"),  # no peak price before 2026-08-17
        ("deepseek-v4-pro", "2026-08-16T15:59:59", "1.305"),
        ("deepseek-v4-pro", "2026-08-16T16:00:00", "2.64"),  # midnight in Beijing
        ("deepseek-v4-pro", "2026-08-22T02:00:00", "5.28"),  # the last Saturday with a peak price
        ("deepseek-v4-pro", "2026-08-23T02:00:00", "2.64"),
        ("deepseek-v4-pro", "2026-11-27T00:59:59", "2.64"),
        ("deepseek-v4-pro", "2026-11-27T01:00:00", "5.28"),
        ("deepseek-v4-pro", "2026-11-27T03:59:59", "5.28"),
        ("deepseek-v4-pro", "2026-11-27T04:00:00", "2.64"),
        ("deepseek-v4-pro", "2026-11-27T09:59:59", "5.28"),
        ("deepseek-v4-pro", "2026-11-27T12:00:00", "2.64"),
        ("deepseek-v4-pro", "2026-11-28T02:00:00", "2.64"),  # Saturday
        ("deepseek-v4-pro", "2026-11-29T07:00:00", "2.64"),  # Sunday
        ("deepseek-v4-pro", "2026-10-01T02:00:00", "2.64"),  # National Day, a Thursday
        ("deepseek-v4-pro", "2026-10-08T02:00:00", "5.28"),
        ("deepseek-chat", "2026-03-01T02:00:00", "0.70"),
        ("deepseek-chat", "2026-06-01T12:00:00", "0.42"),
        ("deepseek-chat", "2026-06-01T20:00:00", "0.42"),
        ("deepseek-reasoner", "2026-06-01T20:00:00", "0.42"),
        ("deepseek-v4-flash", "2026-09-01T02:00:00", "1.76"),
        ("deepseek-flash", "2026-11-28T02:00:00", "0.75"),
        ("deepseek-flash", "2026-11-27T02:00:00", "1.50"),
    ],
)
def test_deepseek_costs_what_it_published_for_the_moment(
    catalogue: PriceList, model: str, moment: str, usd: str
) -> None:
    tokens = Tokens(uncached=1_000_000, output=1_000_000)
    cost = priced(catalogue, "openai-compatible-deepseek", model, tokens, at_ms=ms(moment))
    assert cost == (int(Decimal(usd) * 10**9), "")


def test_the_same_hours_of_two_days_have_the_same_price_object(catalogue: PriceList) -> None:
    peaks = [catalogue.find("deepseek", "deepseek-v4-pro", at_ms=ms(f"2026-11-{day}T02:00:00")) for day in (26, 27)]
    assert peaks[0] is not None
    assert peaks[0] is peaks[1]
