"""The price list in the package ``genai-prices``.

This module uses that package's data, never its updater: prices change with a release of the exporter's dependencies,
not behind anybody's back. Nor does it use the package's lookup, which accepts prefixes and substrings and would give a
newer model the price of an older namesake. Here a row has the names that it spells out: its id, the texts of its
``equals`` and ``starts_with`` clauses, and for Bedrock those of the other clauses, too.

A row without a price per input token (audio by the hour, documents by the page, an empty row) gives no price, with one
exception: a ``:free`` row is empty because the model is free.

CPA does not tell image, audio and text tokens apart. Input has the price of text. A model with a price for image output
is there to make images, so its output has that price and its reasoning that of text. Cache writes have the 5-minute
price, because CPA does not tell the 1-hour ones apart.

A row's variants are its service tiers. A variant states only differences: a bucket that it leaves out keeps its price,
and a long-context tier holds only for a variant that states it.
"""

import pickle
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from exporter.days import DAY_MS, EPOCH, epoch_ms
from exporter.pricing.lookup import Row, Rows
from exporter.pricing.model_names import SECTIONS
from exporter.pricing.price import Price, Tariff, Tier, pico_per_token

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider, TieredPrices

_FREE = ":free"

# The package names a service tier by what is special about the request: {"service_tier": "flex"}, {"processing":
# "batch"}, {"speed": "fast"}. CPA does not report its other variants, a search type or a route, as tiers.
_SERVICE_TIER_KEYS = frozenset({"service_tier", "processing", "speed"})
_BASE_TIER = "default"

_NOT_NEEDED: dict[str, Any] = {"match": None, "name": None, "description": None, "price_comments": None}
"""Fields that a model no longer needs once its names are read."""


@cache
def load_genai_rows() -> Rows:
    """The rows of the installed ``genai-prices`` in the searched sections, by provider and name.

    Importing the data takes 10 MB and 0.1 s, so it happens once, and not when this module is imported. The rows keep
    half a megabyte of that; the program reuses the rest.
    """
    import genai_prices  # noqa: PLC0415 (see above)
    import genai_prices.data  # noqa: PLC0415

    searched = [provider for provider in genai_prices.data.providers if provider.id in SECTIONS]
    del genai_prices.data, sys.modules["genai_prices.data"]
    return genai_rows(searched, version=genai_prices.__version__)


def genai_rows(providers: "Iterable[Provider]", *, version: str) -> Rows:
    """Rows by provider and name. The package's ``version`` becomes part of each row's origin."""
    return {provider.id: _rows_by_name(provider, version) for provider in providers}


def _rows_by_name(provider: "Provider", version: str) -> dict[str, Row]:
    """The rows by every name that they spell out. An id outranks an alias, an alias the start of a name."""
    rows: dict[str, Row] = {}
    priced = [
        (model, _GenaiRow(model, origin=f"genai-prices {version} {provider.id}/{model.id}"))
        for model in provider.models
        if _has_price(model)
    ]
    for kind in ("id", "equals", "starts_with", "contains", "ends_with"):
        for model, row in priced:
            for name in _names(model, kind):
                rows.setdefault(name.lower(), row)
    return rows


def _names(model: "ModelInfo", kind: str) -> Iterator[str]:
    """The names of one kind. ``contains`` and ``ends_with`` hold whole names only for Claude's models on Bedrock."""
    if kind == "id":
        yield model.id
    elif kind in ("equals", "starts_with") or "anthropic.claude-" in model.id:
        yield from _clause_texts(model.match, kind)


def _clause_texts(clause: Any, kind: str) -> Iterator[str]:
    """The texts of one kind of clause that each suffice for a match, so not those under ``and``."""
    if (text := getattr(clause, kind, None)) is not None:
        yield text
    for alternative in getattr(clause, "or_", ()):
        yield from _clause_texts(alternative, kind)


