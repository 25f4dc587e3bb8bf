"""The history in Supabase."""

from prometheus_client import Metric

from exporter.history.state import STATES, HistoryStatus
from exporter.metrics.family import Samples, counter, filling, gauge

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
    "Booked records that the database of the history refuses; they are tried again when the exporter starts.",
)
HISTORY_LAST_SUCCESS = gauge(
    "cliproxy_exporter_history_last_success_timestamp_seconds",
    (),
    "When the history in Supabase was last complete. Absent if it was not since the exporter started.",
)
HISTORY_ERRORS = counter("cliproxy_exporter_history_errors", ("reason",), "Calls to Supabase that failed, by reason.")


def history_families(status: HistoryStatus | None) -> list[Metric]:
    """How the history in Supabase is doing; nothing if there is none."""
    return [] if status is None else _families(status)


@filling(HISTORY_STATE, HISTORY_BACKLOG, HISTORY_REFUSED, HISTORY_LAST_SUCCESS, HISTORY_ERRORS)
def _families(status: HistoryStatus) -> Samples:
    for each in STATES:
        yield HISTORY_STATE(status.state == each, state=each)
    yield HISTORY_BACKLOG(status.waiting)
    yield HISTORY_REFUSED(status.refused)
    yield HISTORY_LAST_SUCCESS.at(status.last_success_ms)
    for reason, number in status.errors.items():
        yield HISTORY_ERRORS(number, reason=reason)
