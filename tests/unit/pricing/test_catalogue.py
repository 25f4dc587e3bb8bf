from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import pytest
from genai_prices.types import (
    ClauseContains,
    ClauseEquals,
    ClauseOr,
    ClauseStartsWith,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from exporter.pricing.genai_prices import genai_rows
from exporter.pricing.lookup import PriceList, catalogue_ways
from exporter.pricing.price import MatchedBy


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


NOW = ms("2026-11-24T12:00:00")


def listed(provider: str, model: str, match: object, prices: ModelPrice | list[ConditionalPrice]) -> PriceList:
    """A price list with one row."""
    row = ModelInfo(id=model, match=match, prices=prices)  # type: ignore[arg-type]  # a union of the clauses
    rows = genai_rows([Provider(id=provider, name="", api_pattern="", models=[row])], version="1")
    return PriceList(rows, ways=catalogue_ways)


def usd(input_mtok: str, **others: Decimal | TieredPrices) -> ModelPrice:
    return ModelPrice(input_mtok=Decimal(input_mtok), output_mtok=Decimal(9), **others)


@pytest.mark.parametrize(
    ("provider", "model", "row", "matched_by"),
    [
        ("claude", "claude-sonnet-4-5", "anthropic/claude-sonnet-4-5", "exact"),
        ("claude", "claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5", "date"),
        ("claude", "claude-sonnet-4-5-20250929-thinking", "anthropic/claude-sonnet-4-5", "suffix"),
        ("claude", "claude-haiku-4.5", "anthropic/claude-haiku-4-5", "exact"),
        ("claude", "kimi-k2.5", "moonshotai/kimi-k2.5", "exact"),
        ("codex", "GPT-5.1-Codex-Max", "openai/gpt-5.1", "exact"),
        ("codex", "gpt-5.1(high)", "openai/gpt-5.1", "suffix"),
        ("codex", "gpt-5-2025-08-07", "openai/gpt-5", "exact"),
        ("codex", "gpt-4o-20240513", "openai/gpt-4o-2024-05-13", "date"),
        ("gemini", "models/gemini-2.5-pro", "google/gemini-2.5-pro", "exact"),
        ("gemini-cli", "gemini-2.5-flash-lite-preview-09-2025", "google/gemini-2.5-flash-lite", "date"),
        ("vertex", "claude-opus-4-6@20260101", "google/claude-opus-4-6", "date"),
        ("vertex", "claude-opus-4-1@20250805", "anthropic/claude-opus-4-1", "date"),
        ("antigravity", "gemini-claude-sonnet-4-5", "anthropic/claude-sonnet-4-5", "suffix"),
        ("antigravity", "gpt-oss-120b-medium", "openai/gpt-oss-120b", "suffix"),
        ("antigravity", "gemini-2.5-flash", "google/gemini-2.5-flash", "exact"),
        ("kimi", "kimi-k2.5", "moonshotai/kimi-k2.5", "exact"),
        ("xai", "grok-4.5", "x-ai/grok-4.5", "exact"),
        ("iflow", "glm-4.6", "zai/GLM-4.6", "exact"),
        ("some-plugin", "deepseek-v3.2", "deepseek/deepseek-v3.2", "exact"),
        ("openai-compatible-openrouter", "openai/gpt-5", "openrouter/openai/gpt-5", "exact"),
        ("openrouter", "openai/gpt-5(high)", "openrouter/openai/gpt-5", "suffix"),
        ("openai-compatible-openrouter", "gpt-5.4-2026-03-05", "openai/gpt-5.4", "exact"),
        ("openai-compatible-mine", "z-ai/glm-4.6", "zai/GLM-4.6", "exact"),
        ("openai-compatible-mine", "somebody/claude-opus-4-6", "anthropic/claude-opus-4-6", "exact"),
    ],
)
def test_a_model_is_found_under_its_own_name(
    genai: PriceList, provider: str, model: str, row: str, matched_by: str
) -> None:
    price = genai.find(provider, model, at_ms=NOW)
    assert price is not None
    assert price.origin.partition(" ")[2].partition(" ")[2] == row
    assert price.matched_by == matched_by


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("codex", "gpt-5.3-codex-spark"),
        ("codex", "gpt-5-codex-mini"),
        ("codex", "gpt-5.5.1"),
        ("codex", "gpt-4-mini"),
        ("codex", "gpt-5-nano-tiny"),
        ("claude", "claude-opus-4-9"),
        ("claude", "claude-opus-4-6-fast"),
        ("claude", "claude-haiku-4-5-turbo"),
        ("gemini", "gemini-2.5-pro-max"),
        ("gemini", "gemini-3.6-flash-lite"),
        ("gemini", "my-claude-3-opus"),
        ("antigravity", "gemini-3.5-flash-extra-low"),
        ("kimi", "kimi-for-coding"),
        ("kimi", "kimi-k2.5-turbo"),
        ("qwen", "qwen3-coder-plus"),
        ("some-plugin", "gpt"),
        ("some-plugin", "auto"),
        ("some-plugin", ""),
    ],
)
def test_a_model_that_is_not_listed_has_no_price(genai: PriceList, provider: str, model: str) -> None:
    assert genai.find(provider, model, at_ms=NOW) is None


