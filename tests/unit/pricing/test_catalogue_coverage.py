"""The catalogue against outside sources: CPA's own models, and the package's own arithmetic."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import genai_prices
import pytest
from genai_prices.data import providers
from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

from exporter.pricing.catalogue import models_without_price
from exporter.pricing.lookup import PriceList
from exporter.pricing.price import cost
from exporter.records import Tokens

NAMES = Path(__file__).with_name("known_names.txt")
RECORDED = Path(__file__).parents[2] / "fixtures" / "cpa" / "v7.2.140" / "management"
AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
AT_MS = int(AT.timestamp()) * 1000


def offered() -> set[tuple[str, str]]:
    """Provider and model of everything in CPA's model registry."""
    models = set()
    for path in RECORDED.glob("model-definitions-*.json"):
        body = json.loads(path.read_text(encoding="utf-8"))["body"]
        models |= {(body["channel"], model["id"]) for model in body["models"]}
    return models


# Upstream and client names in CPA's alias table for Antigravity, and the models of its newer versions.
IN_ALIAS_TABLES = {
    *(
        ("antigravity", name)
        for name in (
            "claude-opus-4-5-thinking",
            "claude-opus-4-6-thinking",
            "claude-sonnet-4-5",
            "claude-sonnet-4-5-thinking",
            "gemini-2.5-computer-use-preview-10-2025",
            "gemini-3-flash",
            "gemini-3-flash-preview",
            "gemini-3-pro-high",
            "gemini-3-pro-image",
            "gemini-3-pro-image-preview",
            "gemini-3-pro-preview",
            "gemini-claude-opus-4-5-thinking",
            "gemini-claude-opus-4-6-thinking",
            "gemini-claude-sonnet-4-5",
            "gemini-claude-sonnet-4-5-thinking",
            "rev19-uic3-1p",
        )
    ),
    ("claude", "claude-mythos-5"),
    ("claude", "claude-mythos-5-1"),
    ("claude", "claude-mythos-preview"),
    ("gemini", "gemini-3.1-pro-preview-customtools"),
    ("gemini", "gemini-4-hydrogen"),
    ("kimi", "kimi-k2"),
    ("openai-compatible-zai", "glm-5-code"),
    ("qwen", "qwen3.7-max"),
    ("qwen", "qwen3.8-max"),
}


def recorded() -> set[tuple[str, str]]:
    """Provider and model of each recorded record; the old snapshots do not name a provider."""
    found: set[tuple[str, str]] = set()
    for path in RECORDED.parents[1].glob("v*/usage*/*.json"):
        if not path.name.endswith(".truth.json"):
            _collect(json.loads(path.read_text(encoding="utf-8")), found)
    return found


def _collect(node: object, found: set[tuple[str, str]]) -> None:
    if isinstance(node, list):
        for each in node:
            _collect(each, found)
    elif isinstance(node, dict):
        provider, model = node.get("provider"), node.get("model")
        if isinstance(provider, str) and isinstance(model, str):
            found.add((provider, model))
        if isinstance(models := node.get("models"), dict):
            found.update(("", model) for model in models)
        for each in node.values():
            _collect(each, found)


def basis(catalogue: PriceList, provider: str, model: str) -> str:
    """How a name is charged, and by which row, without the package's version."""
    price = catalogue.find(provider, model, at_ms=AT_MS)
    if price is None:
        return "default"
    return f"exact  {price.origin.removeprefix(f'genai-prices {genai_prices.__version__} ')}"


def test_each_name_that_cpa_knows_has_the_reviewed_basis(catalogue: PriceList) -> None:
    known = offered() | IN_ALIAS_TABLES | recorded()
    assert len(offered()) > 100
    assert len(recorded()) > 20
    lines = [f"{provider or '-'}  {model}  {basis(catalogue, provider, model)}" for provider, model in sorted(known)]
    text = "\n".join(lines) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        NAMES.write_text(text, encoding="utf-8")
    assert text == NAMES.read_text(encoding="utf-8")


def test_each_model_that_cpa_offers_has_a_price_or_a_reviewed_reason(catalogue: PriceList) -> None:
    missing = {asked for asked in offered() | IN_ALIAS_TABLES if catalogue.find(*asked, at_ms=AT_MS) is None}
    assert missing == set(models_without_price())
    assert all(models_without_price().values())


# --- the package's own arithmetic -------------------------------------------------------------------------------------

CPA_NAMES = {
    "anthropic": "claude",
    "cerebras": "openai-compatible-cerebras",
    "deepseek": "openai-compatible-deepseek",
    "fireworks": "openai-compatible-fireworks",
    "google": "gemini",
    "groq": "openai-compatible-groq",
    "mistral": "openai-compatible-mistral",
    "moonshotai": "kimi",
    "openai": "codex",
    "openrouter": "openai-compatible-openrouter",
    "perplexity": "openai-compatible-perplexity",
    "together": "openai-compatible-together",
    "x-ai": "xai",
    "zai": "openai-compatible-zai",
}

