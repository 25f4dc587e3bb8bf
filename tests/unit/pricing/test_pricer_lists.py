"""The order of the lists: the user's file, the catalogue, the daily list, the default price."""

from collections.abc import Iterator
from datetime import UTC
from decimal import Decimal
from pathlib import Path

import genai_prices
import pytest

from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.pricing.feed_format import FeedPrice
from exporter.pricing.price import Tariff
from exporter.pricing.pricer import DEFAULT_PRICE, Pricer, open_prices
from exporter.records import Basis, Cost, Tokens
from tests.benches.books import TurnedClock
from tests.benches.pricing import record

AT_MS = 1_795_521_600_000  # 2026-11-24T12:00Z

PRICES = """
prices:
  - {model: gpt-5.4, provider: codex, input: 1, cache_read: 0.1, output: 2}
  - model: claude-opus-4-6
    to: 2026-11-01
    input: 3
    output: 4
  - model: gpt-99
    input: 5
    output: 6
    service_tiers:
      flex: {input: 2, output: 3}
  - {model: _default, input: 7, output: 8}
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / FILE_NAME, clock=TurnedClock(), zone=UTC)
    tariff = Tariff(input=9_000_000, output=9_000_000, cache_read=None, cache_write=None)
    listed = [("openai", name) for name in ("gpt-98", "gpt-99", "gpt-5.4", "gpt-5.3-codex-spark")]
    ledger.price_feed.save(
        [FeedPrice(section=section, model=model, since_ms=0, tariff=tariff) for section, model in listed],
        fetched_ms=AT_MS,
    )
    yield ledger
    ledger.close()


def opened(ledger: Ledger, tmp_path: Path, *, file: bool = True, feed: bool = True) -> Pricer:
    path = tmp_path / "prices.yaml"
    path.write_text(PRICES)
    return open_prices(
        file=path if file else None,
        feed_url="http://127.0.0.1:1/" if feed else None,
        store=ledger.price_feed,
        clock=TurnedClock(),
    )


@pytest.mark.parametrize(
    ("provider", "model", "origin", "matched_by"),
    [
        pytest.param("codex", "gpt-5.4", "prices.yaml codex/gpt-5.4", "override", id="the file before the catalogue"),
        pytest.param(
            "mine",
            "gpt-5.4",
            f"genai-prices {genai_prices.__version__} openai/gpt-5.4",
            "exact",
            id="for one provider only",
        ),
        pytest.param("mine", "gpt-99", "prices.yaml gpt-99", "override", id="the file before the daily list"),
        pytest.param(
            "claude",
            "claude-opus-4-6",
            f"genai-prices {genai_prices.__version__} anthropic/claude-opus-4-6",
            "exact",
            id="a row that is over",
        ),
        pytest.param(
            "codex",
            "gpt-5.3-codex-spark",
            "overlay openai/gpt-5.3-codex-spark",
            "exact",
            id="the overlay before the list",
        ),
        pytest.param(
            "codex", "gpt-98-2026-11-01", "llm-prices.com openai/gpt-98", "date", id="a gap that the list fills"
        ),
        pytest.param("codex", "gpt-97", "prices.yaml _default", "default", id="what nobody knows"),
    ],
)
def test_the_first_list_that_knows_a_price_is_used(
    ledger: Ledger, tmp_path: Path, *, provider: str, model: str, origin: str, matched_by: str
) -> None:
    price = opened(ledger, tmp_path).price_of(provider, model, at_ms=AT_MS)
    assert (price.origin, price.matched_by) == (origin, matched_by)


def test_without_file_and_feed_the_catalogue_and_the_default_apply(ledger: Ledger, tmp_path: Path) -> None:
    layers = opened(ledger, tmp_path, file=False, feed=False)
    assert (layers.user, layers.feed) == (None, None)
    assert layers.price_of("mine", "gpt-98", at_ms=AT_MS) is DEFAULT_PRICE
    assert (
        layers.price_of("codex", "gpt-5.4", at_ms=AT_MS).origin
        == f"genai-prices {genai_prices.__version__} openai/gpt-5.4"
    )


def priced(layers: Pricer, model: str, tokens: Tokens, *, tier: str = "") -> Cost:
    return layers.price(record("codex", model, tokens, at_ms=AT_MS, service_tier=tier))


def test_a_users_price_is_exact(ledger: Ledger, tmp_path: Path) -> None:
    cost = priced(opened(ledger, tmp_path), "gpt-5.4", Tokens(uncached=1_000, cache_read=500, output=10))
    # 1 USD per million for input, 0.1 for cached input, 2 for output
    assert (cost.nano_usd, cost.basis) == (1_000 * 1_000 + 500 * 100 + 10 * 2_000, Basis.EXACT)


@pytest.mark.parametrize(
    ("tier", "nano_usd", "unpriced"),
    [("", 100 * 5_000 + 10 * 6_000, ""), ("flex", 100 * 2_000 + 10 * 3_000, ""), ("priority", 0, "no_tier_price")],
)
def test_the_users_row_has_its_own_service_tiers_and_no_others(
    ledger: Ledger, tmp_path: Path, tier: str, nano_usd: int, unpriced: str
) -> None:
    cost = priced(opened(ledger, tmp_path), "gpt-99", Tokens(uncached=100, output=10), tier=tier)
    assert (cost.nano_usd, cost.unpriced) == (nano_usd, unpriced)


def test_the_users_default_is_still_a_guess(ledger: Ledger, tmp_path: Path) -> None:
    cost = priced(opened(ledger, tmp_path), "gpt-97", Tokens(uncached=100, cache_read=50, output=10))
    # cached input costs as much as other input
    assert (cost.nano_usd, cost.basis, cost.unpriced) == (150 * 7_000 + 10 * 8_000, Basis.DEFAULT, "")


def test_the_present_price_of_each_bucket_can_be_read(ledger: Ledger, tmp_path: Path) -> None:
    pricer = opened(ledger, tmp_path)
    assert pricer.current("claude", "claude-opus-4-6", at_ms=AT_MS) == {
        "input": Decimal(5),
        "cache_read": Decimal("0.5"),
        "cache_write": Decimal("6.25"),
        "output": Decimal(25),
    }
    assert pricer.current("codex", "gpt-5.4", at_ms=AT_MS) == {
        "input": Decimal(1),
        "cache_read": Decimal("0.1"),
        "cache_write": Decimal(1),
        "output": Decimal(2),
    }
    assert pricer.current("codex", "gpt-97", at_ms=AT_MS)["output"] == Decimal(8)


def test_the_stored_text_names_the_list(ledger: Ledger, tmp_path: Path) -> None:
    layers = opened(ledger, tmp_path)
    texts = [priced(layers, model, Tokens(uncached=1)).price for model in ("gpt-5.4", "gpt-98", "gpt-97")]
    assert ['"prices.yaml codex/gpt-5.4"' in texts[0], '"llm-prices.com openai/gpt-98"' in texts[1]] == [True, True]
    assert '"prices.yaml _default"' in texts[2]
