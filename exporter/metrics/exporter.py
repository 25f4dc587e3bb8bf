"""The exporter itself: its ledger, history and version, and whether edited files are in use.

Also which parts of a scrape succeeded.
"""

import platform
from collections.abc import Callable, Mapping

import structlog
from prometheus_client import Metric

from exporter import __version__
from exporter.history.state import STATES, HistoryStatus
from exporter.ledger.ledger import Ledger
from exporter.ledger.name_store import OTHER
from exporter.ledger.shown_names import ShownNames
from exporter.limits.board import LimitBoard
from exporter.metrics.family import Samples, counter, filling, gauge
from exporter.pricing.pricer import Pricer

_log = structlog.get_logger("exporter.metrics")

UNIDENTIFIED = gauge(
    "cliproxy_exporter_unidentified_requests",
    ("proxy",),
    "Counted requests of accounts and keys that the proxy does not list. It is not known whether they cost money;"
    " for those from snapshots, the provider is guessed from the model's family.",
)
FOLDED = counter(
    "cliproxy_exporter_folded_label_sets",
    (),
    "Label sets beyond EXPORTER_MAX_LABEL_SETS, which are exported under the label value other.",
)
LEDGER_BYTES = gauge("cliproxy_exporter_ledger_bytes", (), "Size of the ledger's file on disk.")
LEDGER_ENTRIES = gauge("cliproxy_exporter_ledger_entries", (), "Usage records in the ledger.")
HISTORY_STATE = gauge(
    "cliproxy_exporter_history_state",
    ("state",),
    "1 for the state that the history in Supabase is in, 0 for the others. Absent without SUPABASE_URL, as are all"
    " metrics of the history.",
)
HISTORY_BACKLOG = gauge("cliproxy_exporter_history_backlog_records", (), "Booked records that are not in Supabase yet.")
HISTORY_REFUSED = gauge(
    "cliproxy_exporter_history_refused_records",
    (),
    "Booked records that Supabase refuses; they are tried again when the exporter starts.",
)
HISTORY_LAST_SUCCESS = gauge(
    "cliproxy_exporter_history_last_success_timestamp_seconds",
    (),
    "When the history in Supabase was last complete. Absent if it was not since the exporter started.",
)
HISTORY_ERRORS = counter("cliproxy_exporter_history_errors", ("reason",), "Calls to Supabase that failed, by reason.")
CONFIG_RELOAD = gauge(
    "cliproxy_exporter_config_reload_success",
    (),
    "1 if what is read again while the exporter runs (EXPORTER_PRICES_FILE, EXPORTER_LIMITS_FILE, limits in"
    " Supabase, the aliases in EXPORTER_CONFIG) is in use as it is now, 0 if the last edit is wrong and not in use.",
)
BUILD_INFO = gauge("cliproxy_exporter_build_info", ("version", "python"), "Version of the exporter, always 1.")
COLLECTOR_UP = gauge(
    "cliproxy_exporter_collector_success",
    ("collector",),
    "1 if this part of the scrape could be made, 0 if its families are missing.",
)

HISTORY = (HISTORY_STATE, HISTORY_BACKLOG, HISTORY_REFUSED, HISTORY_LAST_SUCCESS, HISTORY_ERRORS)


@filling(UNIDENTIFIED, FOLDED, LEDGER_BYTES, LEDGER_ENTRIES)
def ledger_families(ledger: Ledger) -> Samples:
    for proxy, requests in _unidentified(ledger).items():
        yield UNIDENTIFIED(requests, proxy=proxy)
    yield FOLDED(ledger.name_store.folded)
    yield LEDGER_BYTES(ledger.bytes_on_disk)
    yield LEDGER_ENTRIES(ledger.totals.entries)


def _unidentified(ledger: Ledger) -> dict[str, int]:
    """Requests of credentials that no inventory has named, by proxy."""
    name_store = ledger.name_store
    found = dict.fromkeys(name_store.proxies, 0)
    unnamed = {
        id_: name_store.proxy_names[credential.proxy]
        for id_ in list(name_store.credentials)
        if not (credential := name_store.resolved(id_)).provider and credential.long_name != OTHER
    }
    if unnamed:  # usually there are none, which saves a walk through the many series
        with ledger.totals.lock:
            for id_, sums in ledger.totals.series.items():
                proxy = unnamed.get(name_store.series[id_].credential)
                if proxy is not None:
                    found[proxy] += sums[0]
    return found


@filling(*HISTORY)
def history_families(status: HistoryStatus) -> Samples:
    for each in STATES:
        yield HISTORY_STATE(status.state == each, state=each)
    yield HISTORY_BACKLOG(status.waiting)
    yield HISTORY_REFUSED(status.refused)
    yield HISTORY_LAST_SUCCESS.at(status.last_success_ms)
    for reason, number in status.errors.items():
        yield HISTORY_ERRORS(number, reason=reason)


@filling(CONFIG_RELOAD)
def reload_families(prices: Pricer, limits: LimitBoard, shown_names: ShownNames) -> Samples:
    yield CONFIG_RELOAD(not ((prices.user and prices.user.problem) or limits.problems or shown_names.file_problem))


@filling(BUILD_INFO)
def build_families() -> Samples:
    yield BUILD_INFO(1, version=__version__, python=platform.python_version())


@filling(COLLECTOR_UP)
def _collector_families(succeeded: Mapping[str, bool]) -> Samples:
    for name, value in succeeded.items():
        yield COLLECTOR_UP(value, collector=name)


def families_by_part(**parts: Callable[[], list[Metric]]) -> list[Metric]:
    """Make the parts of a scrape; a part that fails costs only its own families and shows in a metric."""
    succeeded: dict[str, bool] = {}
    found: list[Metric] = []
    for name, make in parts.items():
        try:
            found += make()
            succeeded[name] = True
        except Exception:  # noqa: BLE001 - whatever it is, it must not cost the whole scrape
            _log.exception("collector_failed", collector=name)
            succeeded[name] = False
    return [*found, *_collector_families(succeeded)]
