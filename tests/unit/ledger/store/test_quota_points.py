"""Past readings: a few well-chosen ones, kept when credentials merge; changes of capacity are counted once."""

from collections.abc import Iterator, Mapping
from datetime import UTC
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec.structs import replace

from exporter.ledger.credential_store import Credential
from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.ledger.store.quota_points import LONGEST_MS, MOST_POINTS, STEP, CapacityChanges, QuotaKey, QuotaPoint
from exporter.quotas.reading import MAX_WINDOWS, Reading
from tests.fakes.guarding import TurnableClock

_HOUR_MS = 3_600_000
_START_MS = 1_800_000_000_000
_KEY: QuotaKey = (1, "5h", "")


class _Bench:
    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(folder / FILE_NAME, clock=TurnableClock(), zone=UTC)

    def note(
        self, at_ms: int, used_ratio: float, resets_ms: int, *, credential: int = 1, window: str = "5h", scope: str = ""
    ) -> None:
        seconds = {"5h": 5, "7d": 168}[window] * 3600
        reading = Reading(window, scope, seconds, used_ratio, resets_ms, "", at_ms, False, "header")
        with self.ledger._database.transaction() as connection:
            noted = self.ledger.quotas.note(connection, [(credential, reading)], now_ms=at_ms)
        self.ledger.quotas.take_over(noted)

    def shares(self, key: QuotaKey = _KEY) -> list[float]:
        return [point.used_ratio for point in self.points().get(key, [])]

    def points(self) -> Mapping[QuotaKey, list[QuotaPoint]]:
        return self.ledger.quota_points.points(from_ms=0, until_ms=2**60)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[_Bench]:
    bench = _Bench(tmp_path)
    yield bench
    bench.ledger.close()


def test_the_first_and_the_last_reading_stay_and_one_for_each_step_between(bench: _Bench) -> None:
    resets_ms = _START_MS + 5 * _HOUR_MS
    for minute in range(1, 100):
        bench.note(_START_MS + minute * 60_000, minute / 1000, resets_ms)
    shares = bench.shares()

    assert (shares[0], shares[-1]) == (0.001, 0.099)
    assert len(shares) == pytest.approx(0.1 / STEP, abs=2)
    assert all(STEP - 0.002 < after - before < STEP + 0.002 for before, after in pairwise(shares[:-1]))


def test_each_window_keeps_its_ends(bench: _Bench) -> None:
    for window in range(3):
        for minute in range(10):
            at_ms = _START_MS + window * 5 * _HOUR_MS + minute * 60_000
            bench.note(at_ms, 0.3 + minute / 1000, _START_MS + (window + 1) * 5 * _HOUR_MS)

    assert bench.shares() == [0.3, 0.309] * 3


def test_a_fall_is_kept(bench: _Bench) -> None:
    for minute, share in enumerate((0.3, 0.31, 0.1, 0.105)):
        bench.note(_START_MS + minute * 60_000, share, _START_MS + 5 * _HOUR_MS)

    assert bench.shares() == [0.3, 0.31, 0.1, 0.105]


def test_a_late_and_a_repeated_reading_leave_no_point(bench: _Bench) -> None:
    resets_ms = _START_MS + 5 * _HOUR_MS
    bench.note(_START_MS, 0.3, resets_ms)
    bench.note(_START_MS + 60_000, 0.4, resets_ms)
    before = bench.points()
    bench.note(_START_MS + 30_000, 0.35, resets_ms)
    bench.note(_START_MS + 60_000, 0.4, resets_ms)

    assert bench.points() == before


def test_points_are_bounded_in_number_and_age(bench: _Bench) -> None:
    for number in range(MOST_POINTS + 20):
        bench.note(_START_MS + number * _HOUR_MS, 0.5, _START_MS + number * _HOUR_MS + 60_000 * 60)
    assert len(bench.shares()) == MOST_POINTS
    later_ms = _START_MS + LONGEST_MS + (MOST_POINTS + 10) * _HOUR_MS
    bench.note(later_ms, 0.7, later_ms + _HOUR_MS)
    assert bench.shares() == [*[0.5] * 10, 0.7]


def test_a_window_that_makes_room_takes_its_points_along(bench: _Bench) -> None:
    for number in range(MAX_WINDOWS):
        bench.note(_START_MS, 0.5, _START_MS + _HOUR_MS, scope=f"s{number}")
    bench.note(_START_MS + 2 * _HOUR_MS, 0.5, _START_MS + 5 * _HOUR_MS, scope="new")

    assert bench.points().keys() == {(1, "5h", "new")}


def test_points_and_changes_continue_with_the_account_into_which_a_login_is_merged(bench: _Bench) -> None:
    resets_ms = _START_MS + 5 * _HOUR_MS
    for credential in (1, 2):
        for minute in range(3):
            at_ms = _START_MS + (10 * credential + minute) * 60_000
            bench.note(at_ms, credential / 10 + minute * STEP, resets_ms, credential=credential)
        since_ms = _START_MS + (10 * credential + 1) * 60_000
        bench.ledger.quota_points.note_change((credential, "5h", ""), since_ms=since_ms, shrank=True)
    bench.ledger.name_store.credentials = {
        1: Credential(id=1, proxy=1, long_name="codex-1"),
        2: Credential(id=2, proxy=1, long_name="codex-2", merged_into=1),
    }
    with bench.ledger._database.transaction() as connection:
        bench.ledger.quotas.join(connection)

    assert bench.shares() == pytest.approx([0.1 + STEP, 0.1 + 2 * STEP, 0.2 + STEP, 0.2 + 2 * STEP])
    assert bench.ledger.quota_points.changes() == {_KEY: CapacityChanges(shrank=2, grew=0)}


def test_a_change_is_counted_once_and_forgets_earlier_points(bench: _Bench) -> None:
    for minute in range(4):
        bench.note(_START_MS + minute * 60_000, 0.1 + minute * STEP, _START_MS + 5 * _HOUR_MS)
    for _ in range(2):
        bench.ledger.quota_points.note_change(_KEY, since_ms=_START_MS + 2 * 60_000, shrank=False)

    assert bench.shares() == pytest.approx([0.1 + 2 * STEP, 0.1 + 3 * STEP])
    assert bench.ledger.quota_points.changes() == {_KEY: CapacityChanges(shrank=0, grew=1)}


def test_a_merge_of_two_logins_forgets_no_window_that_another_account_lacks_for_now(bench: _Bench) -> None:
    ledger = bench.ledger
    ledger.name_store.credentials = {
        1: Credential(id=1, proxy=1, long_name="codex-1", provider="codex"),
        2: Credential(id=2, proxy=1, long_name="codex-2", provider="codex"),
        3: Credential(id=3, proxy=1, long_name="codex-3", provider="codex"),
    }
    resets_ms = _START_MS + 100 * _HOUR_MS
    for minute, used_ratio in enumerate((0.8, 0.1, 0.1)):
        bench.note(_START_MS + minute * 60_000, used_ratio, resets_ms, window="7d")
    bench.note(_START_MS + 2 * _HOUR_MS, 0.1, _START_MS + 5 * _HOUR_MS)
    assert (1, "7d", "") not in ledger.quotas.current()
    bench.note(_START_MS, 0.1, resets_ms, credential=3)

    ledger.name_store.credentials[3] = replace(ledger.name_store.credentials[3], merged_into=2)
    with ledger._database.transaction() as connection:
        ledger.quotas.join(connection)
    bench.note(_START_MS + 3 * _HOUR_MS, 0.2, resets_ms, window="7d")

    assert ledger.quotas.current()[1, "7d", ""].early_resets == 1
