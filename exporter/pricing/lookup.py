"""Price lists: what one is, and how the row of a model is found in it and remembered.

A list has sections, a section has rows by name, and the asked name has to *equal* one of them. What may be dropped from
the asked name first is in ``model_names.py``, which sections are searched is in ``vendors.py``.

Clients choose model names, and a price is needed for every record: what was found for a name is remembered, also that
nothing was, for as many names as are worth it.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from exporter.pricing.cost import NO_SERVICE_TIERS, MatchedBy, Price, Tariff
from exporter.pricing.model_names import LONGEST_NAME, clean, spellings, without_vendor
from exporter.pricing.schedule import MINUTE_MS
from exporter.pricing.vendors import OPENAI_COMPATIBLE, sections

DAY_MS = 24 * 3600 * 1000

# Clients choose model names, so what is remembered about them has to have an end.
_REMEMBERED_NAMES = 10_000

Ways = Callable[[str, str], Iterator[tuple[str, str, MatchedBy]]]
"""The sections and names under which CPA's provider and model may be listed, in the order in which to try them."""


class Catalogue(Protocol):
    """Prices of models."""

    def find(self, provider: str, model: str, *, at_ms: int) -> Price | None:
        """The price of a model at a moment (ms since the epoch), or ``None`` when there is none.

        ``provider`` and ``model`` are CPA's names. Called once per usage record, so the same question again has to
        cost next to nothing; the same price is always the same object.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Listed:
    """What a row says about one moment: the tariff, and those of the service tiers that it prices.

    ``origin`` is given where it is not the row's: the row joins two lists.
    """

    tariff: Tariff
    origin: str = ""
    service_tiers: Mapping[str, Tariff] = field(default_factory=lambda: NO_SERVICE_TIERS)


class Row(Protocol):
    """One model of a price list over time.

    ``dates`` are the moments (ms since the epoch), ``times`` the times of day (ms since midnight UTC) at which its
    price may change, both rising. ``origin`` names the list and the row. ``schedule`` is for prices by weekday or by a
    local clock: something that tells the prices of two minutes (since the epoch) apart.
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
        """What the row says about a moment; ``None`` when it has no price then."""
        ...


Rows = Mapping[str, Mapping[str, Row]]
"""Rows by section and by name, both in lower case."""


class PriceList:
    """Rows, and what was found in them. Safe to use from several threads."""

    def __init__(self, rows: Rows, *, ways: Ways) -> None:
        self._rows = rows
        self._ways = ways
        self._remembered: dict[tuple[str, str], _Match | None] = {}

    def find(self, provider: str, model: str, *, at_ms: int) -> Price | None:
        """See ``Catalogue.find``."""
        match = self._match(provider, model)
        return match.price(at_ms) if match is not None else None

    def knows(self, provider: str, model: str) -> bool:
        """Whether there is a row for a model, even if it has no price at some moments."""
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
    """The sections that may list a model, and in each the spellings of its name, from the whole to the shortest."""
    name = clean(model)
    for section in sections(provider, name, without_vendor(name)):
        for spelling, matched_by in spellings(name):
            yield section, spelling, matched_by


def override_ways(provider: str, model: str) -> Iterator[tuple[str, str, MatchedBy]]:
    """The whole name only: for this provider, then for any. CPA's provider may have its prefix or not."""
    name = clean(model)
    whole = provider.strip().lower()
    for section in dict.fromkeys((whole, whole.removeprefix(OPENAI_COMPATIBLE), ANY_PROVIDER)):
        yield section, name, MatchedBy.OVERRIDE


ANY_PROVIDER = ""
"""The section of the rows that are not for one provider only."""


class _Match:
    """One row under one asked name: its price over time.

    The moments of change cut time into cells, and within a cell the price is the same, so each is worked out once.
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
