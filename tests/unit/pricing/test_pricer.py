from collections.abc import Iterable
from functools import partial
from pathlib import Path

import msgspec
import pytest

from exporter.clock import Clock
from exporter.pricing.feed import PriceFeed
from exporter.pricing.feed_format import FeedPrice, StoredFeed
from exporter.pricing.lookup import ANY_PROVIDER, PriceList, override_ways
from exporter.pricing.price import MatchedBy, Price, Tariff
from exporter.pricing.pricer import DEFAULT_PRICE, Pricer, watch_price_file
from exporter.records import Basis, Tokens
from tests.benches import pricing as benches

AT_MS = 1_790_000_000_000  # 2026-09-21


record = partial(benches.record, at_ms=AT_MS)


class OneRow:
    """A row with one price at all times."""

    def __init__(self, price: Price) -> None:
        self.price = price

    def cell(self, _at_ms: int, /) -> int:
        return 0

    def at(self, at_ms: int) -> Price:  # noqa: ARG002 (the protocol's)
        return self.price


def one_row(model: str, price: Price) -> PriceList:
    """A price list with one model."""
    return PriceList({ANY_PROVIDER: {model: OneRow(price)}}, ways=override_ways)


def row(*, origin: str = "list row", **prices: int) -> Price:
    tariff = Tariff(
        input=prices.get("input", 1_000),
        output=prices.get("output"),
        cache_read=prices.get("cache_read"),
        cache_write=prices.get("cache_write"),
    )
    return Price(origin=origin, matched_by=MatchedBy.EXACT, tariff=tariff)


@pytest.fixture(scope="module")
def pricer(genai: PriceList) -> Pricer:
    return Pricer(genai)


# Prices are USD per million tokens, so tokens x price x 1,000 are nano-USD.
@pytest.mark.parametrize(
    ("provider", "model", "tokens", "nano_usd"),
    [
        pytest.param(
            "claude",
            "claude-sonnet-4-5-20250929",
            Tokens(uncached=1_200, cache_read=48_000, cache_write=2_000, output=900, reasoning=300),
            # 3, cache read 0.30, cache write 3.75, output 15
            1_200 * 3_000 + 48_000 * 300 + 2_000 * 3_750 + 900 * 15_000,
            id="Claude: reads and writes beside the input",
        ),
        pytest.param(
            "codex",
            "gpt-5.4",
            Tokens(uncached=272_000 - 40_000, cache_read=40_000, output=1_000, reasoning=640),
            # 2.50, cache read 0.25, output 15; at 272,000 the prompt is not above the tier
            232_000 * 2_500 + 40_000 * 250 + 1_000 * 15_000,
            id="OpenAI: as large as the tier",
        ),
        pytest.param(
            "codex",
            "gpt-5.4",
            Tokens(uncached=272_001 - 40_000, cache_read=40_000, output=1_000, reasoning=640),
            # above it: 5, cache read 0.50, output 22.50, for all tokens
            232_001 * 5_000 + 40_000 * 500 + 1_000 * 22_500,
            id="OpenAI: one token above the tier",
        ),
        pytest.param(
            "gemini",
            "gemini-2.5-pro",
            Tokens(uncached=200_000, output=2_000, reasoning=1_500),
            # 1.25, output 10 with the thoughts
            200_000 * 1_250 + 2_000 * 10_000,
            id="Gemini: as large as the tier",
        ),
        pytest.param(
            "gemini",
            "gemini-2.5-pro",
            Tokens(uncached=1, cache_read=200_000, output=2_000, reasoning=1_500),
            # above it: 2.50, cache read 0.25, output 15
            1 * 2_500 + 200_000 * 250 + 2_000 * 15_000,
            id="Gemini: one token above the tier, most of it cached",
        ),
        pytest.param(
            "antigravity",
            "claude-opus-4-6-thinking",
            Tokens(uncached=10_000, cache_read=5_000, output=700),
            # 5, cache read 0.50, output 25
            10_000 * 5_000 + 5_000 * 500 + 700 * 25_000,
            id="Antigravity: the model decides",
        ),
        pytest.param(
            "kimi",
            "kimi-k2.5",
            Tokens(uncached=3_000, cache_read=9_000, output=400),
            # 0.60, cache read 0.10, output 3
            3_000 * 600 + 9_000 * 100 + 400 * 3_000,
            id="Kimi",
        ),
        pytest.param(
            "xai",
            "grok-4.5",
            Tokens(uncached=199_999, output=10),
            # 2, output 6
            199_999 * 2_000 + 10 * 6_000,
            id="xAI: below the tier",
        ),
        pytest.param(
            "xai",
            "grok-4.5",
            Tokens(uncached=200_000, output=10),
            # xAI charges the higher price from 200,000 tokens on, not above them: 4, output 12
            200_000 * 4_000 + 10 * 12_000,
            id="xAI: its tier begins at the number",
        ),
        pytest.param(
            "openai-compatible-openrouter",
            "anthropic/claude-sonnet-4.5",
            Tokens(uncached=1_000, cache_read=2_000, cache_write=3_000, output=100),
            # 3, cache read 0.30, cache write 3.75, output 15
            1_000 * 3_000 + 2_000 * 300 + 3_000 * 3_750 + 100 * 15_000,
            id="OpenRouter",
        ),
    ],
)
def test_a_request_costs_the_sum_of_its_buckets(
    pricer: Pricer, provider: str, model: str, tokens: Tokens, nano_usd: int
) -> None:
    cost = pricer.price(record(provider, model, tokens))
    assert cost.nano_usd == nano_usd
    assert cost.basis is Basis.EXACT
    assert cost.unpriced == ""