CONTEXTS: Mapping[str, Mapping[str, str]] = {
    "": {},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast"},
    "flex": {"service_tier": "flex"},
    "batch": {"processing": "batch"},
}


# The package adds a fee for each request, which is not a price of tokens: docs/money.md.
WITH_A_FEE_PER_REQUEST = {"sonar", "sonar-pro", "sonar-reasoning", "sonar-reasoning-pro"}


def comparable() -> list[tuple[str, ModelInfo]]:
    """Every row of these providers that has a price per token now, and is found by its own id.

    Rows with a price for image output are left out (we charge output as images, the package gets no image tokens), and
    so are rows with a price finer than a trillionth of a dollar (some of a reseller's: 0.0833333...).
    """
    rows = []
    for provider in providers:
        for model in provider.models if provider.id in CPA_NAMES else ():
            prices = model.get_prices(AT)
            per_token = prices.input_mtok is not None and prices.output_mtok is not None
            ours = per_token and prices.output_image_mtok is None and _is_exact(prices)
            if ours and provider.find_model(model.id) is model:
                rows.append((provider.id, model))
    return rows


def _is_exact(prices: ModelPrice) -> bool:
    listed = (prices.input_mtok, prices.output_mtok, prices.cache_read_mtok, prices.cache_write_mtok)
    plain = [each.base if isinstance(each, TieredPrices) else each for each in listed if each is not None]
    return all(price * 10**6 == int(price * 10**6) for price in plain)


def _usage(prices: ModelPrice, uncached: int) -> Tokens:
    """The package charges cached tokens as input if a row has no price for them; we call them unpriced."""
    return Tokens(
        uncached=uncached,
        output=4_321,
        cache_read=6_789 if prices.cache_read_mtok is not None else 0,
        cache_write=987 if prices.cache_write_mtok is not None else 0,
    )


@pytest.mark.parametrize("uncached", [12_345, 150_003, 300_001])
def test_all_models_cost_what_the_package_says_at_every_service_tier(genai: PriceList, uncached: int) -> None:
    ours, theirs = {}, {}
    for provider, model in comparable():
        for tier, context in CONTEXTS.items():
            known = any(variant.when == context for variant in model.price_variants or ())
            if tier and not known:
                continue
            prices = model.get_prices(AT, context or None)
            if prices == model.get_prices(AT) and tier:
                continue  # the variant begins later
            price = genai.find(CPA_NAMES[provider], model.id, at_ms=AT_MS)
            assert price is not None, (provider, model.id)
            tariff = price.at(tier)
            assert tariff is not None, (provider, model.id, tier)
            tokens = _usage(prices, uncached)
            key = (provider, model.id, tier)
            ours[key], _ = cost(tariff.rates(tokens), tokens)
            theirs[key] = _package_cost(provider, model.id, tokens, context)
    assert len({key[:2] for key in ours}) >= 300
    assert sum(1 for *_, tier in ours if tier) >= 100
    different = {key[:2] for key in ours if ours[key] != theirs[key]}
    assert different == {("perplexity", model) for model in WITH_A_FEE_PER_REQUEST}


def _package_cost(provider: str, model: str, tokens: Tokens, context: Mapping[str, str]) -> int:
    usage = genai_prices.Usage(
        input_tokens=tokens.prompt,
        output_tokens=tokens.output,
        cache_read_tokens=tokens.cache_read,
        cache_write_tokens=tokens.cache_write,
    )
    usd = genai_prices.calc_price(
        usage, model, provider_id=provider, genai_request_timestamp=AT, price_context=dict(context) or None
    ).total_price
    return int((usd * 10**9).to_integral_value(ROUND_HALF_EVEN))


def test_the_makers_rows_are_plausible(genai: PriceList) -> None:
    """Resellers' rows are left out: some resellers do charge more for cached input than for other input."""
    makers = {"anthropic", "deepseek", "google", "moonshotai", "openai", "x-ai", "zai"}
    odd = []
    for provider in providers:
        for model in provider.models if provider.id in makers else ():
            price = genai.find(CPA_NAMES[provider.id], model.id, at_ms=AT_MS)
            if price is not None and price.tariff.output is not None:
                for rates in (price.tariff, *price.tariff.tiers):
                    if not (rates.cache_read or 0) <= rates.input <= (rates.output or 0):
                        odd.append((provider.id, model.id))
    assert odd == [("openai", "gpt-5-image-mini")]  # text output is cheaper than text input there


def test_decimals_of_the_package_are_whole_pico_dollars(genai: PriceList) -> None:
    price = genai.find("claude", "claude-opus-4-6", at_ms=AT_MS)
    assert price is not None
    assert price.tariff.cache_write == Decimal("6.25") * 1_000_000
