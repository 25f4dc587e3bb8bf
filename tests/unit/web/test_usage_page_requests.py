"""Lists of requests for a question: its range, its filters, and the labels of its series."""

import random
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from exporter.usage.ranges import QuestionError
from exporter.web.usage_page import MOST_REQUESTS, list_requests
from tests.benches.usage import UsageBench, usage_bench

_NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC).timestamp()
_DAY_MS = 86_400_000


@pytest.fixture
def bench(tmp_path: Path) -> UsageBench:
    draw = random.Random(1)
    bench = usage_bench(tmp_path, now=_NOW, zone=UTC, max_label_sets=40)
    bench.book(*(bench.record(int(_NOW * 1000) - draw.randrange(20 * _DAY_MS), draw) for _ in range(400)))
    return bench


def test_requests_are_of_the_last_seven_days_by_default(bench: UsageBench) -> None:
    week, failed, dearest = list_requests(bench.questions, {})
    _, failed_of_month, dearest_of_month = list_requests(bench.questions, {"range": "30d"})

    oldest_ms = min(request.ts_ms for _, request in (*failed, *dearest))
    assert oldest_ms >= week.range.since_ms == int(_NOW * 1000) - 6 * _DAY_MS - _DAY_MS // 2
    assert len(dearest_of_month) == len(failed_of_month) == MOST_REQUESTS
    assert dearest_of_month[0][1].nano_usd >= dearest[0][1].nano_usd


def test_a_request_at_the_first_moment_of_a_range_is_in_its_lists_and_one_at_its_end_is_not(tmp_path: Path) -> None:
    bench = usage_bench(tmp_path, now=_NOW, zone=UTC)
    moments = [int(datetime(2026, 11, day, tzinfo=UTC).timestamp()) * 1000 for day in (20, 21)]
    for moment in moments:
        record, cost = bench.record(moment)
        bench.book((msgspec.structs.replace(record, code="500", counted=1), cost))
    _, failed, dearest = list_requests(bench.questions, {"since": "2026-11-20", "until": "2026-11-21"})

    assert [request.ts_ms for _, request in failed] == [request.ts_ms for _, request in dearest] == moments[:1]


def test_filters_are_the_labels_of_the_lists(bench: UsageBench) -> None:
    _, failed, dearest = list_requests(bench.questions, {"client": "client-bob", "range": "30d"})
    _, _, folded = list_requests(bench.questions, {"client": "other", "range": "30d"})

    assert {labels.client for labels, _ in (*failed, *dearest)} == {"client-bob"}
    assert {labels.model for labels, _ in folded} == {"other"}, "as in /metrics"


def test_a_question_that_makes_no_sense_is_refused(bench: UsageBench) -> None:
    with pytest.raises(QuestionError):
        list_requests(bench.questions, {"range": "soon"})
