"""An answer about usage for programs: the same columns as CSV and as JSON."""

import csv
import io
from typing import Any

from exporter import formats
from exporter.days import local_time
from exporter.ledger.views.usage import Usage
from exporter.records import Billing
from exporter.usage.ranges import Range
from exporter.usage.report import Report, Row


def as_csv(report: Report) -> str:
    """A line for each row, with a header. A name that a spreadsheet would execute is made harmless."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*(("since", "until") if report.is_by_time else (report.question.by,)), *COLUMNS])
    for row in report.rows:
        writer.writerow([*map(formats.harmless, _key(report, row).values()), *_values(row.usage).values()])
    return out.getvalue()


def as_json(report: Report) -> dict[str, Any]:
    """The whole answer. Times are in the zone, with its offset."""
    question = report.question

    def in_range(row: Row) -> dict[str, Any]:
        return {**_times(report, row.range), **_values(row.usage)}

    expected = {f"{Billing(billing).label}_usd": formats.plain_usd(cost) for billing, cost in report.expected.items()}
    return {
        **_times(report, question.range),
        "zone": str(question.zone),
        "by": question.by,
        "filters": dict(question.filters),
        "total": _values(report.usage),
        "before": report.before and in_range(report.before),
        "month": {**in_range(report.month), "expected": expected},
        "rows": [{**_key(report, row), **_values(row.usage)} for row in report.rows],
    }


def _key(report: Report, row: Row) -> dict[str, str]:
    return _times(report, row.range) if report.is_by_time else {report.question.by: row.name}


def _times(report: Report, range_: Range) -> dict[str, str]:
    since, until = (local_time(ms, report.question.zone) for ms in (range_.since_ms, range_.until_ms))
    return {"since": since.isoformat(), "until": until.isoformat()}


def _values(usage: Usage) -> dict[str, int | float | str | None]:
    """The value of each column. Money is text to the last digit; a share of nothing is empty."""
    total = usage.total
    each = {billing: usage[billing].cost_per_request for billing in Billing}
    return {
        "requests": total.requests,
        "failed_requests": total.failed,
        "failed_share": _share(total.failed_share),
        "input_tokens": total.input,
        "cache_read_tokens": total.cache_read,
        "cache_write_tokens": total.cache_write,
        "output_tokens": total.output,
        "unclassified_tokens": total.unclassified,
        "cache_hit_share": _share(total.cache_share),
        **{f"{billing.label}_usd": formats.plain_usd(usage.cost(billing)) for billing in Billing},
        **{
            f"{billing.label}_usd_per_request": None if nano_usd is None else formats.plain_usd(nano_usd)
            for billing, nano_usd in each.items()
        },
    }


def _share(share: float | None) -> float | None:
    return None if share is None else round(share, 6)


COLUMNS = tuple(_values(Usage()))
