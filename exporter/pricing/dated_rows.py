"""The rows of a price file in their order of time."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import Generic, TypeVar

from exporter.pricing.cost import Price
from exporter.pricing.lookup import Cell
from exporter.pricing.price_file import PriceRow

_MINUTE_MS = 60_000
_Row = TypeVar("_Row", bound=PriceRow)


class DatedRow(Generic[_Row]):
    """The rows of one file for one provider and name, one after another in time. See ``lookup.Row``."""

    def __init__(self, rows: Sequence[_Row], *, origin: str) -> None:
        self.rows = sorted(rows, key=lambda row: not row.has_hours)
        self.origin = origin
        edges = {edge for row in rows for edge in (row.from_ms, row.until_ms) if edge is not None}
        self.cell: Cell = partial(bisect_right, sorted(edges))
        if self.rows[0].has_hours:
            number_in = lru_cache(maxsize=4096)(self._number_in)
            self.cell = lambda at_ms: number_in(at_ms // _MINUTE_MS)

    def at(self, at_ms: int) -> Price | None:
        row = self.row_at(at_ms)
        if row is None or row.tariff is None:
            return None
        return Price(origin=self.origin, tariff=row.tariff, service_tiers=row.service_tiers)

    def _number_in(self, minute: int) -> int | None:
        """Which row holds in a minute since the epoch."""
        return next((number for number, row in enumerate(self.rows) if row.holds_at(minute * _MINUTE_MS)), None)

    def row_at(self, at_ms: int) -> _Row | None:
        """The row that holds at a moment (ms since the epoch)."""
        return next((row for row in self.rows if row.holds_at(at_ms)), None)


def by_name(rows: Iterable[_Row], *, list_name: str) -> dict[str, dict[str, DatedRow[_Row]]]:
    """The rows by provider and name. Each origin begins with ``list_name``."""
    grouped: dict[tuple[str, str], list[_Row]] = {}
    for row in rows:
        for name in row.names:
            grouped.setdefault((row.provider, name), []).append(row)
    sections: dict[str, dict[str, DatedRow[_Row]]] = {}
    for (provider, name), found in grouped.items():
        shown_name = "/".join(filter(None, (provider, found[0].model)))
        sections.setdefault(provider, {})[name] = DatedRow(found, origin=f"{list_name} {shown_name}")
    return sections
