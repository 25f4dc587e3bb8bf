"""The demo's past: a month that is there at once, once, in periods and reports but not in the counters."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from exporter.commands.demo_past import DAYS, RECORDS, book_demo_past
from exporter.errors import LedgerLockedError
from exporter.ledger.database import FILE_NAME, DataDirectoryLock
from exporter.ledger.ledger import Ledger
from exporter.opening import open_ledger
from exporter.settings.model import Settings
from exporter.settings.proxies import ProxySettings
from exporter.simulator.world import CREDENTIALS, secrets
from tests.fakes.guarding import TurnableClock

_DAY_MS = 86_400_000


@pytest.fixture
def clock() -> TurnableClock:
    return TurnableClock()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    proxy = ProxySettings(name="demo", url="http://127.0.0.1:9", management_key=SecretStr("unused"))
    return Settings(proxies=(proxy,), exporter_data_dir=tmp_path, exporter_prices_refresh=False)


@contextmanager
def _ledger(settings: Settings, clock: TurnableClock) -> Iterator[Ledger]:
    ledger = open_ledger(settings, clock)
    try:
        yield ledger
    finally:
        ledger.close()


def test_each_of_the_thirty_days_has_requests_before_a_proxy_answers(settings: Settings, clock: TurnableClock) -> None:
    now_ms = int(clock.now() * 1000)

    assert book_demo_past(settings, clock) == RECORDS

    with _ledger(settings, clock) as ledger, ledger.reading() as connection:
        moments = [row[0] for row in connection.execute("select ts_ms from entry")]
        days = Counter((now_ms - moment) // _DAY_MS for moment in moments)
        assert sorted(days) == list(range(DAYS))
        assert min(days.values()) > 0.6 * RECORDS / DAYS
        assert max(moments) < now_ms


def test_the_past_is_none_of_the_counters_and_knows_each_account(settings: Settings, clock: TurnableClock) -> None:
    book_demo_past(settings, clock)

    with _ledger(settings, clock) as ledger:
        assert (ledger.totals.series, ledger.flow("demo").backfilled) == ({}, RECORDS)
        assert len({series.credential for series in ledger.dictionary.series.values()}) == len(CREDENTIALS)
    stored = (settings.exporter_data_dir / FILE_NAME).read_bytes()
    assert [secret for secret in secrets() if secret.encode() in stored] == []


def test_a_second_start_adds_nothing(settings: Settings, clock: TurnableClock) -> None:
    book_demo_past(settings, clock)
    clock.advance(3600)

    assert book_demo_past(settings, clock) == 0
    with _ledger(settings, clock) as ledger:
        assert ledger.totals.entries == RECORDS


def test_a_directory_in_use_is_left_alone(settings: Settings, clock: TurnableClock) -> None:
    lock = DataDirectoryLock(settings.exporter_data_dir)
    with pytest.raises(LedgerLockedError):
        book_demo_past(settings, clock)
    lock.release()
