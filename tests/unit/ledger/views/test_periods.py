"""Days, months and their sums, in any zone, against a direct recomputation."""

import random
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from exporter.days import day_start_ms, local_date, next_day
from exporter.ledger.ledger import Ledger
from exporter.limits.strategies import Strategy, calendar_window
from tests.benches.booking import GOOD, intake_of, open_ledger, take
from tests.fakes.guarding import TurnableClock

_ZONES: list[tzinfo] = [
    ZoneInfo("UTC"),
    ZoneInfo("Europe/Berlin"),
    ZoneInfo("America/Santiago"),
    ZoneInfo("Asia/Kathmandu"),
    ZoneInfo("Pacific/Apia"),
    ZoneInfo("Australia/Lord_Howe"),
    timezone(timedelta(hours=5.75)),
]
# Nights in which a zone changes its clock, ends of months, and an ordinary day.
_MOMENTS = [
    "2026-03-29T12:00",
    "2026-10-25T12:00",
    "2026-09-06T12:00",
    "2026-04-05T12:00",
    "2026-02-28T23:50",
    "2026-07-15T06:00",
]


@cache  # the same entries are looked at again and again
def _day(ts_ms: int, zone: tzinfo) -> date:
    return datetime.fromtimestamp(ts_ms / 1000, UTC).astimezone(zone).date()


def _recomputed(ledger: Ledger, zone: tzinfo, now: float) -> dict[str, tuple[int, int]]:
    """Requests and tokens by period, from the local day of every single entry."""
    today = datetime.fromtimestamp(now, UTC).astimezone(zone).date()
    sums = {"today": (0, 0), "yesterday": (0, 0), "month": (0, 0)}
    with ledger.reading() as connection:
        for ts_ms, counted, tokens in connection.execute(
            "select ts_ms, counted, uncached + cache_read + cache_write + output + unclassified from entry"
        ):
            day = _day(ts_ms, zone)
            for period, belongs in (
                ("today", day == today),
                ("yesterday", day == today - timedelta(days=1)),
                ("month", (day.year, day.month) == (today.year, today.month)),
            ):
                if belongs:
                    sums[period] = (sums[period][0] + counted, sums[period][1] + tokens)
    return sums


def _shown(ledger: Ledger) -> dict[str, tuple[int, int]]:
    ledger.periods.refresh()
    current = ledger.periods.current
    return {
        period: (
            sum(each[period].total.requests for each in current.routes.values()),
            sum(each[period].total.tokens for each in current.routes.values()),
        )
        for period in ("today", "yesterday", "month")
    }


@pytest.mark.parametrize("zone", _ZONES, ids=str)
@pytest.mark.parametrize("moment", _MOMENTS)
def test_periods_equal_a_direct_recomputation(tmp_path: Path, zone: tzinfo, moment: str) -> None:
    chance = random.Random(moment)
    now = datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
    clock = TurnableClock(now)
    ledger = open_ledger(tmp_path, clock=clock, zone=zone)
    intake = intake_of(ledger, clock=clock)
    for step in range(12):
        records = []
        for number in range(30):
            at = clock.now() - chance.choice(
                [chance.uniform(0, 3600), chance.uniform(0, 3 * 86_400), chance.uniform(0, 40 * 86_400)]
            )
            records.append(
                GOOD
                | {
                    "timestamp": datetime.fromtimestamp(at, UTC).isoformat(),
                    "request_id": f"{step}-{number}",
                    "auth_type": chance.choice(["oauth", "apikey"]),
                    "model": chance.choice("ab"),
                }
            )
        take(intake, records)
        assert _shown(ledger) == _recomputed(ledger, zone, clock.now())
        clock.advance(chance.uniform(0, 20 * 3600))
        assert _shown(ledger) == _recomputed(ledger, zone, clock.now()), "time alone has passed"
    clock.jump(-86_400)
    assert _shown(ledger) == _recomputed(ledger, zone, clock.now()), "a clock set back a day"
    clock.jump(2 * 86_400)
    assert _shown(ledger) == _recomputed(ledger, zone, clock.now()), "a clock set ahead a day"
    ledger.close()


def test_midnight_changes_the_periods_without_traffic(tmp_path: Path) -> None:
    zone = ZoneInfo("Europe/Berlin")
    clock = TurnableClock(datetime(2026, 10, 31, 23, 59, 50, tzinfo=zone).timestamp())
    ledger = open_ledger(tmp_path, clock=clock, zone=zone)
    take(intake_of(ledger, clock=clock), [GOOD | {"timestamp": "2026-10-31T23:59:00+01:00"}])
    assert _shown(ledger) == {"today": (1, 110), "yesterday": (0, 0), "month": (1, 110)}
    clock.advance(20)
    assert _shown(ledger) == {"today": (0, 0), "yesterday": (1, 110), "month": (0, 0)}
    began = {period: datetime.fromtimestamp(ms / 1000, zone) for period, ms in ledger.periods.current.starts.items()}
    assert {period: str(moment) for period, moment in began.items()} == {
        "today": "2026-11-01 00:00:00+01:00",
        "yesterday": "2026-10-31 00:00:00+01:00",
        "month": "2026-11-01 00:00:00+01:00",
    }
    ledger.close()


@pytest.mark.parametrize(
    ("now", "dated", "in_month"),
    [
        ("2026-10-15T12:00", "2026-10-16T00:10", 2),
        ("2026-10-31T12:00", "2026-11-01T00:00", 1),
        ("2026-12-30T12:00", "2026-12-31T23:50", 2),
        ("2026-12-31T12:00", "2027-01-01T00:10", 1),
    ],
)
def test_a_record_dated_into_a_later_day_counts_in_its_month(
    tmp_path: Path, now: str, dated: str, in_month: int
) -> None:
    zone = ZoneInfo("Europe/Berlin")
    clock = TurnableClock(datetime.fromisoformat(now).replace(tzinfo=zone).timestamp())
    ledger = open_ledger(tmp_path, clock=clock, zone=zone)
    moments = [datetime.fromisoformat(moment).replace(tzinfo=zone).isoformat() for moment in (now, dated)]
    take(intake_of(ledger, clock=clock), [GOOD | {"timestamp": moment} for moment in moments])
    assert _shown(ledger) == {"today": (1, 110), "yesterday": (0, 0), "month": (in_month, 110 * in_month)}
    start_ms, end_ms = calendar_window(Strategy.MONTHLY, int(clock.now() * 1000), zone)
    with ledger.windows.look() as look:
        used = look.sums(start_ms, end_ms)
    assert sum(requests for requests, _, _ in used.values()) == in_month, "a monthly limit counts the same"
    ledger.close()


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("America/Santiago", "2026-09-06", 23),
        ("America/Santiago", "2026-04-04", 25),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("Pacific/Apia", "2011-12-29", 24),
        ("UTC", "2026-03-29", 24),
    ],
)
def test_days_have_their_real_length(zone: str, day: str, hours: float) -> None:
    date, where = datetime.fromisoformat(day).date(), ZoneInfo(zone)
    start, end = day_start_ms(date, where), day_start_ms(next_day(date), where)
    assert (end - start) / 3_600_000 == hours
    assert local_date(start, where) == date
    assert local_date(end - 1, where) == date
    assert local_date(start - 1, where) < date
