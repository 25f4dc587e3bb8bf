"""Reads the price list of llm-prices.com. A row counts only if it prices a model that clients can request by name.

Its ids are made for a page, not for programs. Some are not the API's name (a table here maps those), some are another
row's prices for long prompts ("Grok 4.5 >200k"), some stand for two models or for half of one. An ambiguous row is left
out: a model at the default price is visible, a wrong price is not.

One damaged row discredits the whole list: nobody reviews it before use.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from exporter.errors import PriceFeedError
from exporter.pricing.model_names import LONGEST_NAME, clean
from exporter.pricing.price import Tariff, Tier, pico_per_token

_HIGHEST_PRICE = Decimal(100_000)
"""USD per million tokens. A higher price comes from mixed-up units."""

_SECTIONS: Mapping[str, str] = {
    **{name: name for name in ("anthropic", "deepseek", "google", "minimax", "mistral", "openai", "qwen")},
    "moonshot-ai": "moonshotai",
    "xai": "x-ai",
    "z.ai": "zai",
}
"""The list's vendors → sections of our price lists. Rows of other vendors have names that CPA never uses."""

_API_NAMES: Mapping[str, tuple[str, ...]] = {
    "claude-3.5-haiku": ("claude-3-5-haiku",),
    "claude-3.5-sonnet": ("claude-3-5-sonnet",),
    "claude-3.7-sonnet": ("claude-3-7-sonnet",),
    "claude-4.5-haiku": ("claude-haiku-4-5",),
    "claude-sonnet-4.5": ("claude-sonnet-4-5", "claude-sonnet-4"),  # "Claude Sonnet 4 and 4.5"
    "claude-sonnet-5.5": ("claude-sonnet-5-5",),
    "gemini-3-1-pro-preview": ("gemini-3.1-pro-preview",),
    "gpt-4.5": ("gpt-4.5-preview",),
    "o1-preview": ("o1-preview", "o1"),  # "o1 and o1-preview"
    # Two prices of one model, for its text and its images: CPA does not tell the tokens apart.
    "gpt-image-2-image": (),
    "gpt-image-2-text": (),
}
"""Ids that are not the API's name → the API's names, none where the row is not a model's price."""

_LONG_PROMPT = re.compile(r"-(?P<thousands>128|200|256|272)k\Z")
_MOVING = "-latest"

_Key = tuple[str, str]

Feed = dict[_Key, Tariff]
"""The price of each model, by section and name."""


class FeedPrice(msgspec.Struct, frozen=True):
    """A price of the feed; ``since_ms`` is when it was first seen, 0 for a model's first price."""

    section: str
    model: str
    since_ms: int
    tariff: Tariff


class StoredFeed(msgspec.Struct, frozen=True):
    """All stored prices; ``fetched_ms`` is when the feed was last read, ``None`` if never."""

    fetched_ms: int | None = None
    prices: tuple[FeedPrice, ...] = ()


class _Row(msgspec.Struct):
    id: str
    vendor: str
    input: Decimal
    output: Decimal
    name: str = ""
    input_cached: Decimal | None = None


class _Body(msgspec.Struct):
    prices: list[_Row]


def read_feed(body: bytes) -> Feed:
    """The usable prices of a list. Raises PriceFeedError with the reason if the list cannot be trusted."""
    try:
        rows = msgspec.json.decode(body, type=_Body).prices
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise PriceFeedError("The answer is not a price list in the known format.") from exc
    for row in rows:
        _refuse_damaged(row)
    by_id = _unambiguous(rows)
    tiers: dict[_Key, list[Tier]] = {}
    priced: dict[_Key, _Row] = {}
    for key, row in by_id.items():
        base, above = _of_long_prompts(key, row)
        if base in by_id:
            tiers.setdefault(base, []).append(Tier(above_tokens=above, **_rates(row)))
        elif _is_price(row) and key[0] in _SECTIONS and not key[1].endswith(_MOVING):
            priced[key] = row
    feed: Feed = {}
    for (vendor, id_), row in priced.items():
        above_sizes = sorted(tiers.get((vendor, id_), ()), key=lambda tier: tier.above_tokens)
        tariff = Tariff(**_rates(row), tiers=tuple(above_sizes))
        feed |= {(_SECTIONS[vendor], name): tariff for name in _API_NAMES.get(id_, (id_,))}
    if not feed:
        raise PriceFeedError("The price list has no price for any model that CPA could serve.")
    return feed


def _is_price(row: _Row) -> bool:
    """Whether the row states a price: 0 means unknown, or not sold by the token, unless all three prices are 0."""
    return pico_per_token(row.input) > 0 or row.input == row.output == row.input_cached == 0


def _refuse_damaged(row: _Row) -> None:
    # A damaged id is as bad as a damaged price: the list is not what it was.
    if not clean(row.id) or len(row.vendor) > LONGEST_NAME:
        raise PriceFeedError("The price list has a row without a usable id.")
    for price in (row.input, row.output, row.input_cached):
        if price is not None and not (price.is_finite() and 0 <= price <= _HIGHEST_PRICE):
            raise PriceFeedError("The price list has an impossible price for {model}.", model=clean(row.id))


def _unambiguous(rows: list[_Row]) -> dict[_Key, _Row]:
    """The rows by vendor and id, without ids that occur twice with different prices."""
    by_id: dict[_Key, _Row] = {}
    ambiguous = set()
    for row in rows:
        key = (row.vendor.lower(), clean(row.id))
        first = by_id.setdefault(key, row)
        if (first.input, first.output, first.input_cached) != (row.input, row.output, row.input_cached):
            ambiguous.add(key)
    return {key: row for key, row in by_id.items() if key not in ambiguous}


def _of_long_prompts(key: _Key, row: _Row) -> tuple[_Key | None, int]:
    """The key of the row whose long prompts this row may price, and the size above which it holds; ``None`` if none.

    The row's name has to say so, not only its id: glm-4-32b-0414-128k is a model.
    """
    vendor, id_ = key
    suffix = _LONG_PROMPT.search(id_)
    if suffix is None or f">{suffix['thousands']}k" not in row.name.lower().replace(" ", ""):
        return None, 0
    return (vendor, id_[: suffix.start()]), int(suffix["thousands"]) * 1000


def _rates(row: _Row) -> dict[str, Any]:
    """A row's prices. The list has none for cache writes, and ``null`` for cached input means unknown, not free."""
    return {
        "input": pico_per_token(row.input),
        "output": pico_per_token(row.output),
        "cache_read": None if row.input_cached is None else pico_per_token(row.input_cached),
        "cache_write": None,
    }