@pytest.mark.parametrize(
    ("provider", "one", "other"),
    [
        ("codex", "gpt-4", "gpt-4o-mini"),
        ("codex", "gpt-5", "gpt-5.5"),
        ("codex", "gpt-5", "gpt-5-mini"),
        ("codex", "gpt-5.1-codex", "gpt-5.1-codex-mini"),
        ("codex", "gpt-5.4", "gpt-5.4-pro"),
        ("claude", "claude-opus-4-20250514", "claude-opus-4-7"),
        ("claude", "claude-opus-4-1-20250805", "claude-opus-4-5-20251101"),
        ("gemini", "gemini-2.5-flash", "gemini-2.5-flash-lite"),
        ("xai", "grok-3-mini", "grok-3-mini-fast"),
        ("kimi", "kimi-k2.7-code", "kimi-k2.7-code-highspeed"),
    ],
)
def test_look_alikes_do_not_share_a_price(genai: PriceList, provider: str, one: str, other: str) -> None:
    first, second = (genai.find(provider, model, at_ms=NOW) for model in (one, other))
    assert first is not None
    assert second is not None
    assert first.origin != second.origin
    assert (first.tariff.input, first.tariff.output) != (second.tariff.input, second.tariff.output)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param("gpt-4" * 2_000, id="ten thousand characters"),
        pytest.param("gpt-5" + " " * 9_995, id="a name and ten thousand spaces"),
        pytest.param("-20250101" * 20, id="nothing but dates"),
        pytest.param("(high)" * 30, id="nothing but efforts"),
        pytest.param("/" * 200, id="nothing but slashes"),
        pytest.param("gpt-.*", id="a pattern"),
        pytest.param("^gpt-4$|.*", id="a pattern with alternatives"),
        pytest.param("gpt-4\x00", id="a control character"),
        pytest.param("gpt\n-4", id="a line break"),
        pytest.param("gpt%", id="a wildcard"),
        pytest.param("\udcff\u202e", id="no text at all"),
        pytest.param("\u212aimi-k2.5", id="letters that only look alike"),
    ],
)
@pytest.mark.parametrize("provider", ["codex", "openai-compatible-openrouter", "\x00", "x" * 10_000])
def test_hostile_names_have_no_price(genai: PriceList, provider: str, model: str) -> None:
    assert genai.find(provider, model, at_ms=NOW) is None


def test_a_price_applies_from_midnight_utc_of_its_date(genai: PriceList) -> None:
    # o3 was cut from 10 to 2 USD per million tokens on 2025-06-10.
    before = genai.find("codex", "o3", at_ms=ms("2025-06-09T23:59:59.999"))
    since = genai.find("codex", "o3", at_ms=ms("2025-06-10T00:00:00"))
    assert before is not None
    assert since is not None
    assert (before.tariff.input, since.tariff.input) == (10_000_000, 2_000_000)


def test_the_end_of_a_long_context_price_is_a_date_too(genai: PriceList) -> None:
    before = genai.find("claude", "claude-opus-4-6", at_ms=ms("2026-03-12T23:59:59.999"))
    since = genai.find("claude", "claude-opus-4-6", at_ms=ms("2026-03-13T00:00:00"))
    assert before is not None
    assert since is not None
    assert [(tier.above_tokens, tier.input) for tier in before.tariff.tiers] == [(200_000, 10_000_000)]
    assert since.tariff.tiers == ()


@pytest.mark.parametrize(
    ("moment", "input_pico"),
    [
        ("2026-08-16T00:30:00", 435_000),
        ("2026-08-17T00:59:59.999", 660_000),
        ("2026-08-17T01:00:00", 1_320_000),
        ("2026-08-17T03:59:59.999", 1_320_000),
        ("2026-08-17T04:00:00", 660_000),
        ("2026-08-17T06:00:00", 1_320_000),
        ("2026-08-17T10:00:00", 660_000),
    ],
)
def test_a_price_depends_on_the_time_of_day(genai: PriceList, moment: str, input_pico: int) -> None:
    price = genai.find("openai-compatible-deepseek", "deepseek-v4-pro", at_ms=ms(moment))
    assert price is not None
    assert price.tariff.input == input_pico