def test_an_unknown_model_is_charged_at_the_default_price(pricer: Pricer) -> None:
    tokens = Tokens(uncached=1_000, cache_read=2_000, cache_write=3_000, output=400)
    cost = pricer.price(record("openai-compatible-mine", "house-model-7b", tokens))
    # 0.15 for all input, output 0.60; the default price covers every bucket, so nothing is unpriced.
    assert cost.nano_usd == (1_000 + 2_000 + 3_000) * 150 + 400 * 600
    assert cost.basis is Basis.DEFAULT
    assert cost.unpriced == ""
    assert cost.price == DEFAULT_PRICE.text("")


@pytest.mark.parametrize(
    ("tokens", "nano_usd", "reason"),
    [
        (Tokens(uncached=10, output=10), 10 * 1 + 10 * 2, ""),
        (Tokens(uncached=10, cache_read=10, output=10), 10 * 1 + 10 * 2, "no_cache_read_price"),
        (Tokens(uncached=10, cache_write=10, output=10), 10 * 1 + 10 * 2, "no_cache_write_price"),
        (Tokens(uncached=10, cache_read=10, cache_write=10), 10 * 1, "no_cache_read_price"),
        (Tokens(uncached=10, cache_read=10, unclassified=10), 10 * 1, "unclassified_tokens"),
    ],
)
def test_a_bucket_without_a_price_is_unpriced_and_costs_nothing(tokens: Tokens, nano_usd: int, reason: str) -> None:
    cost = Pricer(one_row("m", row(input=1_000, output=2_000))).price(record("p", "m", tokens))
    assert (cost.nano_usd, cost.basis, cost.unpriced) == (nano_usd, Basis.EXACT, reason)


def test_output_without_a_price_is_unpriced() -> None:
    cost = Pricer(one_row("m", row(input=1_000))).price(record("p", "m", Tokens(uncached=10, output=10)))
    assert (cost.nano_usd, cost.unpriced) == (10, "no_output_price")
    asked = record("p", "m", Tokens(uncached=10, output=10), service_tier="flex", tier_only_asked=True)
    assert Pricer(one_row("m", row(input=1_000))).price(asked) == cost


def test_unclassified_tokens_are_unpriced_and_the_rest_is_charged(pricer: Pricer) -> None:
    cost = pricer.price(record("claude", "claude-opus-4-6", Tokens(uncached=100, unclassified=5_000)))
    assert (cost.nano_usd, cost.basis, cost.unpriced) == (100 * 5_000, Basis.EXACT, "unclassified_tokens")


def test_a_service_tier_is_not_charged_at_the_base_price(pricer: Pricer) -> None:
    cost = pricer.price(record("codex", "gpt-5.4", Tokens(uncached=100, output=5), service_tier="priority"))
    assert (cost.nano_usd, cost.basis, cost.unpriced) == (0, Basis.EXACT, "no_tier_price")


def test_the_default_price_is_charged_at_any_service_tier(pricer: Pricer) -> None:
    tokens = Tokens(uncached=100, output=5)
    base, priority = (
        pricer.price(record("codex", "house-model-7b", tokens, service_tier=tier)) for tier in ("", "priority")
    )
    assert priority == base
    assert (priority.nano_usd, priority.basis, priority.unpriced) == (100 * 150 + 5 * 600, Basis.DEFAULT, "")


@pytest.mark.parametrize("asked", ["priority", "flex", "scale"])
@pytest.mark.parametrize(
    ("provider", "model", "nano_usd"),
    [
        ("gemini", "gemini-2.5-pro", 1_000 * 1_250 + 100 * 10_000),
        ("kimi", "kimi-k2.5", 1_000 * 600 + 100 * 3_000),
        ("claude", "claude-sonnet-4-5", 1_000 * 3_000 + 100 * 15_000),
        ("openai-compatible-mine", "gpt-5.4-nano", 1_000 * 200 + 100 * 1_250),
    ],
)
def test_a_tier_that_was_only_requested_costs_the_base_price_and_is_counted(
    pricer: Pricer, provider: str, model: str, asked: str, nano_usd: int
) -> None:
    tokens = Tokens(uncached=1_000, output=100)
    price = pricer.price_of(provider, model, at_ms=AT_MS)
    cost = pricer.price(record(provider, model, tokens, service_tier=asked, tier_only_asked=True))
    if price.at(asked) is None:
        assert (cost.nano_usd, cost.basis, cost.unpriced) == (nano_usd, Basis.EXACT, "tier_at_base_price")
    else:
        assert (cost.unpriced, cost.price) == ("", price.text(asked))


