"""The exporter itself: its version, whether reloaded files are in use, and which parts of a scrape succeeded."""

import platform
from collections.abc import Callable, Mapping

import structlog
from prometheus_client import Metric

from exporter import __version__
from exporter.ledger.labels import Labels
from exporter.limits.board import LimitBoard
from exporter.metrics.family import Samples, filling, gauge
from exporter.pricing.layers import PriceLayers

_log = structlog.get_logger("exporter.metrics")

CONFIG_RELOAD = gauge(
    "cliproxy_exporter_config_reload_success",
    (),
    "1 if what is read again while the exporter runs (EXPORTER_PRICES_FILE, EXPORTER_LIMITS_FILE, limits in Supabase,"
    " the aliases in EXPORTER_CONFIG) is in use as it is now, 0 if the last edit is wrong and not in use.",
)
PRICE_FEED = gauge(
    "cliproxy_exporter_price_feed_last_success_timestamp_seconds", (), "When the daily price list was last read."
)
BUILD_INFO = gauge("cliproxy_exporter_build_info", ("version", "python"), "Version of the exporter, always 1.")
COLLECTOR_UP = gauge(
    "cliproxy_exporter_collector_success",
    ("collector",),
    "1 if this part of the scrape could be made, 0 if its families are missing.",
)


@filling(CONFIG_RELOAD)
def reload_families(prices: PriceLayers, limits: LimitBoard, labels: Labels) -> Samples:
    """Whether the files that are read again are in use as they are now."""
    yield CONFIG_RELOAD(not ((prices.user and prices.user.problem) or limits.problems or labels.file_problem))


@filling(PRICE_FEED)
def feed_families(prices: PriceLayers) -> Samples:
    if prices.feed is not None:
        yield PRICE_FEED.at(prices.feed.fetched_ms)


@filling(BUILD_INFO)
def build_families() -> Samples:
    yield BUILD_INFO(1, version=__version__, python=platform.python_version())


@filling(COLLECTOR_UP)
def _collector_families(succeeded: Mapping[str, bool]) -> Samples:
    for name, value in succeeded.items():
        yield COLLECTOR_UP(value, collector=name)


def families_by_part(parts: Mapping[str, Callable[[], list[Metric]]]) -> list[Metric]:
    """Make the parts of a scrape; a part that fails costs only its own families and shows in a metric."""
    succeeded: dict[str, bool] = {}
    found: list[Metric] = []
    for name, make in parts.items():
        try:
            found += make()
        except Exception:  # noqa: BLE001 - whatever it is, it must not cost the whole scrape
            _log.exception("collector_failed", collector=name)
            succeeded[name] = False
        else:
            succeeded[name] = True
    return [*found, *_collector_families(succeeded)]
