import json
from decimal import Decimal

import pytest

from exporter.pricing.price import MatchedBy, Price, Tariff, Tier, pico_per_token, usd_per_million

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


def test_the_text_at_another_name_of_a_tier_has_the_charged_prices() -> None:
    price = priced(PLAIN, priority=TIERED)
    assert json.loads(price.text("fast"))["tiers"] == json.loads(price.text("priority"))["tiers"] != []


@pytest.mark.parametrize("asked", ["tier-of-somebody", "fast"])
def test_a_tier_without_a_price_adds_no_text(asked: str) -> None:
    # Clients choose the name of the tier, and each text is kept forever.
    assert priced(PLAIN).text(asked) == priced(PLAIN).text("")


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
