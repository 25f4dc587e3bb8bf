"""The catalogue that ships with the program: the package ``genai-prices``, and its gaps filled from ``overlay.yaml``.

A row of the package outranks the overlay's, which fills a gap, unless that one is a correction. Overlay rows with
service tiers alone extend the package's row; there, too, the package's own tiers win.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path

from exporter.pricing.genai_prices import load_genai_rows
from exporter.pricing.lookup import Listed, PriceList, Row, Rows, catalogue_ways
from exporter.pricing.user_file import DatedRow, FileRow, PriceFile, by_name, read_price_file

_OVERLAY = "overlay.yaml"


def load_catalogue() -> PriceList:
    return PriceList(with_overlay(load_genai_rows(), read_overlay()), ways=catalogue_ways)


@cache
def read_overlay() -> PriceFile:
    """The overlay, which is read once. Raises ProblemsError for a mistake in it; a test rules that out."""
    with resources.as_file(resources.files("exporter.pricing").joinpath(_OVERLAY)) as path:
        return read_price_file(Path(path), setting=_OVERLAY, overlay=True)


def with_overlay(rows: Rows, overlay: PriceFile) -> Rows:
    """``rows``, completed and corrected by the overlay."""
    merged: dict[str, dict[str, Row]] = {section: dict(found) for section, found in rows.items()}
    for kind in (_is_correction, _is_new, _is_tiers):
        for section, names in by_name(tuple(filter(kind, overlay.rows)), list_name="overlay").items():
            for name, extra in names.items():
                row = merged.setdefault(section, {}).get(name)
                if row is not None and kind is not _is_new:
                    merged[section][name] = _Overlaid(row, extra)
                elif row is None and kind is not _is_tiers:
                    merged[section][name] = extra
    for section, names in by_name(tuple(row for row in overlay.rows if row.same_as), list_name="overlay").items():
        for name, extra in names.items():
            merged.setdefault(section, {}).setdefault(name, _SameAs(extra, merged))
    return merged


def _is_correction(row: FileRow) -> bool:
    return row.corrects


def _is_new(row: FileRow) -> bool:
    return row.tariff is not None and not row.corrects


def _is_tiers(row: FileRow) -> bool:
    return row.tariff is None and not row.same_as


class _SameAs:
    """Another name of a row: it has that row's prices and service tiers while the overlay says so."""

    def __init__(self, name: DatedRow, rows: Rows) -> None:
        [named] = name.rows
        section, _, model = named.same_as.partition("/")
        self._name = name
        self._row = rows[section][model]
        self.origin = name.origin
        self.dates: Sequence[int] = sorted({*self._row.dates, *name.dates})
        self.times = self._row.times
        self.schedule = self._row.schedule

    def at(self, at_ms: int) -> Listed | None:
        listed = self._row.at(at_ms) if self._name.row_at(at_ms) is not None else None
        return listed and replace(listed, origin=self.origin)


class _Overlaid:
    """A row, and what the overlay says about the same name: another tariff for some time, or more service tiers."""

    def __init__(self, row: Row, extra: DatedRow) -> None:
        self._row = row
        self._extra = extra
        self.origin = row.origin
        self.dates: Sequence[int] = sorted({*row.dates, *extra.dates})
        self.times = row.times
        self.schedule = extra.schedule or row.schedule

    def at(self, at_ms: int) -> Listed | None:
        if (corrected := self._extra.at(at_ms)) is not None:
            return corrected
        listed = self._row.at(at_ms)
        extra = self._extra.row_at(at_ms)
        if listed is None or extra is None:
            return listed
        return replace(listed, service_tiers={**extra.service_tiers, **listed.service_tiers})