class _GenaiRow:
    """One model of the package, pickled to save memory: clients request few of them."""

    def __init__(self, model: "ModelInfo", *, origin: str) -> None:
        self._packed = pickle.dumps(replace(model, **_NOT_NEEDED))
        self._origin = origin
        self._dates, self._times = _changes(model)

    def cell(self, at_ms: int) -> tuple[int, int]:
        return bisect_right(self._dates, at_ms), bisect_right(self._times, at_ms % DAY_MS)

    def at(self, at_ms: int) -> Price | None:
        model: ModelInfo = pickle.loads(self._packed)  # noqa: S301 - as it was packed above
        moment = EPOCH + timedelta(milliseconds=at_ms)
        tariff = _tariff(model, moment)
        if tariff is None:
            return None
        priced = {name: _tariff(model, moment, when) for name, when in _service_tiers(model, moment)}
        service_tiers = {name: at_tier for name, at_tier in priced.items() if at_tier is not None}
        return Price(origin=self._origin, tariff=tariff, service_tiers=service_tiers)


def _service_tiers(model: "ModelInfo", moment: datetime) -> Iterator[tuple[str, dict[str, str]]]:
    """The service tiers with a price at a moment, and the package's name for each."""
    for variant in model.price_variants or ():
        [(key, value), *more] = variant.when.items()
        active = variant.constraint is None or variant.constraint.active(moment)
        if active and not more and key in _SERVICE_TIER_KEYS and value != _BASE_TIER:
            yield value.lower(), variant.when
            if key == "speed":  # Anthropic's; CPA's clients request it as the tier priority
                yield "priority", variant.when


def _changes(model: "ModelInfo") -> tuple[tuple[int, ...], tuple[int, ...]]:
    """When a row's price may change: moments in ms since the epoch and times of day in ms since midnight UTC."""
    dates: set[int] = set()
    times: set[int] = set()
    dated = [*(model.prices if isinstance(model.prices, list) else ()), *(model.price_variants or ())]
    for price in dated:
        # A date from which the price holds, or a daily interval; the package has a class for each.
        constraint: Any = price.constraint
        if hasattr(constraint, "start_date"):
            dates.add(epoch_ms(datetime.combine(constraint.start_date, time(), tzinfo=UTC)))
        elif constraint is not None:
            times |= {_ms_of_day(constraint.start_time), _ms_of_day(constraint.end_time)}
    return tuple(sorted(dates)), tuple(sorted(times))


def _ms_of_day(moment: time) -> int:
    """A time of day in ms since midnight UTC; a time without a zone is UTC."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return epoch_ms(datetime.combine(EPOCH, aware)) % DAY_MS


def _has_price(model: "ModelInfo") -> bool:
    """Whether the row ever has a price per token; a row without one leaves the name to the next row."""
    listed = [dated.prices for dated in model.prices] if isinstance(model.prices, list) else [model.prices]
    return _is_free(model) or any(prices.input_mtok is not None for prices in listed)


def _is_free(model: "ModelInfo") -> bool:
    return model.id.lower().endswith(_FREE)


def _tariff(model: "ModelInfo", moment: datetime, when: dict[str, str] | None = None) -> Tariff | None:
    """The prices at a moment, of the base tier or of a service tier."""
    prices = model.get_prices(moment, when)
    buckets = {
        "input": prices.input_mtok,
        "output": prices.output_image_mtok if prices.output_image_mtok is not None else prices.output_mtok,
        "reasoning": prices.output_mtok if prices.output_image_mtok is not None else None,
        "cache_read": prices.cache_read_mtok,
        "cache_write": prices.cache_write_mtok,
    }
    if _is_free(model) and not any(bucket is not None for bucket in buckets.values()):
        return Tariff(input=0, output=0, cache_read=0, cache_write=0)
    if buckets["input"] is None:
        return None
    sizes = {tier.start for bucket in buckets.values() for tier in getattr(bucket, "tiers", ())}
    return Tariff(
        **_rates(buckets, above=None),
        tiers=tuple(Tier(above_tokens=size, **_rates(buckets, above=size)) for size in sorted(sizes)),
    )


def _rates(buckets: "dict[str, Decimal | TieredPrices | None]", *, above: int | None) -> dict[str, Any]:
    """Each bucket's price for prompts larger than ``above`` tokens, or for the smallest prompts."""
    rates: dict[str, int | None] = {}
    for name, listed in buckets.items():
        usd = listed
        if usd is not None and not isinstance(usd, Decimal):
            reached = [tier.price for tier in usd.tiers if above is not None and tier.start <= above]
            usd = reached[-1] if reached else usd.base
        rates[name] = pico_per_token(usd) if usd is not None else None
    if rates["cache_write"] is None:
        # A provider without a price for cache writes (OpenAI, xAI, Moonshot …) charges them like any other input.
        rates["cache_write"] = rates["input"]
    return rates
