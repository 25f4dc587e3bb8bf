"""Finds a model's row in a price list, and remembers it.

A list has sections, a section has rows by name, and the requested name has to *equal* one of them. ``model_names.py``
says which sections to search, and what a name may drop first.

Every record needs a price, so a list remembers what it found for a name, or that it found nothing. Clients choose model
names, so that memory has a bound.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple, Protocol

from exporter.pricing.model_names import OPENAI_COMPATIBLE, clean, sections, spellings
from exporter.pricing.price import MatchedBy, Price

_REMEMBERED_NAMES = 10_000

Ways = Callable[[str, str], Iterator[tuple[str, str, MatchedBy]]]
"""The sections and names to try, in order, for CPA's provider and model."""


class Row(Protocol):
    """One model of a price list over time."""

    def cell(self, at_ms: int, /) -> Hashable:
        """A value for a moment (ms since the epoch) that is equal only for moments with the same price."""

    def at(self, at_ms: int) -> Price | None:
        """The price at a moment (ms since the epoch) for a name that is the row's own; ``None`` if there is none."""
        ...


Rows = Mapping[str, Mapping[str, Row]]
"""Rows by section and by name, both in lower case."""


class _Match(NamedTuple):
    """One row under one requested name, and its prices by cell, each worked out once."""

    row: Row
    matched_by: MatchedBy
    prices: dict[Hashable, Price | None]


class PriceList:
    """Rows, and a memory of what was found. Thread-safe."""

    def __init__(self, rows: Rows, *, ways: Ways) -> None:
        self._rows = rows
        self._ways = ways
        self._matches = lru_cache(maxsize=_REMEMBERED_NAMES)(self._search)

    def find(self, provider: str, model: str, *, at_ms: int) -> Price | None:
        """The price of CPA's ``model`` of ``provider`` at a moment (ms since the epoch), or ``None`` if there is none.

        If a row has no price at that moment, the next one counts. The same price is always the same object.
        """
        for row, matched_by, prices in self._matches(provider, model):
            cell = row.cell(at_ms)
            if cell not in prices:
                found = row.at(at_ms)
                prices.setdefault(cell, found and replace(found, matched_by=matched_by))
            if (price := prices[cell]) is not None:
                return price
        return None

    def knows(self, provider: str, model: str) -> bool:
        """Whether a model has a row, even one without a price at some moments."""
        return bool(self._matches(provider, model))

    def _search(self, provider: str, model: str) -> tuple[_Match, ...]:
        rows = ((self._rows.get(section, {}).get(name), how) for section, name, how in self._ways(provider, model))
        return tuple(_Match(row, how, {}) for row, how in rows if row is not None)


def catalogue_ways(provider: str, model: str) -> Iterator[tuple[str, str, MatchedBy]]:
    """The sections that may list a model, and in each the spellings of its name, the whole one first."""
    name = clean(model)
    for section in sections(provider, name):
        for spelling, matched_by in spellings(name):
            yield section, spelling, matched_by


def override_ways(provider: str, model: str) -> Iterator[tuple[str, str, MatchedBy]]:
    """The whole name only, for this provider, then for any. Rows may name it with or without CPA's prefix."""
    whole = provider.strip().lower()
    for section in dict.fromkeys((whole, whole.removeprefix(OPENAI_COMPATIBLE), ANY_PROVIDER)):
        yield section, clean(model), MatchedBy.OVERRIDE


ANY_PROVIDER = ""
"""The section of rows that hold for every provider."""

NO_PRICES = PriceList({}, ways=override_ways)
