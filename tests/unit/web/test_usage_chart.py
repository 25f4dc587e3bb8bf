"""The chart: bars as high as what they show, coloured by name, and in words."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from exporter.records import Billing, Cost
from exporter.web.usage_chart import MEASURES, Chart, draw
from tests.benches.usage import UsageBench, usage_bench

_NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC).timestamp()


@pytest.fixture
def bench(tmp_path: Path) -> UsageBench:
    return usage_bench(tmp_path, now=_NOW, zone=UTC)


def _book(bench: UsageBench, model: str, *, days_ago: int, nano_usd: int) -> None:
    record, cost = bench.record(int((_NOW - days_ago * 86_400) * 1000))
    record = msgspec.structs.replace(record, model=model, billing=Billing.METERED, counted=1)
    bench.book((record, Cost(nano_usd=nano_usd, basis=cost.basis, price=cost.price)))


def _draw(bench: UsageBench, show: str = "metered", **parameters: str) -> Chart:
    report = bench.reports.answer({"range": "7d", **parameters})
    return draw(report, MEASURES[show], [f"step {number}" for number in range(len(report.steps))])


def test_heights_are_shares_of_the_highest_bar_and_parts_stand_on_each_other(bench: UsageBench) -> None:
    _book(bench, "big", days_ago=0, nano_usd=3 * 10**9)
    _book(bench, "small", days_ago=0, nano_usd=10**9)
    _book(bench, "small", days_ago=2, nano_usd=10**9)
    chart = _draw(bench)

    assert chart.legend == ["big", "small"]
    assert (chart.total, chart.most) == ("$5.00", "$4.00")
    assert [(part.number, part.y, part.height) for part in chart.bars[6].parts] == [(0, 40.0, 120.0), (1, 0.0, 40.0)]
    assert [(part.number, part.y, part.height) for part in chart.bars[4].parts] == [(1, 120.0, 40.0)]
    assert chart.bars[6].title == "step 6: $4.00\nbig: $3.00\nsmall: $1.00"
    assert [bar.parts for bar in chart.bars[:4]] == [[]] * 4
    assert chart.ends == ["step 0", "step 3", "step 6"]


def test_five_names_have_a_colour_and_the_rest_has_one(bench: UsageBench) -> None:
    for number in range(8):
        _book(bench, f"m{number}", days_ago=1, nano_usd=(8 - number) * 10**9)
    chart = _draw(bench)

    assert chart.legend == ["m0", "m1", "m2", "m3", "m4", None]
    assert [part.number for part in chart.bars[5].parts] == [0, 1, 2, 3, 4, 5]
    assert chart.bars[5].parts[-1].y == 0.0
    assert sum(part.height for part in chart.bars[5].parts) == pytest.approx(160.0, abs=0.1)


def test_by_time_bars_have_one_part_and_no_legend(bench: UsageBench) -> None:
    _book(bench, "m", days_ago=1, nano_usd=10**9)
    chart = _draw(bench, by="day")

    assert chart.legend == []
    assert [len(bar.parts) for bar in chart.bars] == [0, 0, 0, 0, 0, 1, 0]


def test_a_little_is_not_nothing(bench: UsageBench) -> None:
    _book(bench, "m", days_ago=1, nano_usd=10**12)
    _book(bench, "m", days_ago=2, nano_usd=1)

    assert _draw(bench).bars[4].parts[0].height == 0.5


@pytest.mark.parametrize("show", MEASURES)
def test_nothing_draws_nothing(bench: UsageBench, show: str) -> None:
    chart = _draw(bench, show)

    assert [bar.parts for bar in chart.bars] == [[]] * 7
    assert chart.legend == []


def test_what_is_shown_decides_who_has_a_colour(bench: UsageBench) -> None:
    _book(bench, "dear", days_ago=1, nano_usd=10**9)
    for _ in range(2):
        _book(bench, "busy", days_ago=1, nano_usd=1)

    assert _draw(bench, "metered").legend == ["dear", "busy"]
    assert _draw(bench, "requests").legend == ["busy", "dear"]