def test_fast_mode_of_codex_by_login_is_charged_as_requested(pricer: Pricer) -> None:
    tokens = Tokens(uncached=100_000, cache_read=900_000, output=25_000, reasoning=5_000)
    asked = record("codex", "gpt-5.5", tokens, service_tier="priority", tier_only_asked=True)
    cost = pricer.price(msgspec.structs.replace(asked, ts_ms=1_795_521_600_000))  # 2026-11-24
    assert (cost.nano_usd, cost.unpriced) == (4_250_000_000, "")


def test_reasoning_of_an_image_model_is_charged_as_text(pricer: Pricer) -> None:
    # 1,120 image tokens at $120 and 1,500 reasoning tokens at $12.
    cost = pricer.price(record("gemini", "gemini-3-pro-image-preview", Tokens(output=2_620, reasoning=1_500)))
    assert cost.nano_usd == 152_400_000


def test_cache_writes_cost_twice_the_input_if_the_cache_lives_an_hour(genai: PriceList, tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    ttl = "{claude: 1h, mine: 1h, openai-compatible-yours: 1h, kimi: 5m}"
    file.write_text(f"cache_write_ttl: {ttl}\nprices: [{{model: house, input: 1}}]\n")
    pricer = Pricer(genai, user=watch_price_file(file))
    tokens = Tokens(cache_write=37_175)
    by_provider = {
        provider: pricer.price(record(provider, "claude-fable-5", tokens)).nano_usd
        for provider in ("claude", "antigravity", "openai-compatible-mine", "openai-compatible-yours", "kimi")
    }
    assert by_provider == {
        "claude": 743_500_000,
        "antigravity": 464_687_500,
        "openai-compatible-mine": 743_500_000,
        "openai-compatible-yours": 743_500_000,
        "kimi": 464_687_500,
    }
    # If a write costs as much as other input, no separate price for an hour is known.
    assert pricer.price(record("claude", "gpt-5.4", Tokens(cache_write=10))).nano_usd == 10 * 2_500


def test_a_prewarm_without_tokens_does_not_count_as_missing_usage(pricer: Pricer) -> None:
    prewarm = msgspec.structs.replace(record("codex", "gpt-5.4", Tokens()), counted=0)
    assert pricer.price(prewarm).unpriced == ""


@pytest.mark.parametrize(("model", "basis"), [("gpt-5.4", Basis.EXACT), ("house-model-7b", Basis.DEFAULT)])
@pytest.mark.parametrize("service_tier", ["", "priority"])
@pytest.mark.parametrize(("code", "reason"), [("", "no_usage"), ("429", "")])
def test_a_success_without_tokens_is_reported_and_a_failure_costs_nothing(
    pricer: Pricer, *, model: str, basis: Basis, service_tier: str, code: str, reason: str
) -> None:
    cost = pricer.price(record("codex", model, Tokens(), service_tier=service_tier, code=code))
    assert (cost.nano_usd, cost.basis, cost.unpriced) == (0, basis, reason)


@pytest.mark.parametrize("model", ["", "unknown", "Unknown"])
def test_the_alias_prices_a_record_that_names_no_model(pricer: Pricer, model: str) -> None:
    named = pricer.price(record("claude", "claude-opus-4-6", Tokens(uncached=100)))
    assert pricer.price(record("claude", model, Tokens(uncached=100), alias="claude-opus-4-6")) == named


def test_the_alias_does_not_outrank_the_model(pricer: Pricer) -> None:
    cost = pricer.price(record("claude", "house-model", Tokens(uncached=100), alias="claude-opus-4-6"))
    assert cost.basis is Basis.DEFAULT


def test_an_alias_that_no_list_has_leads_to_the_default_price(pricer: Pricer) -> None:
    assert pricer.price(record("claude", "", Tokens(uncached=100), alias="fast")).basis is Basis.DEFAULT


class Listed:
    """A store that has the feed's prices of ``a`` and ``b``."""

    def load(self) -> StoredFeed:
        tariff = row(output=1).tariff
        return StoredFeed(prices=tuple(FeedPrice("openai", name, 0, tariff) for name in ("a", "b")))

    def save(self, new: Iterable[FeedPrice], *, fetched_ms: int) -> None:
        raise NotImplementedError


def test_the_first_list_with_a_price_wins() -> None:
    feed = PriceFeed(url="", store=Listed(), clock=Clock())
    pricer = Pricer(one_row("a", row(origin="first")), feed=feed)
    assert pricer.price_of("openai", "a", at_ms=AT_MS).origin == "first"
    assert pricer.price_of("openai", "b", at_ms=AT_MS).origin == "llm-prices.com openai/b"
    assert pricer.price_of("p", "c", at_ms=AT_MS) is DEFAULT_PRICE


def test_the_remembered_text_changes_with_the_price(pricer: Pricer) -> None:
    tokens = Tokens(uncached=1)
    today = pricer.price(record("claude", "claude-opus-4-6", tokens)).price
    assert pricer.price(record("claude", "claude-opus-4-6", Tokens(output=7))).price == today
    assert pricer.price(record("claude", "claude-opus-4-7", tokens)).price != today
