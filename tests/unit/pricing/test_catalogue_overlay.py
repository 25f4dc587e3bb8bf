"""The overlay adds to the package, and a reader can check every row of it."""

from datetime import UTC, date, datetime
from math import inf

import pytest

from exporter.pricing.catalogue import read_overlay
from exporter.pricing.lookup import PriceList
from exporter.pricing.price import Price, pico_per_token
from exporter.pricing.price_file import OverlayRow

ROWS = read_overlay()
REVIEWED = date(2026, 11, 30)
AT_MS = int(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()) * 1000
DAY_MS = 86_400_000
CPA_NAMES = {
    "anthropic": "claude",
    "antigravity": "antigravity",
    "deepseek": "openai-compatible-deepseek",
    "google": "vertex",
    "moonshotai": "kimi",
    "openai": "codex",
    "qwen": "qwen",
    "x-ai": "xai",
    "zai": "openai-compatible-zai",
}
NEW = [row for row in ROWS if row.tariff is not None and not row.corrects]
CORRECTIONS = [row for row in ROWS if row.corrects]
NAMES = [row for row in ROWS if row.same_as]
TIERS = [row for row in ROWS if row.tariff is None and not row.same_as]


def found(catalogue: PriceList, provider: str, model: str, at_ms: int = AT_MS) -> Price:
    price = catalogue.find(provider, model, at_ms=at_ms)
    assert price is not None, (provider, model)
    return price


def row_id(row: OverlayRow) -> str:
    return f"{row.provider}/{row.names[0]}{'' if row.tariff or row.same_as else ' (service tiers)'}"


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_a_reader_can_check_a_row(row: OverlayRow) -> None:
    assert row.source
    assert row.checked is not None
    assert row.checked <= REVIEWED
    assert -inf < row.from_ms <= AT_MS


@pytest.mark.parametrize("row", [*NEW, *CORRECTIONS, *TIERS], ids=row_id)
def test_output_costs_more_than_input_and_cache_reads_cost_less(row: OverlayRow) -> None:
    tariffs = [*([row.tariff] if row.tariff else []), *row.service_tiers.values()]
    assert tariffs
    for rates in [each for tariff in tariffs for each in (tariff, *tariff.tiers)]:
        assert (rates.output or 0) >= rates.input > (rates.cache_read or 0)
        assert rates.cache_read != 0


def test_no_two_rows_have_the_same_name_at_the_same_time() -> None:
    for index, row in enumerate(ROWS):
        for other in ROWS[:index]:
            if row.provider == other.provider and set(row.names) & set(other.names):
                assert not row.overlaps(other) or (row.tariff is None) != (other.tariff is None)


@pytest.mark.parametrize("row", [*NEW, *NAMES], ids=row_id)
def test_the_package_still_lacks_what_the_overlay_adds(genai: PriceList, row: OverlayRow) -> None:
    assert [name for name in row.names if genai.find(CPA_NAMES[row.provider], name, at_ms=AT_MS)] == []


@pytest.mark.parametrize("row", TIERS, ids=row_id)
def test_the_package_still_lacks_the_service_tiers_that_the_overlay_adds(genai: PriceList, row: OverlayRow) -> None:
    for name in row.names:
        price = found(genai, CPA_NAMES[row.provider], name)
        assert set(price.service_tiers) & set(row.service_tiers) == set()


@pytest.mark.parametrize("row", NAMES, ids=row_id)
def test_a_name_that_stands_for_another_one_has_its_prices_and_service_tiers(
    catalogue: PriceList, row: OverlayRow
) -> None:
    section, _, model = row.same_as.partition("/")
    other = found(catalogue, CPA_NAMES[section], model)
    for name in row.names:
        price = found(catalogue, CPA_NAMES[row.provider], name)
        assert (price.tariff, price.service_tiers) == (other.tariff, other.service_tiers)


@pytest.mark.parametrize("row", CORRECTIONS, ids=row_id)
def test_the_package_still_has_what_the_overlay_corrects(genai: PriceList, row: OverlayRow) -> None:
    for name in row.names:
        found(genai, CPA_NAMES[row.provider], name)


@pytest.mark.parametrize("row", [*NEW, *NAMES], ids=row_id)
def test_a_row_applies_from_its_day_on(catalogue: PriceList, row: OverlayRow) -> None:
    provider, from_ms = CPA_NAMES[row.provider], int(row.from_ms)
    for name in row.names:
        assert found(catalogue, provider, name, from_ms).tariff == row.tariff or row.same_as
        assert catalogue.find(provider, name, at_ms=from_ms - 1) is None


