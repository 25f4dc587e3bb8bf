import json
from typing import Any

import pytest

from exporter.errors import PriceFeedError
from exporter.pricing.feed_format import Feed, read_feed
from exporter.pricing.price import Tariff, Tier


def row(id_: str, vendor: str, *prices: float | None, name: str = "") -> dict[str, Any]:
    """A row of the list with input, output and, if given, cached input."""
    listed = dict(zip(("input", "output", "input_cached"), prices, strict=False))
    return {"id": id_, "vendor": vendor, "name": name, **listed}


def read(*rows: dict[str, Any]) -> Feed:
    return read_feed(json.dumps({"updated_at": "2026-11-24", "prices": list(rows)}).encode())


def flat(input_pico: int, output: int, cache_read: int | None = None) -> Tariff:
    return Tariff(input=input_pico, output=output, cache_read=cache_read, cache_write=None)


def test_prices_are_exact_decimals() -> None:
    feed = read(row("gpt-9", "openai", 0.1, 0.4, 0.025))
    assert feed == {("openai", "gpt-9"): flat(100_000, 400_000, 25_000)}


def test_cached_input_without_a_price_is_unpriced_and_not_free() -> None:
    assert read(row("gpt-9", "openai", 1, 2, None))["openai", "gpt-9"].cache_read is None
    assert read(row("gpt-9", "openai", 1, 2))["openai", "gpt-9"].cache_read is None


def test_a_price_of_0_is_no_price() -> None:
    feed = read(row("glm-9", "z.ai", 1, 1), row("glm-8", "z.ai", 0, 0), row("glm-7", "z.ai", 1e-9, 2, 0))
    assert list(feed) == [("zai", "glm-9")]


@pytest.mark.parametrize("price", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_a_price_that_is_not_a_number_damages_the_list(price: str) -> None:
    with pytest.raises(PriceFeedError, match="impossible price"):
        read_feed(
            b'{"prices": [{"id": "glm-9", "vendor": "z.ai", "name": "", "input": "%s", "output": 1}]}' % price.encode()
        )


def test_a_list_nested_without_end_is_refused() -> None:
    with pytest.raises(PriceFeedError):
        read_feed(b'{"prices": ' + b"[" * 100_000)


def test_a_model_that_is_free_in_every_way_is_free() -> None:
    assert read(row("glm-9-flash", "z.ai", 0.0, 0.0, 0.0))["zai", "glm-9-flash"] == flat(0, 0, 0)


@pytest.mark.parametrize("suffix", ["128k", "200k", "256k", "272k"])
def test_a_row_about_long_prompts_becomes_a_tier(suffix: str) -> None:
    feed = read(
        row("grok-9", "xai", 2, 6, 0.5, name=f"Grok 9 ≤{suffix}"),
        row(f"grok-9-{suffix}", "xai", 4, 12, 1, name=f"Grok 9 >{suffix}"),
    )
    size = int(suffix.removesuffix("k")) * 1000
    long = Tier(above_tokens=size, input=4_000_000, output=12_000_000, cache_read=1_000_000, cache_write=None)
    base = Tariff(input=2_000_000, output=6_000_000, cache_read=500_000, cache_write=None, tiers=(long,))
    assert feed == {("x-ai", "grok-9"): base}


def test_tiers_of_one_model_are_sorted_by_size() -> None:
    feed = read(
        row("m-256k", "qwen", 3, 3, name="M > 256k"),
        row("m-128k", "qwen", 2, 2, name="M > 128k"),
        row("m", "qwen", 1, 1, name="M"),
    )
    assert [tier.above_tokens for tier in feed["qwen", "m"].tiers] == [128_000, 256_000]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(row("glm-4-32b-0414-128k", "z.ai", 1, 1, name="GLM-4-32B-0414-128K"), id="without a base"),
        pytest.param(row("kimi-9-256k", "moonshot-ai", 1, 1, name="Kimi 9 256K"), id="its name does not say above"),
        pytest.param(row("grok-9-200k", "xai", 1, 1, name="Grok 9 >200k"), id="its base has another vendor"),
    ],
)
def test_a_model_whose_name_only_looks_like_a_tier_is_a_model(other: dict[str, Any]) -> None:
    feed = read(row("grok-9", "openai", 2, 6), row("kimi-9", "moonshot-ai", 3, 3), other)
    assert other["id"] in {model for _, model in feed}
    assert all(not tariff.tiers for tariff in feed.values())


