"""The panels about the history in Supabase."""

from grafana_foundation_sdk.builders import stat, timeseries
from grafana_foundation_sdk.models import common as shapes

from grafana.generator.parts import GREEN, ORANGE, RED, amounts, big_number, properties, steps_of, words
from grafana.generator.queries import rate

_NO_HISTORY = "not set up"


def state() -> stat.Panel:
    """The state of the history."""
    entered = "cliproxy_exporter_history_state == 1"
    good = 'cliproxy_exporter_history_state{state=~"ok|catching_up|restoring|starting"} == 1'
    return (
        big_number(
            "History",
            "The state of the history in Supabase. While it is away or misconfigured, records wait in the ledger,"
            " and nothing is lost.",
            {"{{state}}": f"max by (state) (({good}) * 0 or {entered})"},
            unit="none",
            steps=((None, GREEN), (1, RED)),
            decimals=None,
            none=_NO_HISTORY,
        )
        .color_mode(shapes.BigValueColorMode.BACKGROUND)
        .text_mode(shapes.BigValueTextMode.NAME)
    )


def last_complete() -> stat.Panel:
    """How long the history has been behind."""
    moment = "min(last_over_time(cliproxy_exporter_history_last_success_timestamp_seconds[1d]))"
    return big_number(
        "Last complete",
        "How long ago Supabase last had everything that was booked.",
        {"complete": f"time() - {moment} or -group(cliproxy_exporter_history_state)"},
        unit="dtdurations",
        steps=((None, GREEN), (300, ORANGE), (1800, RED)),
        none=_NO_HISTORY,
    ).mappings([words(**{"-1": ("not since the start", RED)})])


def not_there() -> stat.Panel:
    """The records that the history lacks."""
    return big_number(
        "Records not in Supabase",
        "Waiting: they are written when Supabase can be used. Refused: the database does not take them; the"
        " exporter's log has the reason.",
        {
            "waiting": "sum(cliproxy_exporter_history_backlog_records)",
            "refused": "sum(cliproxy_exporter_history_refused_records)",
        },
        unit="short",
        steps=((None, GREEN), (1000, ORANGE)),
        none=_NO_HISTORY,
    ).override_by_name("refused", properties(thresholds=steps_of(((None, GREEN), (1, ORANGE)))))


def errors() -> timeseries.Panel:
    """Why calls to the history failed."""
    return amounts(
        "Failed calls to Supabase per hour",
        "By reason. The exporter repeats them by itself; docs/states.md says what to do about each reason.",
        {"{{reason}}": f"3600 * {rate('cliproxy_exporter_history_errors_total', '', 'reason')} > 0"},
        unit="short",
    ).no_value("No call failed")