@pytest.mark.parametrize(
    ("moment", "input_pico"),
    [("22:59:59.999", 1), ("23:00:00", 2), ("00:00:00", 2), ("00:59:59.999", 2), ("01:00:00", 1)],
)
def test_a_time_of_day_may_cross_midnight_and_have_a_zone(moment: str, input_pico: int) -> None:
    zone = timezone(timedelta(hours=8))
    night = TimeOfDateConstraint(start_time=time(7, tzinfo=zone), end_time=time(9, tzinfo=zone))
    prices = [
        ConditionalPrice(prices=usd("0.000001")),
        ConditionalPrice(night, prices=usd("0.000002")),
    ]
    catalogue = listed("openai", "m", ClauseEquals("m"), prices)
    price = catalogue.find("codex", "m", at_ms=ms(f"2026-05-01T{moment}"))
    assert price is not None
    assert price.tariff.input == input_pico


def test_a_model_has_no_price_before_its_first_one() -> None:
    free_preview = ConditionalPrice(prices=ModelPrice())
    paid = ConditionalPrice(StartDateConstraint(date(2026, 5, 1)), prices=usd("2"))
    catalogue = listed("openai", "m", ClauseEquals("m"), [free_preview, paid])
    assert catalogue.find("codex", "m", at_ms=ms("2026-04-30T12:00:00")) is None
    assert catalogue.find("codex", "m", at_ms=ms("2026-05-01T12:00:00")) is not None


def test_the_same_question_gets_the_same_object(genai: PriceList) -> None:
    first = genai.find("codex", "o3", at_ms=NOW)
    assert genai.find("codex", "o3", at_ms=NOW + 1) is first


def test_a_row_has_only_the_names_that_it_spells_out() -> None:
    match = ClauseOr([ClauseEquals("Alias"), ClauseStartsWith("start"), ClauseContains("middle")])
    catalogue = listed("openai", "Own-Id", match, usd("2"))
    asked = ("own-id", "ALIAS", "start", "started", "middle", "own")
    found = [name for name in asked if catalogue.find("codex", name, at_ms=NOW)]
    assert found == ["own-id", "ALIAS", "start"]


def test_each_bucket_of_a_tier_has_its_price() -> None:
    tiered = TieredPrices(base=Decimal(2), tiers=[Tier(100, Decimal(4)), Tier(200, Decimal(8))])
    late = TieredPrices(base=Decimal("0.2"), tiers=[Tier(200, Decimal("0.8"))])
    prices = ModelPrice(input_mtok=tiered, output_mtok=Decimal(9), cache_read_mtok=late, cache_write_1h_mtok=Decimal(7))
    price = listed("openai", "m", ClauseEquals("m"), prices).find("codex", "m", at_ms=NOW)
    assert price is not None
    assert [
        (rates.input, rates.output, rates.cache_read, rates.cache_write)
        for rates in (price.tariff, *price.tariff.tiers)
    ] == [
        # Cache writes without a separate price cost as much as other input.
        (2_000_000, 9_000_000, 200_000, 2_000_000),
        (4_000_000, 9_000_000, 200_000, 4_000_000),
        (8_000_000, 9_000_000, 800_000, 8_000_000),
    ]
    assert [tier.above_tokens for tier in price.tariff.tiers] == [100, 200]


def test_a_model_that_makes_images_is_charged_for_images(genai: PriceList) -> None:
    price = genai.find("gemini", "gemini-2.5-flash-image", at_ms=NOW)
    assert price is not None
    assert price.tariff.output == 30_000_000


def test_a_row_without_a_price_per_token_is_not_a_price(genai: PriceList) -> None:
    assert genai.find("codex", "whisper-1", at_ms=NOW) is None
    assert genai.find("gemini", "gemma-4-31b-it", at_ms=NOW) is None


def test_a_row_without_an_output_price_has_no_output_price(genai: PriceList) -> None:
    price = genai.find("codex", "text-embedding-3-small", at_ms=NOW)
    assert price is not None
    assert price.tariff.output is None


def test_a_free_model_is_free(genai: PriceList) -> None:
    price = genai.find("openai-compatible-openrouter", "allenai/molmo-7b-d:free", at_ms=NOW)
    assert price is not None
    assert (price.tariff.input, price.tariff.output, price.tariff.cache_read, price.tariff.cache_write) == (0, 0, 0, 0)


def test_the_origin_names_the_version_of_the_list() -> None:
    price = listed("openai", "m", ClauseEquals("m"), usd("2")).find("codex", "m", at_ms=NOW)
    assert price is not None
    assert price.origin == "genai-prices 1 openai/m"
    assert price.matched_by is MatchedBy.EXACT
