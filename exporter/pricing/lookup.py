"""Finds a model's row in a price list, and remembers it.

A list has sections, a section has rows by name, and the requested name has to *equal* one of them. ``model_names.py``
says what a name may drop first, ``vendors.py`` which sections to search.

Every record needs a price, so a list remembers what it found for a name, or that it found nothing. Clients choose model
names, so that memory has a bound.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from exporter.pricing.cost import NO_SERVICE_TIERS, MatchedBy, Price, Tariff
from exporter.pricing.model_names import LONGEST_NAME, clean, spellings, without_vendor
from exporter.pricing.vendors import OPENAI_COMPATIBLE, sections

DAY_MS = 24 * 3600 * 1000
MINUTE_MS = 60_000

_REMEMBERED_NAMES = 10_000

Ways = Callable[[str, str], Iterator[tuple[str, str, MatchedBy]]]
"""The sections and names to try, in order, for CPA's provider and model."""


class Catalogue(Protocol):
    """Prices of models."""

    def find(self, provider: str, model: str, *, at_ms: int) -> Price | None:
        """The price of a model at a moment (ms since the epoch), or ``None`` if there is none.

        ``provider`` and ``model`` are CPA's names. Every usage record needs a call, so a repeated one must cost next
        to nothing; the same price is always the same object.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Listed:
    """What a row says about one moment: the tariff, and the tariffs of its priced service tiers.

    ``origin`` differs from the row's where the row joins two lists, and is empty elsewhere.
    """

    tariff: Tariff
    origin: str = ""
    service_tiers: Mapping[str, Tariff] = field(default_factory=lambda: NO_SERVICE_TIERS)


class Row(Protocol):
    """One model of a price list over time.

    ``dates`` are the moments (ms since the epoch), ``times`` the times of day (ms since midnight UTC) when its price
    may change, both rising. ``origin`` names the list and the row. ``schedule`` is for prices by weekday or local time:
    it maps a minute since the epoch to a value that is equal only for equal prices.
    """

    @property
    def origin(self) -> str: ...

    @property
    def dates(self) -> Sequence[int]: ...

    @property
    def times(self) -> Sequence[int]: ...

    @property
    def schedule(self) -> Callable[[int], object] | None: ...

    def at(self, at_ms: int) -> Listed | None:
        """What the row says about a moment; ``None`` if it has no price then."""
        ...


Rows = Mapping[str, Mapping[str, Row]]
"""Rows by section and by name, both in lower case."""


class PriceList:
    """Rows, and a memory of what was found. Thread-safe."""

    def __init__(self, rows: Rows, *, ways: Ways) -> None:
        self._rows = rows
        self._ways = ways
        self._remembered: dict[tuple[str, str], _Match | None] = {}

    def find(self, provider: str, model: str, *, at_ms: int) -> Price | None:
        """See ``Catalogue.find``."""
        match = self._match(provider, model)
        return match.price(at_ms) if match is not None else None

    def knows(self, provider: str, model: str) -> bool:
        """Whether a model has a row, even one without a price at some moments."""
        return self._match(provider, model) is not None

    def _match(self, provider: str, model: str) -> "_Match | None":
        asked = (provider, model)
        try:
            return self._remembered[asked]
        except KeyError:
            match = self._search(provider, model)
            if len(model) <= LONGEST_NAME:
                if len(self._remembered) >= _REMEMBERED_NAMES:
                    self._remembered.clear()
                self._remembered[asked] = match
            return match

    def _search(self, provider: str, model: str) -> "_Match | None":
        for section, name, matched_by in self._ways(provider, model):
            if (row := self._rows.get(section, {}).get(name)) is not None:
                return _Match(row, matched_by)
        return None


def catalogue_ways(provider: str, model: str) -> Iterator[tuple[str, str, MatchedBy]]:
    """The sections that may list a model, and in each the spellings of its name, the whole one first."""
    name = clean(model)
    for section in sections(provider, name, without_vendor(name)):
        for spelling, matched_by in spellings(name):
            yield section, spelling, matched_by


def override_ways(provider: str, model: str) -> Iterator[tuple[str, str, MatchedBy]]:
    """The whole name only, for this provider, then for any. CPA's provider may have its prefix or not."""
    name = clean(model)
    whole = provider.strip().lower()
    for section in dict.fromkeys((whole, whole.removeprefix(OPENAI_COMPATIBLE), ANY_PROVIDER)):
        yield section, name, MatchedBy.OVERRIDE


ANY_PROVIDER = ""
"""The section of rows for every provider."""


class _Match:
    """One row under one requested name: its price over time.

    Moments of change divide time into cells with one price each, which is computed once.
    """

    __slots__ = ("_dates", "_matched_by", "_prices", "_row", "_schedule", "_times")

    def __init__(self, row: Row, matched_by: MatchedBy) -> None:
        self._row = row
        self._matched_by = matched_by
        self._dates, self._times, self._schedule = row.dates, row.times, row.schedule
        self._prices: dict[tuple[int, int, object], Price | None] = {}

    def price(self, at_ms: int) -> Price | None:
        cell = (
            bisect_right(self._dates, at_ms) if self._dates else 0,
            bisect_right(self._times, at_ms % DAY_MS) if self._times else 0,
            self._schedule(at_ms // MINUTE_MS) if self._schedule is not None else None,
        )
        try:
            return self._prices[cell]
        except KeyError:
            return self._prices.setdefault(cell, self._work_out(at_ms))

    def _work_out(self, at_ms: int) -> Price | None:
        listed = self._row.at(at_ms)
        if listed is None:
            return None
        return Price(
            origin=listed.origin or self._row.origin,
            matched_by=self._matched_by,
            tariff=listed.tariff,
            service_tiers=listed.service_tiers,
        )
