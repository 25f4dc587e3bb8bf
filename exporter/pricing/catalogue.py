"""Price lists: what a catalogue is, and the one made of the data in the package ``genai-prices``.

Only the data of that package is used, never its updater: prices change with a release of the exporter's dependencies
and not behind anybody's back. Its own lookup is not used either. It accepts prefixes and substrings, so a model that
came out after the data would get the price of an older namesake. Here a row has the names that it spells out (its id,
and the texts of its ``equals`` and ``starts_with`` clauses), and the asked name has to equal one of them; see
``names.py`` for what may be dropped from it first.

A row gives no price when it states none per input token (audio by the hour, documents by the page, an empty row), with
one exception: a ``:free`` row is empty because the model is free.

CPA does not tell image, audio and text tokens apart. Input is priced as text. Output of a model that has a price for
image output is priced as images, which is what such a model is asked for. Cache writes take the 5-minute price, since
CPA does not tell the 1-hour ones apart.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from exporter.pricing.names import LONGEST_NAME, clean, spellings, without_vendor
from exporter.pricing.price import MatchedBy, Price, Tier, pico_per_token
from exporter.pricing.vendors import sections

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_MS = 24 * 3600 * 1000
_MS = timedelta(milliseconds=1)

# Clients choose model names, so what is remembered about them has to have an end.
_REMEMBERED_NAMES = 10_000

_FREE = ":free"


class Catalogue(Protocol):
    """A price list."""

    def find(self, provider: str, model: str, *, at_ms: int) -> Price | None:
        """The price of a model at a moment (ms since the epoch), or ``None`` when the list has none.

        ``provider`` and ``model`` are CPA's names. Called once per usage record, so the same question again has to
        cost next to nothing; the same price is always the same object.
        """
        ...


def load_genai_catalogue() -> "GenaiCatalogue":
    """The prices of the installed ``genai-prices``.

    Importing the data takes about 25 MB and 0.1 s, so it is done here and not when this module is imported.
    """
    import genai_prices  # noqa: PLC0415 (see above)
    from genai_prices.data import providers  # noqa: PLC0415

    return GenaiCatalogue(providers, version=genai_prices.__version__)


class GenaiCatalogue:
    """The providers of ``genai-prices``. Safe to use from several threads.

    ``version`` is the package's; it becomes part of each price's origin.
    """

    def __init__(self, providers: "Sequence[Provider]", *, version: str) -> None:
        self._version = version
        self._rows = {provider.id: _rows_by_name(provider) for provider in providers}
        self._remembered: dict[tuple[str, str], _Match | None] = {}

    def find(self, provider: str, model: str, *, at_ms: int) -> Price | None:
        asked = (provider, model)
        try:
            match = self._remembered[asked]
        except KeyError:
            match = self._search(provider, model)
            if len(model) <= LONGEST_NAME:
                if len(self._remembered) >= _REMEMBERED_NAMES:
                    self._remembered.clear()
                self._remembered[asked] = match
        return match.price(at_ms) if match is not None else None

    def _search(self, provider: str, model: str) -> "_Match | None":
        name = clean(model)
        for section in sections(provider, name, without_vendor(name)):
            rows = self._rows.get(section, {})
            for spelling, matched_by in spellings(name):
                if (row := rows.get(spelling)) is not None:
                    origin = f"genai-prices {self._version} {section}/{row.id}"
                    return _Match(row, origin=origin, matched_by=matched_by)
        return None


def _rows_by_name(provider: "Provider") -> "dict[str, ModelInfo]":
    """Each name that a row of this provider spells out. An id outranks an alias, an alias the start of a name."""
    rows: dict[str, ModelInfo] = {}
    priced = [model for model in provider.models if _has_price(model)]
    for names_of in (_id, _equal_names, _starts):
        for model in priced:
            for name in names_of(model):
                rows.setdefault(name.lower(), model)
    return rows


def _id(model: "ModelInfo") -> Iterator[str]:
    yield model.id


def _equal_names(model: "ModelInfo") -> Iterator[str]:
    return _clause_texts(model.match, "equals")


def _starts(model: "ModelInfo") -> Iterator[str]:
    return _clause_texts(model.match, "starts_with")


def _clause_texts(clause: Any, kind: str) -> Iterator[str]:
    """The texts of the clauses of one kind, each of which is enough for a match; those under ``and`` are not."""
    if (text := getattr(clause, kind, None)) is not None:
        yield text
    for alternative in getattr(clause, "or_", ()):
        yield from _clause_texts(alternative, kind)


class _Match:
    """One row under one asked name: its price over time.

    A row may change its price on dates and by time of day. Those moments cut time into cells, and within a cell the
    price is the same, so each cell is worked out once.
    """

    __slots__ = ("_dates", "_matched_by", "_model", "_origin", "_prices", "_times")

    def __init__(self, model: "ModelInfo", *, origin: str, matched_by: MatchedBy) -> None:
        self._model = model
        self._origin = origin
        self._matched_by = matched_by
        self._dates, self._times = _changes(model)
        self._prices: dict[tuple[int, int], Price | None] = {}

    def price(self, at_ms: int) -> Price | None:
        cell = (
            bisect_right(self._dates, at_ms) if self._dates else 0,
            bisect_right(self._times, at_ms % _DAY_MS) if self._times else 0,
        )
        try:
            return self._prices[cell]
        except KeyError:
            price = _price(
                self._model.get_prices(_EPOCH + at_ms * _MS),
                free=_is_free(self._model),
                origin=self._origin,
                matched_by=self._matched_by,
            )
            return self._prices.setdefault(cell, price)


def _changes(model: "ModelInfo") -> tuple[list[int], list[int]]:
    """When a row's price may change: moments in ms since the epoch, and times of day in ms since midnight UTC."""
    dates: set[int] = set()
    times: set[int] = set()
    for dated in model.prices if isinstance(model.prices, list) else ():
        # Either a date from which the price holds, or a daily interval; the classes are the package's.
        constraint: Any = dated.constraint
        if hasattr(constraint, "start_date"):
            midnight = datetime.combine(constraint.start_date, time(), tzinfo=UTC)
            dates.add((midnight - _EPOCH) // _MS)
        elif constraint is not None:
            times.add(_ms_of_day(constraint.start_time))
            times.add(_ms_of_day(constraint.end_time))
    return sorted(dates), sorted(times)


def _ms_of_day(moment: time) -> int:
    """A time of day in ms since midnight UTC; a time without a zone is UTC."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (datetime.combine(_EPOCH, aware) - _EPOCH) // _MS % _DAY_MS


def _has_price(model: "ModelInfo") -> bool:
    """Whether the row has a price per token at any time; a row without one leaves the name to the next row."""
    listed = [dated.prices for dated in model.prices] if isinstance(model.prices, list) else [model.prices]
    return _is_free(model) or any(prices.input_mtok is not None for prices in listed)


def _is_free(model: "ModelInfo") -> bool:
    return model.id.lower().endswith(_FREE)


def _price(prices: "ModelPrice", *, free: bool, origin: str, matched_by: MatchedBy) -> Price | None:
    buckets = {
        "input": prices.input_mtok,
        "output": prices.output_image_mtok if prices.output_image_mtok is not None else prices.output_mtok,
        "cache_read": prices.cache_read_mtok,
        "cache_write": prices.cache_write_mtok,
    }
    if free and not any(bucket is not None for bucket in buckets.values()):
        return Price(input=0, output=0, cache_read=0, cache_write=0, origin=origin, matched_by=matched_by)
    if buckets["input"] is None:
        return None
    sizes = {tier.start for bucket in buckets.values() for tier in getattr(bucket, "tiers", ())}
    return Price(
        **_rates(buckets, above=None),
        origin=origin,
        matched_by=matched_by,
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
    return rates
