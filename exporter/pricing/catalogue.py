"""The catalogue: the package ``genai-prices``, and its gaps filled from ``overlay.yaml``.

A row of the package outranks the overlay's row of the same name, unless that is a correction. Overlay rows with service
tiers alone extend the package's row; there, too, the package's own tiers win.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import yaml

from exporter.pricing.genai_prices import load_genai_rows
from exporter.pricing.lookup import PriceList, Row, Rows, catalogue_ways
from exporter.pricing.price import Price
from exporter.pricing.price_file import DatedRow, Overlay, OverlayRow, by_name
from exporter.settings.yaml_rows import read_rows

_OVERLAY, _WITHOUT_PRICE = (Path(__file__).with_name(name) for name in ("overlay.yaml", "without_price.yaml"))


@cache
def load_catalogue() -> PriceList:
    return PriceList(with_overlay(load_genai_rows(), read_overlay()), ways=catalogue_ways)


def read_overlay() -> tuple[OverlayRow, ...]:
    """The overlay. Raises ProblemsError for a mistake in it; a test rules that out."""
    return read_rows(_OVERLAY, Overlay, setting=_OVERLAY.name).prices


def models_without_price() -> Mapping[tuple[str, str], str]:
    """The reviewed list of CPA's models without a public price: the reasons, by CPA's provider and model."""
    rows = yaml.safe_load(_WITHOUT_PRICE.read_text(encoding="utf-8"))["models"]
    return {(row["provider"], row["model"]): row["reason"] for row in rows}


def with_overlay(rows: Rows, overlay: Iterable[OverlayRow]) -> Rows:
    """``rows``, completed and corrected by the overlay."""
    merged: dict[str, dict[str, Row]] = {section: dict(found) for section, found in rows.items()}
    added = [
        (merged.setdefault(section, {}), name, extra)
        for section, names in by_name(overlay, list_name="overlay").items()
        for name, extra in names.items()
    ]
    for section, name, extra in added:
        if name in section:
            section[name] = _Overlaid(section[name], extra)
        elif extra.rows[0].tariff is not None:
            section[name] = extra
    for section, name, extra in added:
        if name not in section and (same_as := extra.rows[0].same_as):
            other, _, model = same_as.partition("/")
            section[name] = _SameAs(merged[other][model], extra)
    return merged


class _Overlaid:
    """A row, and what the overlay says about the same name: another tariff for some time, or more service tiers."""

    def __init__(self, row: Row, extra: DatedRow[OverlayRow]) -> None:
        self._row = row
        self._extra = extra

    def cell(self, at_ms: int) -> Hashable:
        return self._row.cell(at_ms), self._extra.cell(at_ms)

    def at(self, at_ms: int) -> Price | None:
        price, extra = self._row.at(at_ms), self._extra.row_at(at_ms)
        if extra is not None and extra.corrects:
            return self._extra.at(at_ms)
        if price is None or extra is None or extra.tariff is not None:
            return price
        return replace(price, service_tiers={**extra.service_tiers, **price.service_tiers})


class _SameAs(_Overlaid):
    """Another name for a row: it has that row's prices and service tiers while the overlay says so."""

    def at(self, at_ms: int) -> Price | None:
        price = self._row.at(at_ms) if self._extra.row_at(at_ms) is not None else None
        return price and replace(price, origin=self._extra.origin)
