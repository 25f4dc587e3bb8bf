"""Readings from the future: a clock that was far ahead and is set back does not shut out what is read then."""

from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import pytest

from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.normalize.credentials import Account
from exporter.quotas.reading import ACCOUNT, Reading
from exporter.records import CredentialFacts
from tests.fakes.guarding import TurnableClock

_HOUR_MS = 3_600_000
_LENGTH_MS = {"5h": 5 * _HOUR_MS, "7d": 168 * _HOUR_MS}


class _Bench:
    def __init__(self, folder: Path) -> None:
        self.clock = TurnableClock()
        self._path = folder / FILE_NAME
        self._resets_ms = {window: self.clock.now_ms() + ms - _HOUR_MS for window, ms in _LENGTH_MS.items()}
        self.ledger = Ledger(self._path, clock=self.clock, zone=UTC)

    def restart(self) -> None:
        self.ledger.close()
        self.ledger = Ledger(self._path, clock=self.clock, zone=UTC)

    def read(self, shares: dict[str, float], *, ahead_ms: int = 0) -> None:
        """List the account with these windows, which were read at this moment of the exporter's clock."""
        self.ledger.quota_asks.follow_clock(self.clock.now_ms())  # as every few seconds
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

    def shares(self) -> dict[str, float]:
        return {window: quota.reading.used_ratio for (_, window, _), quota in self.ledger.quotas.current().items()}

    def newest_ms(self) -> int:
        return max(quota.reading.observed_ms for quota in self.ledger.quotas.current().values())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[_Bench]:
    bench = _Bench(tmp_path)
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
    points = bench.ledger.quotas.points(from_ms=0, until_ms=2**60)

    assert [[point.used_ratio for point in some] for some in points.values()] == [[0.2]]


def test_a_provider_whose_clock_is_some_minutes_ahead_is_believed(bench: _Bench) -> None:
    bench.read({"5h": 0.5}, ahead_ms=299_000)
    bench.read({"5h": 0.4})

    assert bench.shares() == {"5h": 0.5}