@pytest.mark.parametrize(
    ("provider", "model", "row", "matched_by"),
    [
        ("antigravity", "gemini-3-flash", "overlay google/gemini-3-flash", "exact"),
        ("antigravity", "gemini-3.1-pro-low", "overlay google/gemini-3.1-pro", "suffix"),
        ("antigravity", "gemini-3.5-flash-extra-low", "overlay antigravity/gemini-3-flash-agent", "exact"),
        ("vertex", "models/gemini-3-pro", "overlay google/gemini-3-pro", "exact"),
        ("codex", "gpt-5.3-codex-spark", "overlay openai/gpt-5.3-codex-spark", "exact"),
        ("codex", "gpt-5.3-codex-spark(high)", "overlay openai/gpt-5.3-codex-spark", "suffix"),
        ("qwen", "qwen3-coder-plus", "overlay qwen/qwen3-coder-plus", "exact"),
        ("openai-compatible-mine", "qwen/qwen3-coder-plus", "overlay qwen/qwen3-coder-plus", "exact"),
    ],
)
def test_a_model_of_the_overlay_is_found(
    catalogue: PriceList, provider: str, model: str, row: str, matched_by: str
) -> None:
    price = found(catalogue, provider, model)
    assert (price.origin, price.matched_by) == (row, matched_by)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("codex", "gpt-5.3-codex-sparkle"),
        ("codex", "codex-spark"),
        ("gemini", "gemini-3-flash-agent"),  # a mode of Antigravity
        ("antigravity", "gemini-3-flash-lite"),
        ("kimi", "kimi-k3-512k"),
        ("claude", "claude-mythos-5-3"),
        ("openai-compatible-bedrock", "xx.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("openai-compatible-bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0-mine"),
        ("openai-compatible-bedrock", "us.anthropic.claude-sonnet-4-99-v1:0"),
        ("openai-compatible-bedrock", "us.anthropic.claude-opus-5-v1:0x"),
        ("qwen", "qwen3-coder"),
    ],
)
def test_look_alikes_of_the_overlay_have_no_price(catalogue: PriceList, provider: str, model: str) -> None:
    assert catalogue.find(provider, model, at_ms=AT_MS) is None


def test_spark_and_codex_do_not_share_a_row(catalogue: PriceList) -> None:
    assert found(catalogue, "codex", "gpt-5.3-codex").origin != found(catalogue, "codex", "gpt-5.3-codex-spark").origin


# --- names that had no price, or the wrong one ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "model", "prices"),
    [
        ("kimi", "kimi-k3-256k", ("3", "0.3", "15")),
        ("kimi", "kimi-k2", ("0.6", "0.15", "2.5")),
        ("claude", "claude-mythos-5", ("10", "1", "50")),
        ("claude", "claude-mythos-5-1", ("10", "0.25", "50")),
        ("claude", "claude-mythos-preview", ("10", "1", "50")),
        ("gemini", "gemini-3.1-pro-preview-customtools", ("2", "0.2", "12")),
        ("gemini", "gemini-2.5-computer-use-preview-10-2025", ("1.25", None, "10")),
        ("vertex", "gemini-1.5-flash-8b-001", ("0.0375", "0.01", "0.15")),
        ("qwen", "qwen3.7-max", ("2.5", "0.5", "7.5")),
        ("qwen", "qwen3.8-max", ("2", "0.25", "6")),
        ("openai-compatible-zai", "glm-5-code", ("1.2", "0.3", "5")),
        ("openai-compatible-bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", ("3.3", "0.33", "16.5")),
        ("openai-compatible-bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", ("3", "0.3", "15")),
        ("claude", "eu.anthropic.claude-opus-4-6-v1", ("5.5", "0.55", "27.5")),
        ("openai-compatible-mine", "anthropic.claude-3-5-haiku-20241022-v1:0", ("0.8", "0.08", "4")),
    ],
)
def test_a_name_has_its_published_price(
    catalogue: PriceList, provider: str, model: str, prices: tuple[str | None, ...]
) -> None:
    tariff = found(catalogue, provider, model).tariff
    expected = [None if usd is None else pico_per_token(usd) for usd in prices]
    assert [tariff.input, tariff.cache_read, tariff.output] == expected


@pytest.mark.parametrize(
    ("provider", "model", "tier", "prices"),
    [
        ("gemini", "gemini-2.5-pro", "flex", ("0.625", "5")),
        ("gemini", "gemini-2.5-pro", "priority", ("2.25", "18")),
        ("gemini", "gemini-2.5-flash", "flex", ("0.15", "1.25")),
        ("gemini", "gemini-2.5-flash", "priority", ("0.54", "4.5")),
        ("antigravity", "gemini-3-flash", "priority", ("0.9", "5.4")),
        ("antigravity", "gemini-3.1-pro-low", "priority", ("3.6", "21.6")),
        ("antigravity", "gemini-3-flash-agent", "flex", ("0.75", "4.5")),
        ("vertex", "gemini-3-pro", "priority", ("3.6", "21.6")),
    ],
)
def test_a_service_tier_has_its_published_price(
    catalogue: PriceList, provider: str, model: str, tier: str, prices: tuple[str, str]
) -> None:
    tariff = found(catalogue, provider, model).at(tier)
    assert tariff is not None
    assert [tariff.input, tariff.output] == [pico_per_token(usd) for usd in prices]
