import pytest

from exporter.pricing.cost import cost as cost_at
from exporter.pricing.cost import parts
from exporter.pricing.price import Tariff, Tier
from exporter.records import Tokens


def cost(tariff: Tariff, tokens: Tokens) -> int:
    """The cost of a request at a tariff, in nano-USD."""
    nano_usd, _ = cost_at(tariff.rates(tokens), tokens)
    return nano_usd


PLAIN = Tariff(input=3_000_000, output=15_000_000, cache_read=300_000, cache_write=3_750_000)
LONG = Tier(above_tokens=200_000, input=6_000_000, output=22_500_000, cache_read=600_000, cache_write=7_500_000)
TIERED = Tariff(input=3_000_000, output=15_000_000, cache_read=300_000, cache_write=3_750_000, tiers=(LONG,))


def one_pico(input_pico: int) -> Tariff:
    return Tariff(input=input_pico, output=None, cache_read=None, cache_write=None)


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


@pytest.mark.parametrize("reasoning", [None, 2_000_000])
def test_each_price_has_its_part_and_each_token_is_in_one(reasoning: int | None) -> None:
    tariff = Tariff(input=3, output=15, cache_read=1, cache_write=None, reasoning=reasoning)
    found = parts(tariff, Tokens(uncached=1_000, cache_read=20_000, cache_write=300, output=500, reasoning=200))
    assert {bucket: rate for bucket, _, rate in found} == tariff.by_bucket()
    assert sum(tokens for _, tokens, _ in found) == 21_800
