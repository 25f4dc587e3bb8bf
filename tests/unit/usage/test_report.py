"""Reports against a sum record by record: any range, filter, zone and grouping, whichever days have sums."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.records import Basis, Billing, Cost
from exporter.usage.question import BY, NAMES
from exporter.usage.ranges import Range
from exporter.usage.report import Report
from tests.benches.usage import CLIENTS, MODELS, Entry, UsageBench, plain, plain_sums, usage_bench
from tests.benches.web import WebBench

_ZONES: list[tzinfo] = [
    UTC,
    ZoneInfo("Europe/Berlin"),
    ZoneInfo("America/Santiago"),
    ZoneInfo("Asia/Kolkata"),
    ZoneInfo("Asia/Kathmandu"),
    ZoneInfo("Australia/Lord_Howe"),
    timezone(timedelta(hours=12.75)),
]
# Weeks in which a zone changes its clock, a month's end, ordinary days.
_MOMENTS = ["2026-03-31T09:20", "2026-04-07T00:10", "2026-09-08T12:00", "2026-10-27T23:50", "2026-07-15T06:00"]
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS


def _parameters(draw: random.Random, zone: tzinfo, now: datetime) -> dict[str, str]:
    parameters = {"by": draw.choice(BY)}
    if parameters["by"] == "hour" or draw.random() < 0.6:
        parameters["range"] = draw.choice(["24h", "7d", "30d", f"{now:%Y-%m}", f"{now - timedelta(days=40):%Y-%m}"])
    else:
        since = now.astimezone(zone) - timedelta(minutes=draw.randrange(60 * 24 * 50))
        until = since + timedelta(minutes=draw.randrange(16, 60 * 24 * 30))
        form = draw.choice(["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M%z"])
        parameters |= {"since": since.strftime(form), "until": until.strftime(form)}
    for name, values in {
        "model": MODELS,
        "client": [f"client-{client}" for client in CLIENTS],
        "provider": ["claude", "nobody"],
        "proxy": ["p", "q"],
    }.items():
        if draw.random() < 0.25:
            parameters[name] = draw.choice(values)
    return parameters


def _check(entries: Sequence[Entry], report: Report) -> None:
    def total(range_: Range) -> dict[int, dict[str, int]]:
        return plain_sums(entries, (range_.since_ms, range_.until_ms), report.question.filters).get("", {})

    def by_name(range_: Range) -> dict[str, dict[int, dict[str, int]]]:
        return plain_sums(entries, (range_.since_ms, range_.until_ms), report.question.filters, report.question.by)

    assert plain(report.usage) == total(report.question.range)
    if report.question.by in NAMES:
        assert {row.name: plain(row.usage) for row in report.rows} == by_name(report.question.range)
    else:
        assert [row.range for row in report.rows] == [step.range for step in report.steps]
    for step in report.steps:
        assert plain(step.usage) == total(step.range)
        if report.question.by in NAMES:
            names = [row.name for row in report.rows]
            parts = zip(names, map(plain, report.parts(step, names)), strict=True)
            assert {name: part for name, part in parts if part} == by_name(step.range)
    if report.before is not None:
        assert plain(report.before.usage) == total(report.before.range)
    assert plain(report.month.usage) == total(report.month.range)


@pytest.mark.parametrize("moment", _MOMENTS)
@pytest.mark.parametrize("zone", _ZONES, ids=str)
def test_a_report_is_the_sum_record_by_record(tmp_path: Path, zone: tzinfo, moment: str) -> None:
    """Meanwhile records come late, early and in time; days are summed, forgotten and summed again; the zone changes."""
    draw = random.Random(f"{zone} {moment}")
    now = datetime.fromisoformat(moment).replace(tzinfo=zone)
    bench = usage_bench(tmp_path, now=now.timestamp() - 3 * 86_400, zone=zone, max_label_sets=draw.choice([5, 5000]))
    for _ in range(8):
        now_ms = int(bench.clock.now() * 1000)
        oldest_ms = now_ms - draw.choice([_HOUR_MS // 2, 3 * _DAY_MS, 60 * _DAY_MS])
        times = sorted(draw.randrange(oldest_ms, now_ms + draw.choice([0, 0, 2 * _DAY_MS])) for _ in range(20))
        bench.book(*(bench.record(ts_ms, draw) for ts_ms in times), proxy=draw.choice("pq"))
        if draw.random() < 0.7:
            bench.ledger.days.refresh()
        entries = bench.entries()
        for _ in range(3):
            report = bench.answer(_parameters(draw, zone, datetime.fromtimestamp(now_ms / 1000, UTC)))
            _check(entries, report)
        bench.clock.advance(draw.choice([600, 6 * 3600]))
    bench.ledger.close()


def test_another_zone_reads_the_same_ledger_right(tmp_path: Path) -> None:
    draw = random.Random(7)
    now = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    bench = usage_bench(tmp_path, now=now.timestamp(), zone=UTC)
    now_ms = int(now.timestamp() * 1000)
    bench.book(*(bench.record(now_ms - draw.randrange(40 * _DAY_MS), draw) for _ in range(300)))
    bench.ledger.days.refresh()
    bench.ledger.close()
    for zone in (*_ZONES, UTC):
        moved = usage_bench(tmp_path, now=now.timestamp(), zone=zone)
        for summed_anew in (False, True):
            if summed_anew:
                moved.ledger.days.refresh()
            _check(moved.entries(), moved.answer({"range": "30d", "by": "day"}))
        moved.ledger.close()


# --- equal to /metrics ----------------------------------------------------------------------------------------------


def test_the_running_month_equals_that_of_metrics(tmp_path: Path) -> None:
    draw = random.Random(3)
    zone = ZoneInfo("Europe/Berlin")
    now = datetime(2026, 10, 26, 9, 0, tzinfo=zone)
    bench = usage_bench(tmp_path, now=now.timestamp(), zone=zone, max_label_sets=20)
    now_ms = int(now.timestamp() * 1000)
    bench.book(*(bench.record(now_ms - draw.randrange(40 * _DAY_MS), draw) for _ in range(400)))
    bench.ledger.days.refresh()
    bench.ledger.periods.refresh()
    text = WebBench(bench.ledger, bench.clock).client().get("/metrics").text
    gauges: dict[tuple[str, str, str], int] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if "model" in sample.labels and sample.labels.get("period") == "month":
                what = sample.name.removeprefix("cliproxy_period_")
                value = round(sample.value * 1e9) if what == "cost_usd" else round(sample.value)
                key = (sample.labels["model"], what, sample.labels.get("billing", ""))
                gauges[key] = gauges.get(key, 0) + value

    shown: dict[tuple[str, str, str], int] = {}
    for row in bench.answer({"range": "2026-10", "by": "model"}).rows:
        shown[row.name, "requests", ""] = row.usage.total.requests
        shown[row.name, "tokens", ""] = row.usage.total.tokens
        shown |= {(row.name, "cost_usd", billing.word): row.usage.cost(billing) for billing in Billing}

    assert {key: value for key, value in gauges.items() if value} == {k: value for k, value in shown.items() if value}
    assert ("other", "requests", "") in shown


# --- what is worked out of it ---------------------------------------------------------------------------------------


def _one(bench: UsageBench, *, days_ago: float, nano_usd: int, billing: Billing = Billing.METERED) -> None:
    record, _ = bench.record(int((bench.clock.now() - days_ago * 86_400) * 1000), random.Random(1))
    record = msgspec.structs.replace(record, billing=billing, counted=1)
    bench.book((record, Cost(nano_usd=nano_usd, basis=Basis.EXACT, price="a price")))


@pytest.fixture
def bench(tmp_path: Path) -> UsageBench:
    """A ledger at noon of 11 November in Berlin."""
    zone = ZoneInfo("Europe/Berlin")
    return usage_bench(tmp_path, now=datetime(2026, 11, 11, 12, 0, tzinfo=zone).timestamp(), zone=zone)


def test_the_forecast_of_the_month_is_its_use_so_far_plus_the_rest_at_the_pace_of_seven_days(bench: UsageBench) -> None:
    _one(bench, days_ago=30, nano_usd=10**12)  # neither in this month nor in the last seven days
    _one(bench, days_ago=9, nano_usd=1_000_000_000)
    _one(bench, days_ago=3, nano_usd=7_510_416_667)  # in 7 days, 12 hours and a quarter: 1 USD a day
    _one(bench, days_ago=2, nano_usd=500, billing=Billing.SUBSCRIPTION)
    expected = bench.answer({}).expected

    left_days = 19 + 11.75 / 24
    assert expected.keys() == {*Billing}
    assert expected[Billing.UNKNOWN] == 0
    assert expected[Billing.METERED] == pytest.approx((1 + 7.510416667 + left_days) * 1e9, rel=1e-8)
    assert expected[Billing.SUBSCRIPTION] == pytest.approx(500 * (1 + left_days / 7.510416667), abs=1)


def test_the_forecast_of_what_is_no_longer_in_use_is_nothing(bench: UsageBench) -> None:
    _one(bench, days_ago=30, nano_usd=10**9)

    assert bench.answer({}).expected == dict.fromkeys(Billing, 0)


def test_there_is_no_forecast_of_the_month_without_a_day_of_use(bench: UsageBench) -> None:
    _one(bench, days_ago=0.5, nano_usd=10**9)

    assert bench.answer({}).expected == {}


def test_a_range_that_begins_before_the_ledger_is_compared_with_nothing(bench: UsageBench) -> None:
    _one(bench, days_ago=40, nano_usd=10**9)

    assert bench.answer({"range": "7d"}).before is not None
    assert bench.answer({"range": "30d"}).before is None


def test_shares_and_cost_per_request_have_the_right_denominators(bench: UsageBench) -> None:
    _one(bench, days_ago=1, nano_usd=10**9)
    _one(bench, days_ago=1, nano_usd=4 * 10**9, billing=Billing.SUBSCRIPTION)
    usage = bench.answer({}).usage
    of_money = usage[Billing.METERED]

    assert of_money.cost_per_request == round(10**9 / of_money.requests)
    assert usage[Billing.UNKNOWN].cost_per_request is None
    assert usage.total.cache_share == usage.total.cache_read / usage.total.input
    assert usage.total.failed_share == usage.total.failed / usage.total.requests


def test_an_empty_ledger_answers_everything_with_nothing(bench: UsageBench) -> None:
    for by in BY:
        report = bench.answer({"by": by, "range": "7d"})
        assert (report.usage.total.requests, report.usage.total.failed_share, report.usage.total.cache_share) == (
            0,
            None,
            None,
        )
        assert report.billings == (Billing.METERED,)
        assert report.expected == {}


@pytest.mark.parametrize(
    ("used", "billings"),
    [
        ([Billing.SUBSCRIPTION], (Billing.SUBSCRIPTION,)),
        ([Billing.SUBSCRIPTION, Billing.METERED], (Billing.METERED, Billing.SUBSCRIPTION)),
        ([Billing.UNKNOWN], (Billing.UNKNOWN,)),
    ],
)
def test_the_kinds_of_billing_are_the_used_ones(
    bench: UsageBench, used: list[Billing], billings: tuple[Billing, ...]
) -> None:
    for billing in used:
        _one(bench, days_ago=1, nano_usd=10**9, billing=billing)

    assert bench.answer({}).billings == billings
