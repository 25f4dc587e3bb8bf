"""The rows of a price file in their order of time."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from typing import Generic, TypeVar

from exporter.pricing.lookup import MINUTE_MS, Listed
from exporter.pricing.price_file import PriceRow

_Row = TypeVar("_Row", bound=PriceRow)


class DatedRow(Generic[_Row]):
    """The rows of one file for one provider and name, one after another in time. See ``lookup.Row``."""

    times: tuple[int, ...] = ()

    def __init__(self, rows: Sequence[_Row], *, origin: str) -> None:
        self.rows = sorted(rows, key=lambda row: not row.has_hours)
        self.origin = origin
        self.schedule: Callable[[int], object] | None = None
        if self.rows[0].has_hours:
            self.schedule = lru_cache(maxsize=4096)(self._number_in)

    @cached_property
    def dates(self) -> list[int]:
        return sorted({edge for row in self.rows for edge in (row.from_ms, row.until_ms) if edge is not None})

    def at(self, at_ms: int) -> Listed | None:
        row = self.row_at(at_ms)
        if row is None or row.tariff is None:
            return None
        return Listed(tariff=row.tariff, service_tiers=row.service_tiers, origin=self.origin)

    def _number_in(self, minute: int) -> int | None:
        """Which row holds in a minute since the epoch."""
        return next((number for number, row in enumerate(self.rows) if row.holds_at(minute * MINUTE_MS)), None)

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
