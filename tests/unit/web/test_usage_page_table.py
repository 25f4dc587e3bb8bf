"""The table: sorted by any column either way, with links to questions about a row."""

import random
from datetime import datetime
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest

from exporter.usage.ranges import QuestionError
from exporter.web.usage_page import Address, Table, tabulate
from tests.benches.usage import UsageBench, usage_bench

_ZONE = ZoneInfo("Europe/Berlin")
_NOW = datetime(2026, 10, 27, 12, 0, tzinfo=_ZONE).timestamp()
_COLUMNS = {
    "requests": lambda usage: usage.total.requests,
    "tokens": lambda usage: usage.total.tokens,
    "cache": lambda usage: usage.total.cache_share,
    "failed": lambda usage: usage.total.failed_share,
    "metered": lambda usage: usage.cost(1),
    "subscription": lambda usage: usage.cost(2),
    "unknown": lambda usage: usage.cost(0),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> UsageBench:
    draw = random.Random(1)
    bench = usage_bench(tmp_path_factory.mktemp("table"), now=_NOW, zone=_ZONE)
    now_ms = int(_NOW * 1000)
    bench.book(*(bench.record(now_ms - draw.randrange(6 * 86_400_000), draw) for _ in range(300)))
    return bench


def _table(bench: UsageBench, *, sort: str = "", order: str = "", longest: int = 100, **parameters: str) -> Table:
    report = bench.answer({"range": "7d", **parameters})
    return tabulate(report, Address("/usage", parameters), sort=sort, order=order, longest=longest)


@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize("column", _COLUMNS)
def test_a_table_is_sorted_by_any_column(bench: UsageBench, column: str, order: str) -> None:
    table = _table(bench, sort=column, order=order, by="client")
    values = [_COLUMNS[column](line.usage) for line in table.lines]

    assert values == sorted(values, reverse=order == "descending")
    assert (table.by, table.order) == (column, order)


def test_names_are_sorted_as_text_and_times_as_times(bench: UsageBench) -> None:
    names = [line.name for line in _table(bench, sort="name", by="model").lines]
    days = [line.name for line in _table(bench, by="day").lines]

    assert names == sorted(names)
    assert days[:2] == ["Wed 21 Oct 2026", "Thu 22 Oct 2026"]
    assert [line.name for line in _table(bench, sort="name", order="descending", by="day").lines] == days[::-1]


def test_by_default_the_most_expensive_come_first(bench: UsageBench) -> None:
    table = _table(bench, by="client")

    assert [line.usage.cost(1) for line in table.lines] == sorted(line.usage.cost(1) for line in table.lines)[::-1]
    assert (table.by, table.order) == ("metered", "descending")


def test_a_second_click_reverses_the_order(bench: UsageBench) -> None:
    href = _table(bench, sort="tokens", by="client").columns["tokens"]

    assert parse_qs(urlsplit(href).query) == {"sort": ["tokens"], "order": ["ascending"], "by": ["client"]}


def test_a_click_on_another_column_sorts_it_in_its_own_order(bench: UsageBench) -> None:
    report = bench.answer({"range": "7d", "by": "client"})
    address = Address("/usage", {"by": "client", "sort": "tokens", "order": "ascending"})
    table = tabulate(report, address, sort="tokens", order="ascending", longest=9)

    assert parse_qs(urlsplit(table.columns["requests"]).query) == {"by": ["client"], "sort": ["requests"]}


def test_a_long_table_is_cut(bench: UsageBench) -> None:
    table = _table(bench, by="model", longest=3)

    assert (len(table.lines), table.left) == (3, 1)


def test_a_click_on_a_day_selects_that_day(bench: UsageBench) -> None:
    line = _table(bench, by="day").lines[4]

    assert line.name == "Sun 25 Oct 2026"
    assert parse_qs(urlsplit(line.href).query) == {"since": ["2026-10-25"], "until": ["2026-10-26"], "by": ["model"]}


@pytest.mark.parametrize("by", ["day", "model"])
def test_a_click_on_a_row_leads_to_a_table_in_its_own_order(bench: UsageBench, by: str) -> None:
    report = bench.answer({"range": "7d", "by": by})
    address = Address("/usage", {"range": "7d", "by": by, "sort": "name", "order": "descending"})
    asked = parse_qs(urlsplit(tabulate(report, address, sort="", order="", longest=1).lines[0].href).query)

    assert asked.keys().isdisjoint({"sort", "order"})


def test_a_click_on_a_repeated_hour_selects_one_of_the_two(bench: UsageBench) -> None:
    lines = _table(bench, by="hour", range="", since="2026-10-25", until="2026-10-26").lines
    asked = [parse_qs(urlsplit(line.href).query)["since"][0] for line in lines[1:4]]

    assert asked == ["2026-10-25T01:00+02:00", "2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"]
    for line in lines[1:4]:
        question = {name: value for name, (value,) in parse_qs(urlsplit(line.href).query).items()}
        assert bench.answer(question).usage == line.usage


@pytest.mark.parametrize(("sort", "order"), [("smell", ""), ("name", "up"), ("=1+1", "")])
def test_an_unknown_column_or_order_is_refused(bench: UsageBench, sort: str, order: str) -> None:
    with pytest.raises(QuestionError):
        _table(bench, sort=sort, order=order)
