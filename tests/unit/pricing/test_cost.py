import json
from decimal import Decimal

import pytest

from exporter.pricing.cost import MatchedBy, Price, Tariff, Tier, pico_per_token, usd_per_million
from exporter.pricing.cost import cost as cost_at
from exporter.records import Tokens


def cost(tariff: Tariff, tokens: Tokens) -> int:
    """The cost of a request at a tariff, in nano-USD."""
    return cost_at(tariff.rates(tokens), tokens)


PLAIN = Tariff(input=3_000_000, output=15_000_000, cache_read=300_000, cache_write=3_750_000)
LONG = Tier(above_tokens=200_000, input=6_000_000, output=22_500_000, cache_read=600_000, cache_write=7_500_000)
TIERED = Tariff(input=3_000_000, output=15_000_000, cache_read=300_000, cache_write=3_750_000, tiers=(LONG,))


def one_pico(input_pico: int) -> Tariff:
    return Tariff(input=input_pico, output=None, cache_read=None, cache_write=None)


def priced(tariff: Tariff, **service_tiers: Tariff) -> Price:
    return Price(origin="list row", matched_by=MatchedBy.EXACT, tariff=tariff, service_tiers=service_tiers)


@pytest.mark.parametrize(
    ("usd", "pico"),
    [
        ("3", 3_000_000),
        ("0.1", 100_000),
        ("0.003625", 3_625),
        ("2.5e-07", 0),
        (Decimal("0.08333333333333334"), 83_333),
        ("0.0000005", 0),
        ("0.0000015", 2),
    ],
)
def test_a_price_per_million_becomes_whole_pico_dollars_per_token(usd: Decimal | str, pico: int) -> None:
    assert pico_per_token(usd) == pico


def test_each_bucket_is_charged_at_its_own_price() -> None:
    tokens = Tokens(uncached=1_000, cache_read=20_000, cache_write=300, output=500, reasoning=200)
    # 1,000 x 3 + 20,000 x 0.30 + 300 x 3.75 + 500 x 15 = 17,625 USD per million; reasoning is part of output.
    assert cost(PLAIN, tokens) == 3_000_000 + 6_000_000 + 1_125_000 + 7_500_000


@pytest.mark.parametrize(
    ("tokens", "nano_usd"),
    [
        pytest.param(Tokens(uncached=200_000), 200_000 * 3_000, id="a prompt as large as the tier is below it"),
        pytest.param(Tokens(uncached=200_001), 200_001 * 6_000, id="one more and the whole prompt costs more"),
        pytest.param(
            Tokens(uncached=1, cache_read=150_000, cache_write=50_000, output=10),
            1 * 6_000 + 150_000 * 600 + 50_000 * 7_500 + 10 * 22_500,
            id="cached tokens are part of the prompt, and every bucket changes price",
        ),
        pytest.param(Tokens(uncached=200_000, output=500_000), 200_000 * 3_000 + 500_000 * 15_000, id="output is not"),
    ],
)
def test_the_size_of_the_prompt_decides_the_tier(tokens: Tokens, nano_usd: int) -> None:
    assert cost(TIERED, tokens) == nano_usd


def test_the_largest_tier_that_the_prompt_exceeds_is_charged() -> None:
    small = Tier(above_tokens=32, input=2_000, output=None, cache_read=None, cache_write=None)
    large = Tier(above_tokens=128, input=3_000, output=None, cache_read=None, cache_write=None)
    price = Tariff(input=1_000, output=None, cache_read=None, cache_write=None, tiers=(small, large))
    sums = [cost(price, Tokens(uncached=count)) for count in (32, 33, 128, 129)]
    assert sums == [32 * 1, 33 * 2, 128 * 2, 129 * 3]


@pytest.mark.parametrize(
    ("pico", "nano_usd"),
    [(499, 0), (500, 0), (501, 1), (1_499, 1), (1_500, 2), (1_501, 2), (2_500, 2), (3_500, 4)],
)
def test_a_cost_is_rounded_half_to_even(pico: int, nano_usd: int) -> None:
    assert cost(one_pico(pico), Tokens(uncached=1)) == nano_usd


def test_a_cost_is_rounded_once_for_the_record_and_not_for_each_bucket() -> None:
    price = Tariff(input=400, output=400, cache_read=400, cache_write=400)
    assert cost(price, Tokens(uncached=1, cache_read=1, cache_write=1, output=1)) == 2


def test_buckets_without_a_price_and_unclassified_tokens_cost_nothing() -> None:
    tokens = Tokens(uncached=2_000, cache_read=1_000, cache_write=1_000, output=1_000, unclassified=1_000)
    assert cost(one_pico(1_000), tokens) == 2_000


def test_a_very_large_request_is_exact() -> None:
    assert cost(PLAIN, Tokens(uncached=10**15 + 1)) == (10**15 + 1) * 3_000


def test_the_text_of_a_price_has_all_its_parts() -> None:
    assert json.loads(priced(TIERED).text("")) == {
        "origin": "list row",
        "matched_by": "exact",
        "prices": {"input": 3_000_000, "output": 15_000_000, "cache_read": 300_000, "cache_write": 3_750_000},
        "tiers": [
            {
                "above_tokens": 200_000,
                "input": 6_000_000,
                "output": 22_500_000,
                "cache_read": 600_000,
                "cache_write": 7_500_000,
            }
        ],
    }


def test_different_prices_have_different_texts() -> None:
    assert priced(PLAIN).text("") != priced(TIERED).text("")


def test_a_price_cannot_be_negative() -> None:
    with pytest.raises(ValueError, match="below zero"):
        one_pico(-1)


def test_tiers_must_rise() -> None:
    with pytest.raises(ValueError, match="from small to large"):
        Tariff(input=1, output=1, cache_read=1, cache_write=1, tiers=(LONG, LONG))


def test_the_text_of_a_price_names_the_charged_service_tier() -> None:
    price = priced(PLAIN, priority=TIERED)
    at_priority = json.loads(price.text("priority"))
    assert at_priority.pop("service_tier") == "priority"
    assert at_priority == json.loads(priced(TIERED).text(""))


def test_a_tier_without_a_price_adds_no_text() -> None:
    # Clients choose the name of the tier, and each text is kept forever.
    assert priced(PLAIN).text("tier-of-somebody") == priced(PLAIN).text("")


@pytest.mark.parametrize(
    ("asked", "charged"),
    [("", PLAIN), ("priority", TIERED), ("fast", TIERED), ("flex", None), ("Priority", None), ("prio", None)],
)
def test_a_service_tier_has_its_own_price_or_none(asked: str, charged: Tariff | None) -> None:
    assert priced(PLAIN, priority=TIERED).at(asked) is charged


def test_fast_means_priority_only_without_its_own_price() -> None:
    assert priced(PLAIN, priority=TIERED, fast=PLAIN).at("fast") is PLAIN


@pytest.mark.parametrize("usd", ["3", "0.075", "0.000001", "600"])
def test_a_price_can_be_shown_as_published(usd: str) -> None:
    assert usd_per_million(pico_per_token(usd)) == Decimal(usd)
