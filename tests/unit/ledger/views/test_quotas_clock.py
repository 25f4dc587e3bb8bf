"""Readings from the future: a clock that was far ahead and is set back does not shut out what is read then."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC
from pathlib import Path

import pytest

from exporter.errors import LedgerFullError
from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.normalize.inventory import Account
from exporter.quotas.reading import ACCOUNT, Reading
from exporter.records import CredentialFacts
from tests.fakes.full_disk import FullDisk
from tests.fakes.guarding import TurnableClock

_HOUR_MS = 3_600_000
_LENGTH_MS = {"5h": 5 * _HOUR_MS, "7d": 168 * _HOUR_MS}


class _Bench:
    def __init__(self, folder: Path, *, follows: bool) -> None:
        """``follows``: the exporter looks at its clock between setting it back and the next reading."""
        self.clock = TurnableClock()
        self._follows = follows
        self._path = folder / FILE_NAME
        self._resets_ms = {window: self.clock.now_ms() + ms - _HOUR_MS for window, ms in _LENGTH_MS.items()}
        self.ledger = Ledger(self._path, clock=self.clock, zone=UTC)

    def restart(self) -> None:
        self.ledger.close()
        self.ledger = Ledger(self._path, clock=self.clock, zone=UTC)

    def read(self, shares: dict[str, float], *, ahead_ms: int = 0) -> None:
        """List the account with these windows, which were read at this moment of the exporter's clock."""
        if self._follows:
            self.follow_clock()
        at_ms = self.clock.now_ms() + ahead_ms
        readings = [
            Reading(
                window,
                "",
                _LENGTH_MS.get(window, 0) // 1000 or None,
                share,
                self._resets_ms.get(window, at_ms),
                "",
                at_ms,
                inferred=False,
                source="auth_files",
            )
            for window, share in shares.items()
        ]
        account = Account(
            facts=CredentialFacts(provider="claude"),
            identity=("file", "f"),
            auth_index="7",
            auth_type="oauth",
            readings=tuple(readings),
        )
        self.ledger.take_inventory("p", [account])

    def follow_clock(self) -> None:
        """As the exporter does every few seconds."""
        self.ledger.quota_asks.follow_clock(self.clock.now_ms())

    def shares(self) -> dict[str, float]:
        return {window: quota.reading.used_ratio for (_, window, _), quota in self.ledger.quotas.current().items()}

    def points(self) -> list[float]:
        """The shares of all points."""
        points = self.ledger.quota_points.points(from_ms=0, until_ms=2**60)
        return [point.used_ratio for some in points.values() for point in some]

    def newest_ms(self) -> int:
        return max(quota.reading.observed_ms for quota in self.ledger.quotas.current().values())


@pytest.fixture(params=[True, False], ids=["followed", "read at once"])
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[_Bench]:
    bench = _Bench(tmp_path, follows=request.param)
    yield bench
    bench.ledger.close()


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("ahead_seconds", [3_600, 3 * 86_400])
def test_what_is_read_after_the_clock_was_set_back_counts(bench: _Bench, ahead_seconds: int, restarts: bool) -> None:
    bench.clock.jump(ahead_seconds)
    bench.read({"5h": 0.1, "7d": 0.7})
    bench.clock.jump(60 - ahead_seconds)
    if restarts:
        bench.restart()
    bench.read({"5h": 0.2})

    assert bench.shares() == {"5h": 0.2, "7d": 0.7}
    assert bench.newest_ms() <= bench.clock.now_ms()
    assert {quota.early_resets for quota in bench.ledger.quotas.current().values()} == {0}


def test_the_order_of_readings_from_the_future_stays(bench: _Bench) -> None:
    bench.clock.jump(86_400)
    bench.read({ACCOUNT: 1.0})
    bench.clock.jump(60)
    bench.read({"5h": 0.1})
    bench.clock.jump(-86_400)
    bench.read({})

    assert bench.shares() == {"5h": 0.1}


def test_a_refusal_from_the_future_is_over_once_a_window_is_read(bench: _Bench) -> None:
    bench.read({"5h": 0.5})
    bench.clock.jump(86_400)
    bench.read({ACCOUNT: 1.0})
    bench.clock.jump(60 - 86_400)
    bench.read({"5h": 0.6})

    assert bench.shares() == {"5h": 0.6}


def test_points_from_the_future_are_forgotten(bench: _Bench) -> None:
    bench.clock.jump(3_600)
    bench.read({"5h": 0.1})
    bench.clock.jump(60 - 3_600)
    bench.read({"5h": 0.2})

    assert bench.points() == [0.2]


def test_an_old_reading_does_not_win_because_the_clock_was_ahead(bench: _Bench) -> None:
    bench.clock.jump(86_400)
    bench.read({"5h": 0.9})
    bench.clock.jump(-86_400)
    bench.read({"5h": 0.2}, ahead_ms=-3 * _HOUR_MS)

    assert bench.shares() == {"5h": 0.9}


def test_a_machine_that_does_not_know_the_time_yet_forgets_nothing(bench: _Bench) -> None:
    """One without a battery for its clock begins in 1970, until it has asked the network."""
    bench.read({"5h": 0.1})
    known_ms, since_1970 = bench.newest_ms(), int(bench.clock.now())
    bench.clock.jump(-since_1970)
    bench.read({"5h": 0.0})
    bench.clock.jump(since_1970 + 60)

    assert (bench.shares(), bench.points(), bench.newest_ms()) == ({"5h": 0.1}, [0.1], known_ms)
    bench.read({"5h": 0.2})
    assert (bench.shares(), bench.points()) == ({"5h": 0.2}, [0.1, 0.2])


@pytest.mark.parametrize("step", range(5))
def test_what_a_full_disk_does_not_take_is_dated_back_later(bench: _Bench, step: int) -> None:
    bench.clock.jump(3_600)
    bench.read({"5h": 0.1})
    bench.clock.jump(-3_600)
    database = bench.ledger._database
    real = database._connection
    database._connection = FullDisk(real, step, lasting=True)  # type: ignore[assignment]
    with suppress(LedgerFullError):
        bench.follow_clock()
    database._connection = real
    bench.follow_clock()

    assert bench.points() == []
    bench.restart()
    assert bench.newest_ms() == bench.clock.now_ms() - _HOUR_MS


def test_a_provider_whose_clock_is_some_minutes_ahead_is_believed(bench: _Bench) -> None:
    bench.read({"5h": 0.5}, ahead_ms=299_000)
    bench.read({"5h": 0.4})

    assert bench.shares() == {"5h": 0.5}