@pytest.mark.parametrize(
    ("id_", "vendor", "names"),
    [
        ("claude-4.5-haiku", "anthropic", {"claude-haiku-4-5"}),
        ("claude-sonnet-4.5", "anthropic", {"claude-sonnet-4-5", "claude-sonnet-4"}),
        ("gemini-3-1-pro-preview", "google", {"gemini-3.1-pro-preview"}),
        ("o1-preview", "openai", {"o1", "o1-preview"}),
        ("GPT-9", "OpenAI", {"gpt-9"}),
    ],
)
def test_an_id_other_than_the_apis_name_is_translated(id_: str, vendor: str, names: set[str]) -> None:
    assert {name for _, name in read(row(id_, vendor, 1, 2))} == names


@pytest.mark.parametrize(
    "left_out",
    [
        pytest.param([row("grok-9", "xai", 1, 2), row("grok-9", "xai", 1, 3)], id="an id twice, with different prices"),
        pytest.param([row("gpt-image-2-text", "openai", 5, 10)], id="the price of half a model"),
        pytest.param([row("mistral-large-latest", "mistral", 2, 6)], id="an alias that moves"),
        pytest.param([row("nova-9", "amazon", 1, 2)], id="a vendor whose names CPA never uses"),
    ],
)
def test_a_row_that_could_be_misread_is_left_out(left_out: list[dict[str, Any]]) -> None:
    assert set(read(row("gpt-9", "openai", 1, 2), *left_out)) == {("openai", "gpt-9")}


def test_a_repeated_id_with_the_same_price_is_used() -> None:
    assert len(read(row("grok-9", "xai", 0.2, 0.5), row("grok-9", "xai", 0.20, 0.50))) == 1


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<!doctype html><title>Sign in</title>", id="a page"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"prices": {}}', id="a mapping of prices"),
        pytest.param(b'{"prices": []}', id="an empty list"),
        pytest.param(b'{"updated_at": "2026-11-24"}', id="no list"),
        pytest.param(b'{"prices": [{"id": "m", "vendor": "openai", "input": 1}]}', id="a row without output"),
        pytest.param(
            b'{"prices": [{"id": "m", "vendor": "openai", "input": "x", "output": 1}]}', id="a price in words"
        ),
        pytest.param(b'{"prices": [{"id": "m", "vendor": "openai", "input": NaN, "output": 1}]}', id="not a number"),
        pytest.param(
            b'{"prices": [{"id": "m", "vendor": "nobody", "input": 1, "output": 1}]}', id="nothing that is used"
        ),
        pytest.param(b"[" * 100_000, id="nested without end"),
    ],
)
def test_anything_but_a_price_list_is_refused(body: bytes) -> None:
    with pytest.raises(PriceFeedError, match=r"\.$"):
        read_feed(body)


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(row("m", "openai", -1, 2), id="below zero"),
        pytest.param(row("m", "openai", 1, 100_001), id="units mixed up"),
        pytest.param(row("m", "openai", 1, 2, -0.1), id="cached input below zero"),
        pytest.param(row("m" * 201, "openai", 1, 2), id="an id that is too long"),
        pytest.param(row("m\n", "openai", 1e999, 2), id="infinite"),
        pytest.param(row("a\x00b", "openai", 1, 2), id="a control character in an id"),
        pytest.param(row("m", "x" * 201, 1, 2), id="a vendor that is too long"),
    ],
)
def test_one_damaged_row_refuses_the_whole_list(damaged: dict[str, Any]) -> None:
    with pytest.raises(PriceFeedError):
        read(row("gpt-9", "openai", 1, 2), damaged)
