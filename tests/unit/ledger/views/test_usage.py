"""Sums of spans: overlapping ones, and days with and without sums. The tests of reports compare them with records."""

import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exporter.ledger.amounts import Amounts
from exporter.ledger.schema import BUCKET_MS
from exporter.ledger.views.usage import Span, Usage, UsageSums
from tests.benches.usage import UsageBench, usage_bench

_NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC).timestamp()
_DAY = 96


@pytest.fixture
def bench(tmp_path: Path) -> UsageBench:
    draw = random.Random(1)
    bench = usage_bench(tmp_path, now=_NOW, zone=UTC)
    now_ms = int(_NOW * 1000)
    bench.book(*(bench.record(now_ms - draw.randrange(6 * _DAY * BUCKET_MS), draw) for _ in range(300)))
    return bench


def _requests(bench: UsageBench, spans: list[Span]) -> list[int]:
    groups = dict.fromkeys(bench.ledger.name_store.series, 0)
    with bench.ledger.reading() as connection:
        sums = UsageSums(connection, groups, spans)
        return [
            sum(amounts.requests for by_billing in sums.by_group(span).values() for amounts in by_billing.values())
            for span in spans
        ]


def _plain(bench: UsageBench, spans: list[Span], condition: str = "") -> list[int]:
    with bench.ledger.reading() as connection:
        return [
            connection.execute(
                f"select coalesce(sum(requests), 0) from rollup where bucket >= ? and bucket < ? {condition}", span
            ).fetchone()[0]
            for span in spans
        ]


def test_spans_may_overlap_lie_apart_be_empty_and_cut_days_anywhere(bench: UsageBench) -> None:
    draw = random.Random(2)
    now = int(_NOW * 1000) // BUCKET_MS
    for summed in (False, True):
        if summed:
            bench.ledger.days.refresh()
        for _ in range(20):
            firsts = [now - draw.randrange(-_DAY, 8 * _DAY) for _ in range(5)]
            spans = [Span(first, first + draw.choice([0, 1, 40, 70, 5 * _DAY])) for first in firsts]
            assert _requests(bench, spans) == _plain(bench, spans)
    assert _requests(bench, []) == []


def test_totals_are_the_sums_of_all_groups(bench: UsageBench) -> None:
    groups = {id_: id_ for id_ in bench.ledger.name_store.series}
    now = int(_NOW * 1000) // BUCKET_MS
    spans = [Span(now - 3 * _DAY, now - _DAY), Span(now - 2 * _DAY - 7, now)]
    totals = [Span(now - 6 * _DAY, now - 2 * _DAY - 3), Span(now - _DAY, now), Span(now - 20 * _DAY, now - 15 * _DAY)]
    for summed in (False, True):
        if summed:
            bench.ledger.days.refresh()
        with bench.ledger.reading() as connection:
            read = UsageSums(connection, groups, spans, totals=totals)
            some = UsageSums(connection, {id_: id_ for id_ in groups if id_ % 2}, spans, totals=totals)
        numbers = [sum(amounts.requests for amounts in read.total(span).values()) for span in (*spans, *totals)]
        assert numbers == _plain(bench, [*spans, *totals])
        numbers = [sum(amounts.requests for amounts in some.total(span).values()) for span in (*spans, *totals)]
        assert numbers == _plain(bench, [*spans, *totals], "and series % 2")
        assert [read.by_group(span) for span in spans] == _read_apart(bench, spans, groups)
        assert read.by_group(spans[0], {1, 2}) == {
            group: by_billing for group, by_billing in read.by_group(spans[0]).items() if group in {1, 2}
        }


def _read_apart(bench: UsageBench, spans: list[Span], groups: dict[int, int]) -> list[dict[int, Usage]]:
    with bench.ledger.reading() as connection:
        return [UsageSums(connection, groups, [span]).by_group(span) for span in spans]


def test_series_without_a_group_do_not_count(bench: UsageBench) -> None:
    some = {id_: 5 for id_ in bench.ledger.name_store.series if id_ % 2}
    bench.ledger.days.refresh()
    everything = Span(0, 10**7)
    with bench.ledger.reading() as connection:
        sums = UsageSums(connection, some, [everything]).by_group(everything)
        none = UsageSums(connection, {}, [everything]).by_group(everything)
        (number,) = connection.execute("select sum(requests) from rollup where series % 2").fetchone()

    assert sums.keys() == {5}
    assert sum(amounts.requests for amounts in sums[5].values()) == number
    assert none == {}


def test_whole_days_are_read_from_their_sums(bench: UsageBench) -> None:
    bench.ledger.days.refresh()
    with bench.ledger._database.transaction() as connection:
        connection.execute("update day_rollup set requests = requests + 1000000")
    today = int(_NOW * 1000) // BUCKET_MS // _DAY * _DAY

    assert _requests(bench, [Span(today - _DAY, today)])[0] > 10**6
    assert _requests(bench, [Span(today - _DAY + 10, today)])[0] > 10**6, "the smaller part is taken away"
    assert _requests(bench, [Span(today - _DAY, today - _DAY + 10)])[0] < 10**6, "the smaller part is read"


def test_reading_writes_nothing(bench: UsageBench) -> None:
    before = bench.ledger._database.path.read_bytes()
    _requests(bench, [Span(0, 10**7)])

    assert bench.ledger._database.path.read_bytes() == before


def test_amounts_add_up_by_name() -> None:
    assert Amounts.total([Amounts(requests=1, nano_usd=2), Amounts(requests=3, input=4)]) == Amounts(
        requests=4, input=4, nano_usd=2
    )
