"""Ranges, their steps and the ranges that they are compared with, in the calendars of all kinds of zones."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.ledger.schema import BUCKET_MS
from exporter.usage.ranges import (
    STEPS,
    QuestionError,
    Range,
    fitting_unit,
    free_range,
    months,
    named_range,
    range_before,
    steps,
)

ZONES: list[tzinfo] = [
    UTC,
    ZoneInfo("Europe/Berlin"),
    ZoneInfo("America/New_York"),
    ZoneInfo("America/Santiago"),  # its clock changes at midnight
    ZoneInfo("Asia/Kolkata"),
    ZoneInfo("Asia/Kathmandu"),
    ZoneInfo("Australia/Lord_Howe"),  # changes by half an hour
    timezone(timedelta(hours=-3.5)),
]
_BERLIN = ZoneInfo("Europe/Berlin")
_HOUR_MS = 3_600_000


def _ms(text: str, zone: tzinfo = _BERLIN) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()) * 1000


def _hours(range_: Range) -> float:
    return (range_.until_ms - range_.since_ms) / _HOUR_MS


@pytest.mark.parametrize(
    ("name", "since", "until"),
    [
        ("24h", "2026-11-23T13:00", "2026-11-24T13:00"),
        ("7d", "2026-11-18", "2026-11-25"),
        ("30d", "2026-10-26", "2026-11-25"),
        ("2026-11", "2026-11-01", "2026-12-01"),
        ("2025-12", "2025-12-01", "2026-01-01"),
    ],
)
def test_named_ranges_end_with_the_running_step(name: str, since: str, until: str) -> None:
    found = named_range(name, now_ms=_ms("2026-11-24T12:20"), zone=_BERLIN)

    assert found == Range(_ms(since), _ms(until), name)


@pytest.mark.parametrize(("month", "hours"), [("2026-03", 31 * 24 - 1), ("2026-10", 31 * 24 + 1), ("2026-02", 28 * 24)])
def test_a_month_has_the_hours_of_its_days(month: str, hours: int) -> None:
    found = named_range(month, now_ms=_ms("2026-11-24"), zone=_BERLIN)

    assert _hours(found) == hours
    assert len(steps(found, "hour", zone=_BERLIN)) == hours
    lengths = [_hours(day) for day in steps(found, "day", zone=_BERLIN)]
    assert sorted({*lengths}) == {"2026-03": [23, 24], "2026-10": [24, 25], "2026-02": [24]}[month]


@pytest.mark.parametrize("zone", ZONES, ids=str)
@given(
    now=st.integers(min_value=_ms("2024-01-01"), max_value=_ms("2028-01-01")),
    name=st.sampled_from(["24h", "7d", "30d", "2026-03", "2026-04", "2026-10"]),
    unit=st.sampled_from(STEPS),
)
def test_steps_fill_a_range_without_gap_or_overlap(zone: tzinfo, now: int, name: str, unit: str) -> None:
    whole = named_range(name, now_ms=now, zone=zone)
    parts = steps(whole, unit, zone=zone)

    assert [parts[0].since_ms, parts[-1].until_ms] == [whole.since_ms, whole.until_ms]
    assert all(one.until_ms == other.since_ms for one, other in pairwise(parts))
    assert all(edge % BUCKET_MS == 0 for part in parts for edge in (part.since_ms, part.until_ms))
    for part in parts[1:]:
        local = datetime.fromtimestamp(part.since_ms / 1000, UTC).astimezone(zone)
        if unit == "week":
            assert local.weekday() == 0
        if unit == "month":
            assert local.day == 1
        if unit == "hour":
            assert local.minute in (0, 30 if "Lord_Howe" in str(zone) else 0)


@pytest.mark.parametrize("zone", ZONES, ids=str)
@given(
    now=st.integers(min_value=_ms("2024-01-01"), max_value=_ms("2028-01-01")),
    name=st.sampled_from(["24h", "7d", "30d", "2026-03", "2026-04", "2026-11"]),
)
def test_the_range_before_ends_where_the_range_begins_or_is_as_far_along(zone: tzinfo, now: int, name: str) -> None:
    whole = named_range(name, now_ms=now, zone=zone)
    before = range_before(whole, now_ms=now, zone=zone)

    assert before.since_ms < before.until_ms <= whole.since_ms
    assert before.since_ms % BUCKET_MS == before.until_ms % BUCKET_MS == 0
    if now >= whole.until_ms:
        assert before.until_ms == whole.since_ms


@pytest.mark.parametrize(
    ("name", "now", "since", "until"),
    [
        # A quarter of an hour that has begun counts, as it does in the figures.
        ("2026-11", "2026-11-24T12:20", "2026-10-01", "2026-10-24T12:30"),
        ("2026-10", "2026-11-24T12:20", "2026-09-01", "2026-10-01"),
        ("2026-03", "2026-03-31T12:20", "2026-02-01", "2026-03-01"),  # February has no 31st
        ("7d", "2026-11-24T12:20", "2026-11-11", "2026-11-17T12:30"),
        ("7d", "2026-10-27T12:20", "2026-10-14", "2026-10-20T12:30"),  # noon to noon, across a change of the clock
        ("24h", "2026-11-24T12:20", "2026-11-22T13:00", "2026-11-23T12:30"),
    ],
)
def test_a_running_range_is_compared_with_the_same_part_of_the_one_before(
    name: str, now: str, since: str, until: str
) -> None:
    whole = named_range(name, now_ms=_ms(now), zone=_BERLIN)

    assert range_before(whole, now_ms=_ms(now), zone=_BERLIN) == Range(_ms(since), _ms(until))


def test_a_free_range_has_days_or_moments_and_open_ends() -> None:
    def free(since: str, until: str) -> Range:
        return free_range(since, until, oldest_ms=_ms("2026-09-05T13:00"), now_ms=_ms("2026-11-24T12:20"), zone=_BERLIN)

    assert free("2026-10-01", "2026-10-08") == Range(_ms("2026-10-01"), _ms("2026-10-08"))
    assert free("2026-10-01T12:07", "2026-10-01T12:31+02:00") == Range(_ms("2026-10-01T12:00"), _ms("2026-10-01T12:45"))
    assert free("", "2026-10-08").since_ms == _ms("2026-09-05")
    assert free("2026-10-01", "").until_ms == _ms("2026-11-25")
    moments = range_before(free("2026-10-01T12:00", "2026-10-01T18:00"), now_ms=_ms("2026-11-24"), zone=_BERLIN)
    assert moments == Range(_ms("2026-10-01T06:00"), _ms("2026-10-01T12:00"))


@pytest.mark.parametrize(
    ("since", "until", "before"),
    [
        ("2026-10-07", "2026-10-08T18:00", "2026-10-05T06:00"),
        ("2026-10-07T06:00", "2026-10-08", "2026-10-06T12:00"),
    ],
)
def test_a_range_of_which_one_end_is_a_midnight_is_compared_with_as_many_hours(
    since: str, until: str, before: str
) -> None:
    now_ms = _ms("2026-11-24")
    whole = free_range(since, until, oldest_ms=0, now_ms=now_ms, zone=_BERLIN)

    assert range_before(whole, now_ms=now_ms, zone=_BERLIN) == Range(_ms(before), _ms(since))


@pytest.mark.parametrize(
    ("since", "until", "words"),
    [
        ("2026-10-08", "2026-10-01", "is empty: 'until', which is not included"),
        ("2026-10-08", "2026-10-08", "is empty: 'until', which is not included"),
        ("yesterday", "", "neither a day"),
        ("2026-02-30", "", "neither a day"),
        ("", "0001-01-01", "neither a day|year 1 "),
        ("9999-12-31", "", "9999"),
        ("1600-01-01", "", "year 1600"),
        ("=" * 5000, "", "neither a day"),
    ],
)
def test_a_free_range_that_makes_no_sense_is_refused_with_advice(since: str, until: str, words: str) -> None:
    with pytest.raises(QuestionError, match=words) as refused:
        free_range(since, until, oldest_ms=0, now_ms=_ms("2026-11-24"), zone=_BERLIN)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("name", ["31d", "2026-13", "2026", "202611", "9999-12", "0000-01", "²026-11", "x" * 999])
def test_an_unknown_range_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(QuestionError, match=r"24h|year"):
        named_range(name, now_ms=_ms("2026-11-24"), zone=_BERLIN)


def test_too_many_steps_are_refused() -> None:
    years = Range(_ms("2010-01-01"), _ms("2026-01-01"))

    assert len(steps(years, "month", zone=_BERLIN)) == 16 * 12
    with pytest.raises(QuestionError, match="longer steps"):
        steps(years, "day", zone=_BERLIN)


def test_the_steps_of_the_chart_fit_the_length_of_the_range() -> None:
    units = [
        fitting_unit(named_range(name, now_ms=_ms("2026-11-24"), zone=_BERLIN)) for name in ("24h", "7d", "2026-10")
    ]

    assert units == ["hour", "day", "day"]
    assert fitting_unit(Range(_ms("2025-01-01"), _ms("2026-01-01"))) == "month"


def test_months_go_back_to_the_oldest_use() -> None:
    now = _ms("2026-02-10")

    assert list(months(_ms("2025-11-30T23:59"), now_ms=now, zone=_BERLIN)) == [
        "2026-02",
        "2026-01",
        "2025-12",
        "2025-11",
    ]
    assert list(months(now, now_ms=now, zone=_BERLIN)) == ["2026-02"]
    assert len(list(months(0, now_ms=now, zone=_BERLIN))) == 26 * 12 + 2, "a record of 1970 adds no page of months"
