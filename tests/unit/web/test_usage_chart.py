"""The chart: bars as high as their figures, coloured by name, and described in words."""

import re
from dataclasses import astuple
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

import exporter.web
from exporter.records import Billing, Cost
from exporter.web.usage_chart import MEASURES, Chart, draw
from tests.benches.usage import UsageBench, usage_bench

STYLE = Path(exporter.web.__path__[0]) / "templates" / "page.css"
_NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC).timestamp()


@pytest.fixture
def bench(tmp_path: Path) -> UsageBench:
    return usage_bench(tmp_path, now=_NOW, zone=UTC)


def _book(bench: UsageBench, model: str, *, days_ago: int, nano_usd: int) -> None:
    record, cost = bench.record(int((_NOW - days_ago * 86_400) * 1000))
    record = msgspec.structs.replace(record, model=model, billing=Billing.METERED, counted=1)
    bench.book((record, Cost(nano_usd=nano_usd, basis=cost.basis, price=cost.price)))


def _draw(bench: UsageBench, show: str = "metered", **parameters: str) -> Chart:
    report = bench.answer({"range": "7d", **parameters})
    return draw(report, MEASURES[show], [f"step {number}" for number in range(len(report.steps))])


def test_heights_are_shares_of_the_highest_bar_and_parts_are_stacked(bench: UsageBench) -> None:
    _book(bench, "big", days_ago=0, nano_usd=3 * 10**9)
    _book(bench, "small", days_ago=0, nano_usd=10**9)
    _book(bench, "small", days_ago=2, nano_usd=10**9)
    chart = _draw(bench)

    big, small = chart.legend.values()
    assert list(chart.legend) == ["big", "small"]
    assert (chart.total, chart.most) == ("$5.00", "$4.00")
    assert [astuple(part) for part in chart.bars[6].parts] == [(big, 40.0, 120.0), (small, 0.0, 40.0)]
    assert [astuple(part) for part in chart.bars[4].parts] == [(small, 120.0, 40.0)]
    assert chart.bars[6].title == "step 6: $4.00\nbig: $3.00\nsmall: $1.00"
    assert [bar.parts for bar in chart.bars[:4]] == [[]] * 4
    assert chart.ends == ["step 0", "step 3", "step 6"]


@pytest.mark.parametrize("until", ["2026-11-02", "2026-11-03", "2026-11-25"])
def test_bars_fill_the_chart_and_do_not_overlap(bench: UsageBench, until: str) -> None:
    bars = _draw(bench, range="", by="day", since="2026-11-01", until=until).bars
    starts = [bar.x for bar in bars]
    ends = [bar.x + bar.width for bar in bars]

    assert starts[0] == 0
    assert all(end < start for end, start in zip(ends, starts[1:], strict=False))
    assert 960 - 960 / len(bars) / 4 < ends[-1] <= 960


def test_five_names_have_a_colour_and_the_rest_has_one(bench: UsageBench) -> None:
    for number in range(8):
        _book(bench, f"m{number}", days_ago=1, nano_usd=(8 - number) * 10**9)
    chart = _draw(bench)

    assert list(chart.legend) == ["m0", "m1", "m2", "m3", "m4", None]
    assert [part.colour for part in chart.bars[5].parts] == list(chart.legend.values())
    assert chart.bars[5].parts[-1].y == 0.0
    assert sum(part.height for part in chart.bars[5].parts) == pytest.approx(160.0, abs=0.1)


def test_a_name_without_a_figure_is_not_in_the_legend(bench: UsageBench) -> None:
    _book(bench, "dear", days_ago=1, nano_usd=10**9)
    for number in range(6):
        _book(bench, f"free{number}", days_ago=1, nano_usd=0)

    assert list(_draw(bench).legend) == ["dear"]


def test_by_time_bars_have_one_part_and_no_legend(bench: UsageBench) -> None:
    _book(bench, "m", days_ago=1, nano_usd=10**9)
    chart = _draw(bench, by="day")

    assert chart.legend == {}
    assert [len(bar.parts) for bar in chart.bars] == [0, 0, 0, 0, 0, 1, 0]


def test_a_small_figure_is_visible(bench: UsageBench) -> None:
    _book(bench, "m", days_ago=1, nano_usd=10**12)
    _book(bench, "m", days_ago=2, nano_usd=1)

    assert _draw(bench).bars[4].parts[0].height == 0.5


@pytest.mark.parametrize("show", MEASURES)
def test_an_empty_answer_draws_nothing(bench: UsageBench, show: str) -> None:
    chart = _draw(bench, show)

    assert [bar.parts for bar in chart.bars] == [[]] * 7
    assert chart.legend == {}


def test_the_chosen_figure_decides_which_names_have_a_colour(bench: UsageBench) -> None:
    _book(bench, "dear", days_ago=1, nano_usd=10**9)
    for _ in range(2):
        _book(bench, "busy", days_ago=1, nano_usd=1)

    assert list(_draw(bench, "metered").legend) == ["dear", "busy"]
    assert list(_draw(bench, "requests").legend) == ["busy", "dear"]


# --- colours --------------------------------------------------------------------------------------------------------


def test_a_name_has_one_colour_for_every_question(bench: UsageBench) -> None:
    for number in range(10):
        _book(bench, f"m{number}", days_ago=number % 3, nano_usd=(10 - number) * 10**9)
    charts = [_draw(bench, **asked) for asked in ({}, {"range": "24h"}, {"show": "requests"}, {"model": "m4"})]
    pairs = {pair for chart in charts for pair in chart.legend.items()}

    assert len(pairs) == len({name for name, _ in pairs})
    assert {name for name, _ in pairs} > {"m0", "m3", "m4", "m9", None}


def test_a_name_keeps_its_colour_when_others_appear(bench: UsageBench) -> None:
    for number in range(5):
        _book(bench, f"m{number}", days_ago=1, nano_usd=10**9)
    before = _draw(bench).legend
    for number in range(7):
        _book(bench, f"cheap{number}", days_ago=1, nano_usd=1)
    after = _draw(bench).legend

    assert before == {name: after[name] for name in before}


def test_two_names_of_a_chart_never_share_a_colour(bench: UsageBench) -> None:
    for number in range(40):
        _book(bench, f"m{number}", days_ago=1, nano_usd=(number * 7 % 40 + 1) * 10**9)
    chart = _draw(bench)

    assert len(set(chart.legend.values())) == len(chart.legend) == 6


def test_colours_stand_out_from_their_background() -> None:
    light, dark = STYLE.read_text(encoding="utf-8").split("@media (prefers-color-scheme: dark)", 1)
    for part in (light, dark.split("}", 1)[0]):
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", part))
        parts = {name: colour for name, colour in colours.items() if name.startswith("part-")}

        assert len(set(parts.values())) == 13
        assert {name for name, colour in parts.items() if _contrast(colour, colours["card"]) < 3} == set()


def _contrast(one: str, other: str) -> float:
    """The contrast as WCAG defines it."""
    darker, lighter = sorted(map(_luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    shares = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
