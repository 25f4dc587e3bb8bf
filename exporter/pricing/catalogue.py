"""The catalogue that comes with the program: the package ``genai-prices``, and what it lacks from ``overlay.yaml``.

A row of the package outranks one of the overlay, which was written because there was none. Rows of the overlay that
have service tiers only are added to the package's row; also there the package's own tiers outrank them.
"""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from exporter.errors import SettingsError
from exporter.pricing.genai import load_genai_rows
from exporter.pricing.price_file import DatedRow, PriceFile, by_name, read_price_file
from exporter.pricing.price_list import Listed, PriceList, Row, Rows, catalogue_ways

_OVERLAY = "overlay.yaml"


def load_catalogue() -> PriceList:
    """The whole catalogue."""
    return PriceList(with_overlay(load_genai_rows(), read_overlay()), ways=catalogue_ways)


def load_genai_catalogue() -> PriceList:
    """What is in the package alone."""
    return PriceList(load_genai_rows(), ways=catalogue_ways)


def read_overlay() -> PriceFile:
    """The overlay. Raises SettingsError if it has a mistake, which a test would have found."""
    with resources.as_file(resources.files("exporter.pricing").joinpath(_OVERLAY)) as path:
        file = read_price_file(Path(path), setting=_OVERLAY, may_add_tiers=True)
    if isinstance(file, list):
        raise SettingsError("\n".join(map(str, file)))
    return file


def with_overlay(rows: Rows, overlay: PriceFile) -> Rows:
    """``rows`` with those of the overlay where they lack something."""
    whole = tuple(row for row in overlay.rows if row.tariff is not None)
    tiers = tuple(row for row in overlay.rows if row.tariff is None)
    merged: dict[str, dict[str, Row]] = {section: dict(found) for section, found in rows.items()}
    _add(merged, by_name(whole, list_name="overlay"))
    for section, names in by_name(tiers, list_name="overlay").items():
        for name, extra in names.items():
            if (row := merged.get(section, {}).get(name)) is not None:
                merged[section][name] = _WithTiers(row, extra)
    return merged


def _add(merged: dict[str, dict[str, Row]], sections: Mapping[str, Mapping[str, DatedRow]]) -> None:
    for section, names in sections.items():
        for name, row in names.items():
            merged.setdefault(section, {}).setdefault(name, row)


class _WithTiers:
    """A row, and the service tiers that another list adds to it."""

    def __init__(self, row: Row, extra: DatedRow) -> None:
        self._row = row
        self._extra = extra

    @property
    def origin(self) -> str:
        return self._row.origin

    @property
    def dates(self) -> Sequence[int]:
        return sorted({*self._row.dates, *self._extra.dates})

    @property
    def times(self) -> Sequence[int]:
        return self._row.times

    def at(self, at_ms: int) -> Listed | None:
        listed = self._row.at(at_ms)
        extra = self._extra.row_at(at_ms)
        if listed is None or extra is None:
            return listed
        return Listed(tariff=listed.tariff, service_tiers={**extra.service_tiers, **listed.service_tiers})
