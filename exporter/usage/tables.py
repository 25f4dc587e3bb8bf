"""An answer about usage for programs: the same columns as CSV and as JSON."""

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from exporter import formats
from exporter.records import Billing
from exporter.usage.ranges import STEPS, Range
from exporter.usage.report import Report, Row, Usage


def _cost(billing: Billing) -> Callable[[Usage], str]:
    return lambda usage: formats.plain_usd(usage.cost(billing))


def _per_request(billing: Billing) -> Callable[[Usage], str | None]:
    def written(usage: Usage) -> str | None:
        nano_usd = usage.cost_per_request(billing)
        return None if nano_usd is None else formats.plain_usd(nano_usd)

    return written


def _share(share: float | None) -> float | None:
    return None if share is None else round(share, 6)


COLUMNS: dict[str, Callable[[Usage], int | float | str | None]] = {
    "requests": lambda usage: usage.total.requests,
    "failed_requests": lambda usage: usage.total.failed,
    "failed_share": lambda usage: _share(usage.total.failed_share),
    "input_tokens": lambda usage: usage.total.input,
    "cache_read_tokens": lambda usage: usage.total.cache_read,
    "cache_write_tokens": lambda usage: usage.total.cache_write,
    "output_tokens": lambda usage: usage.total.output,
    "unclassified_tokens": lambda usage: usage.total.unclassified,
    "cache_hit_share": lambda usage: _share(usage.total.cache_share),
    **{f"{billing.label}_usd": _cost(billing) for billing in Billing},
    **{f"{billing.label}_usd_per_request": _per_request(billing) for billing in Billing},
}
"""Each column with its value. Money is text to the last digit; a share of nothing is empty."""


def as_csv(report: Report) -> str:
    """A line for each row, with a header. A name that a spreadsheet would execute is made harmless."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*(("since", "until") if report.question.by in STEPS else (report.question.by,)), *COLUMNS])
    for row in report.rows:
        writer.writerow([*map(formats.harmless, _key(report, row).values()), *_values(row.usage).values()])
    return out.getvalue()


def as_json(report: Report) -> dict[str, Any]:
    """The whole answer. Times are in the zone, with its offset."""
    before = None
    if report.before is not None and report.usage_before is not None:
        before = {**_times(report, report.before), **_values(report.usage_before)}
    month = report.month_end
    expected = {f"{Billing(billing).label}_usd": formats.plain_usd(cost) for billing, cost in month.expected.items()}
    return {
        **_times(report, report.question.range),
        "zone": str(report.zone),
        "by": report.question.by,
        "filters": dict(report.question.filters),
        "total": _values(report.usage),
        "before": before,
        "month": {**_times(report, month.range), **_values(month.so_far), "expected": expected},
        "rows": [{**_key(report, row), **_values(row.usage)} for row in report.rows],
    }


def _key(report: Report, row: Row) -> dict[str, str]:
    return {report.question.by: row.name} if row.range is None else _times(report, row.range)


def _times(report: Report, range_: Range) -> dict[str, str]:
    moments = (range_.since_ms, range_.until_ms)
    since, until = (datetime.fromtimestamp(ms // 1000, UTC).astimezone(report.zone).isoformat() for ms in moments)
    return {"since": since, "until": until}


def _values(usage: Usage) -> dict[str, int | float | str | None]:
    return {name: value(usage) for name, value in COLUMNS.items()}
