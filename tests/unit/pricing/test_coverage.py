"""The price list against what is outside of it: CPA's own models, and the package's own arithmetic."""

import json
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import genai_prices
import pytest
from genai_prices.data import providers
from genai_prices.types import ModelInfo, ModelPrice

from exporter.pricing.catalogue import GenaiCatalogue
from exporter.pricing.price import cost
from exporter.records import Tokens

RECORDED = Path(__file__).parents[2] / "fixtures" / "cpa" / "v7.2.140" / "management"
AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
AT_MS = int(AT.timestamp()) * 1000

NOT_PER_TOKEN = "made for images or video, which are not charged by the token"
PREVIEW_ONLY = "the list has only ...-preview, which may not cost the same"
NOT_LISTED = "no public price in the list"
AGENT = "a mode of Antigravity; which model it runs is not said"

# Models that CPA offers and that are charged at the default price. Each was looked at; a new one has to be, too.
WITHOUT_PRICE = {
    ("antigravity", "gemini-3-flash"): PREVIEW_ONLY,
    ("antigravity", "gemini-3-flash-agent"): AGENT,
    ("antigravity", "gemini-3.1-pro-low"): PREVIEW_ONLY,
    ("antigravity", "gemini-3.5-flash-extra-low"): "-extra-low is not a suffix that is known to mean effort",
    ("antigravity", "gemini-pro-agent"): AGENT,
    ("codex", "codex-auto-review"): NOT_LISTED,
    ("codex", "gpt-5.3-codex-spark"): NOT_LISTED,
    ("kimi", "kimi-k3-256k"): NOT_LISTED,
    ("vertex", "gemini-3-flash"): PREVIEW_ONLY,
    ("vertex", "gemini-3-pro"): PREVIEW_ONLY,
    ("vertex", "gemini-3.1-pro"): PREVIEW_ONLY,
    ("vertex", "imagen-3.0-fast-generate-001"): NOT_PER_TOKEN,
    ("vertex", "imagen-3.0-generate-002"): NOT_PER_TOKEN,
    ("vertex", "imagen-4.0-fast-generate-001"): NOT_PER_TOKEN,
    ("vertex", "imagen-4.0-generate-001"): NOT_PER_TOKEN,
    ("vertex", "imagen-4.0-ultra-generate-001"): NOT_PER_TOKEN,
    ("xai", "grok-composer-2.5-fast"): NOT_LISTED,
    ("xai", "grok-imagine-image"): NOT_PER_TOKEN,
    ("xai", "grok-imagine-image-2.0"): NOT_PER_TOKEN,
    ("xai", "grok-imagine-image-quality"): NOT_PER_TOKEN,
    ("xai", "grok-imagine-video"): NOT_PER_TOKEN,
    ("xai", "grok-imagine-video-1.5"): NOT_PER_TOKEN,
    ("xai", "grok-imagine-video-1.5-preview"): NOT_PER_TOKEN,
}


def offered() -> set[tuple[str, str]]:
    """Provider and model of everything in CPA's model registry."""
    models = set()
    for path in RECORDED.glob("model-definitions-*.json"):
        body = json.loads(path.read_text(encoding="utf-8"))["body"]
        models |= {(body["channel"], model["id"]) for model in body["models"]}
    return models


def test_each_model_that_cpa_offers_has_a_price_or_a_reason(genai: GenaiCatalogue) -> None:
    missing = {asked for asked in offered() if genai.find(*asked, at_ms=AT_MS) is None}
    assert len(offered()) > 100
    assert missing == set(WITHOUT_PRICE)


CPA_NAMES = {
    "anthropic": "claude",
    "deepseek": "openai-compatible-deepseek",
    "google": "gemini",
    "moonshotai": "kimi",
    "openai": "codex",
    "openrouter": "openai-compatible-openrouter",
    "x-ai": "xai",
    "zai": "openai-compatible-zai",
}

BUCKETS = {"cache_read": "cache_read_mtok", "cache_write": "cache_write_mtok"}

# Rows for which the package's sum is another one, because it is given no image tokens.
IMAGES = "output_image_mtok"


def sample() -> list[tuple[str, ModelInfo, ModelPrice]]:
    """A hundred rows from all over the list, with the price of the moment, that have a price per token."""
    rows = []
    for provider in providers:
        if provider.id in CPA_NAMES:
            for model in provider.models:
                prices = model.get_prices(AT)
                per_token = prices.input_mtok is not None and prices.output_mtok is not None
                if per_token and getattr(prices, IMAGES) is None and provider.find_model(model.id) is model:
                    rows.append((provider.id, model, prices))
    return rows[:: len(rows) // 100][:100]


@pytest.mark.parametrize("uncached", [12_345, 150_003, 300_001])
def test_a_hundred_models_cost_what_the_package_says(genai: GenaiCatalogue, uncached: int) -> None:
    ours, theirs = {}, {}
    for provider, model, prices in sample():
        # The package charges cached tokens as input where a row has no price for them; we call them unpriced.
        cached = {
            bucket: 6_789
            for bucket, field in BUCKETS.items()
            if getattr(prices, field) is not None and _finest(getattr(prices, field))
        }
        tokens = Tokens(uncached=uncached, output=4_321, **cached)
        price = genai.find(CPA_NAMES[provider], model.id, at_ms=AT_MS)
        assert price is not None, (provider, model.id)
        ours[provider, model.id] = cost(price, tokens)
        usage = genai_prices.Usage(
            input_tokens=tokens.prompt,
            output_tokens=tokens.output,
            cache_read_tokens=tokens.cache_read,
            cache_write_tokens=tokens.cache_write,
        )
        usd = genai_prices.calc_price(usage, model.id, provider_id=provider, genai_request_timestamp=AT).total_price
        theirs[provider, model.id] = int((usd * 10**9).to_integral_value(ROUND_HALF_EVEN))
    assert len(ours) == 100
    assert ours == theirs


def _finest(price: object) -> bool:
    """Whether a price can be told in whole pico-USD; a few of OpenRouter's (0.0833333...) cannot."""
    return not isinstance(price, Decimal) or price * 10**6 == int(price * 10**6)


def test_the_makers_rows_are_plausible(genai: GenaiCatalogue) -> None:
    """Resellers' rows are left out: some of them do charge more for cached input than for other input."""
    odd = []
    for provider in providers:
        if provider.id in set(CPA_NAMES) - {"openrouter"}:
            for model in provider.models:
                price = genai.find(CPA_NAMES[provider.id], model.id, at_ms=AT_MS)
                if price is not None and price.output is not None:
                    for rates in (price, *price.tiers):
                        if not (rates.cache_read or 0) <= rates.input <= (rates.output or 0):
                            odd.append((provider.id, model.id))
    assert odd == [("openai", "gpt-5-image-mini")]  # text output is cheaper than text input there
