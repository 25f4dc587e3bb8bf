"""The sums of days are made once, forgotten with any change to their day, and never left out of step with a booking."""

import random
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from exporter.ledger.columns import ROLLUP
from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.ledger.schema import BUCKET_MS
from exporter.ledger.store.booking import add_rollups
from tests.benches.usage import UsageBench, usage_bench

_ZONE = ZoneInfo("Europe/Berlin")
_NOON = datetime(2026, 10, 27, 12, 0, tzinfo=_ZONE)


@pytest.fixture
def bench(tmp_path: Path) -> UsageBench:
    return usage_bench(tmp_path, now=_NOON.timestamp(), zone=_ZONE)


def _book(bench: UsageBench, *texts: str) -> None:
    draw = random.Random(1)
    times = [datetime.fromisoformat(text).replace(tzinfo=_ZONE).timestamp() for text in texts]
    bench.book(*(bench.record(int(at * 1000), draw) for at in times))


def _summed(ledger: Ledger) -> dict[str, float]:
    """The days that have sums, each with its number of hours."""
    with ledger.reading() as connection:
        rows = connection.execute("select day, until_bucket from summed_day order by day").fetchall()
    days = {day: datetime.fromtimestamp(day * BUCKET_MS / 1000, UTC).astimezone(_ZONE) for day, _ in rows}
    return {f"{days[day]:%m-%d %H:%M}": (until - day) / 4 for day, until in rows}


def test_days_of_25_hours_are_whole_and_the_running_one_ends_an_hour_ago(bench: UsageBench) -> None:
    _book(bench, "2026-10-20T05:00", "2026-10-25T05:00", "2026-10-27T05:00")
    bench.ledger.days.refresh()

    assert _summed(bench.ledger) == {"10-20 00:00": 24, "10-25 00:00": 25, "10-27 00:00": 11}


def test_the_running_day_grows_and_keeps_its_earlier_hours(bench: UsageBench) -> None:
    _book(bench, "2026-10-27T05:00")
    bench.ledger.days.refresh()
    _book(bench, "2026-10-27T11:59")
    assert _summed(bench.ledger) == {"10-27 00:00": 11}, "what is booked in time disturbs no sums"
    bench.clock.advance(13 * 3600)
    bench.ledger.days.refresh()

    assert _summed(bench.ledger) == {"10-27 00:00": 24}
    with bench.ledger.reading() as connection:
        assert connection.execute("select sum(requests), sum(nano_usd) from day_rollup where series").fetchone() == (
            connection.execute("select sum(requests), sum(nano_usd) from rollup").fetchone()
        )


def test_a_late_record_removes_only_the_sums_of_its_day(bench: UsageBench) -> None:
    _book(bench, "2026-10-20T05:00", "2026-10-25T05:00", "2026-10-26T05:00")
    bench.ledger.days.refresh()
    _book(bench, "2026-10-25T23:59")

    assert _summed(bench.ledger) == {"10-20 00:00": 24, "10-26 00:00": 24}
    bench.ledger.days.refresh()
    assert _summed(bench.ledger) == {"10-20 00:00": 24, "10-25 00:00": 25, "10-26 00:00": 24}


def test_a_restore_removes_all_sums(bench: UsageBench) -> None:
    _book(bench, "2026-10-20T05:00")
    bench.ledger.days.refresh()
    with bench.ledger._changes.changing("p") as change:
        add_rollups(change, [dict.fromkeys(ROLLUP, 1) | {"bucket": 100, "basis": 0, "billing": 0}])

    assert _summed(bench.ledger) == {}


def test_a_ledger_that_was_not_closed_cleanly_sums_its_days_again(bench: UsageBench, tmp_path: Path) -> None:
    _book(bench, "2026-10-20T05:00")
    bench.ledger.days.refresh()
    with bench.ledger._database.transaction() as connection:
        connection.execute("update day_rollup set nano_usd = nano_usd + 1")  # a disk that lies
    bench.ledger.close()
    after = Ledger(tmp_path / FILE_NAME, clock=bench.clock, zone=_ZONE, alone=True)

    assert _summed(after) == {}
    after.days.refresh()
    with after.reading() as connection:
        assert connection.execute("select sum(nano_usd) from day_rollup where series").fetchone() == (
            connection.execute("select sum(nano_usd) from rollup").fetchone()
        )
    after.close()


def test_a_stop_ends_the_summing_between_two_days(bench: UsageBench) -> None:
    _book(bench, *(f"2026-10-{day}T05:00" for day in range(10, 20)))
    answers = iter([False, False, True])
    bench.ledger.days.refresh(lambda: next(answers))

    assert _summed(bench.ledger) == {"10-10 00:00": 24, "10-11 00:00": 24}


def test_a_record_of_1970_costs_only_one_day(bench: UsageBench) -> None:
    _book(bench, "1970-01-05T00:00", "2026-10-20T05:00")
    bench.ledger.days.refresh()

    assert _summed(bench.ledger) == {"01-05 00:00": 24, "10-20 00:00": 24}
