"""The demo's past: a month that is there from the start, booked once, in periods and reports but not in counters."""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from exporter.commands.demo_past import DAYS, RECORDS, book_demo_past
from exporter.errors import LedgerLockedError
from exporter.ledger.database import FILE_NAME, DataDirectoryLock
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.limits.board import LimitBoard
from exporter.settings.model import Settings
from exporter.settings.proxies import ProxySettings
from exporter.simulator.world import SHOWN, demo_aliases
from exporter.wiring import Parts
from tests.fakes.guarding import TurnableClock
from tests.fakes.planted import secrets

_DAY_MS = 86_400_000
ALL = RECORDS + 3 * 480 - 2
"""The general traffic, and a job every 3 minutes for three days, without the last five minutes."""


@pytest.fixture
def clock() -> TurnableClock:
    return TurnableClock()


def _settings(folder: Path) -> Settings:
    proxy = ProxySettings(name="demo", url="http://127.0.0.1:9", management_key=SecretStr("unused"))
    return Settings(proxies=(proxy,), exporter_data_dir=folder, exporter_prices_refresh=False)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return _settings(tmp_path)


@pytest.fixture(scope="module")
def _booked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("booked")
    assert book_demo_past(_settings(folder), TurnableClock()) == ALL
    return folder


@pytest.fixture
def past(settings: Settings, _booked: Path) -> Settings:
    """Settings whose data directory got the past when the clock began."""
    shutil.copytree(_booked, settings.exporter_data_dir, dirs_exist_ok=True)
    return settings


@contextmanager
def _ledger(settings: Settings, clock: TurnableClock) -> Iterator[Ledger]:
    ledger = Parts(settings, clock).ledger
    try:
        yield ledger
    finally:
        ledger.close()


def test_each_of_the_thirty_days_has_requests_before_a_proxy_answers(past: Settings, clock: TurnableClock) -> None:
    now_ms = int(clock.now() * 1000)

    with _ledger(past, clock) as ledger, ledger.reading() as connection:
        moments = [row[0] for row in connection.execute("select ts_ms from entry")]
        days = Counter((now_ms - moment) // _DAY_MS for moment in moments)
        assert sorted(days) == list(range(DAYS))
        assert min(days.values()) > 0.6 * RECORDS / DAYS
        assert max(moments) < now_ms


def test_the_past_is_in_no_counter_and_uses_each_account(past: Settings, clock: TurnableClock) -> None:
    with _ledger(past, clock) as ledger:
        assert (ledger.totals.series, ledger.flow("demo").backfilled) == ({}, ALL)
        used = [each for each in SHOWN if each.share or each.trouble == "shrinks"]
        assert len({series.credential for series in ledger.name_store.series.values()}) == len(used)
    stored = (past.exporter_data_dir / FILE_NAME).read_bytes()
    assert [secret for secret in secrets() if secret.encode() in stored] == []


def test_the_past_shows_what_windows_are_worth_and_that_a_limit_shrank(past: Settings, clock: TurnableClock) -> None:
    _check_worth(past, clock)


def test_at_another_hour_the_past_shows_the_same_without_a_warning(settings: Settings, clock: TurnableClock) -> None:
    clock.advance(3600 * 30)
    with capture_logs() as logged:
        book_demo_past(settings, clock)
    _check_worth(settings, clock)
    assert [each for each in logged if each["log_level"] == "warning"] == [], "nothing of it is news"


def _check_worth(settings: Settings, clock: TurnableClock) -> None:
    with _ledger(settings, clock) as ledger:
        board = LimitBoard(ledger=ledger, shown_names=ShownNames(ledger.name_store, demo_aliases(), str), clock=clock)
        board.refresh()
        worth = {window.window: each for window, each in board.current.worth.items() if each.usd is not None}
        assert worth.keys() == {"5h", "7d"}
        assert worth["5h"].changes.shrank >= 1


def test_a_second_start_adds_nothing(past: Settings, clock: TurnableClock) -> None:
    clock.advance(3600)

    assert book_demo_past(past, clock) == 0
    with _ledger(past, clock) as ledger:
        assert ledger.totals.entries == ALL


def test_a_directory_in_use_is_left_alone(settings: Settings, clock: TurnableClock) -> None:
    lock = DataDirectoryLock(settings.exporter_data_dir)
    with pytest.raises(LedgerLockedError):
        book_demo_past(settings, clock)
    lock.release()
