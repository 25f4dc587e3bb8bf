"""What all tests share: their order, the place of their files, their ledgers, and how signals are handled."""

import gc
import os
import signal
import ssl
import tempfile
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import certifi
import pytest
from hypothesis import HealthCheck, settings

from exporter.ledger.database import Database
from tests.benches.copied_ledgers import copied_ledgers

# Slow files start early, the slowest first, so that none of them is left running alone at the end.
LONGEST_FIRST = (
    "integration/test_kill.py",
    "integration/test_notification.py",
    "integration/test_quotas.py",
    "integration/test_scale.py",
    "integration/test_dashboards.py",
    "integration/test_bad_servers.py",
    "unit/test_cli.py",
    "integration/test_page_browser.py",
    "integration/supabase/test_restore.py",
    "integration/test_leaks.py",
    "integration/test_names.py",
    "integration/sources/test_usage_subscription.py",
    "integration/test_usage_browser.py",
    "integration/test_limits_command.py",
    "integration/monitoring/test_rules.py",
    "integration/test_cut_answers.py",
    "integration/supabase/test_faults.py",
    "integration/test_stop.py",
    "unit/jobs/test_scheduler.py",
    "integration/monitoring/test_alertmanager.py",
    "integration/supabase/test_history.py",
    "integration/test_reload.py",
    "integration/supabase/test_moved_proxies.py",
    "integration/test_increase.py",
    "integration/test_process.py",
    "integration/supabase/test_check.py",
    "integration/test_promises.py",
    "unit/ledger/store/test_inventory.py",
    "integration/test_upgrade.py",
    "integration/test_prices.py",
    "integration/supabase/test_migrations.py",
    "unit/ingest/test_snapshot_recordings.py",
    "integration/test_source_change.py",
    "unit/usage/test_report.py",
    "integration/test_losses.py",
    "integration/test_data_directory.py",
    "unit/ledger/test_database.py",
    "integration/supabase/test_history_trouble.py",
    "unit/ingest/test_snapshot_random_losses.py",
    "unit/limits/test_evaluate.py",
    "integration/test_scrape.py",
    "integration/supabase/test_booking.py",
    "integration/supabase/test_limits.py",
    "integration/test_damage.py",
    "unit/metrics/test_exposition_several_scrapers.py",
    "integration/test_import.py",
)

_MEMORY = Path("/dev/shm")  # noqa: S108 - each test has its own folder below it
_ENOUGH_BYTES = (5 + 3 * (os.cpu_count() or 1)) * 2**28
"""A quarter of a GiB for each test process with its PostgreSQL server, see ``scripts/check``; 1 GiB for the rest."""


def _may_use_memory() -> bool:
    """Whether the machine has a large enough file system in memory, and ``TMPDIR`` names no other place."""
    if "TMPDIR" in os.environ or not os.access(_MEMORY, os.W_OK):
        return False
    about = os.statvfs(_MEMORY)
    return about.f_bavail * about.f_frsize >= _ENOUGH_BYTES and not about.f_flag & os.ST_NOEXEC


if _may_use_memory():  # Syncing thousands of ledgers to a disk takes longer than everything else in the tests.
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    slow = {here / name: 0.85 * place / len(LONGEST_FIRST) for place, name in enumerate(LONGEST_FIRST)}
    # The others go between them, because most of the slow ones wait, and the cores are there for all.
    others = sorted({item.path for item in items} - slow.keys(), key=lambda path: (path.name, path))
    places = slow | {path: place / len(others) for place, path in enumerate(others)}
    items.sort(key=lambda item: places[item.path])


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Without garbage collection: modules and tests live until the end, so it need not look at them, then or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(5_000)  # seven times the usual number: a test leaves little behind
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _ledgers_are_copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with copied_ledgers(tmp_path_factory.mktemp("ledger")):
        yield


@pytest.fixture(scope="session", autouse=True)
def _dropped_ledgers_are_closed() -> Iterator[None]:
    """From Python 3.13 on, a connection that nobody closed is a warning."""

    def close(dropped: Database) -> None:
        if "_connection" in vars(dropped):  # else it could not be opened
            dropped.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "__del__", close, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _authorities_are_read_once() -> Iterator[None]:
    """Not by each client of httpx, which takes longer than most requests to a server in the same process."""
    create, usual = ssl.create_default_context, {certifi.where(), os.environ.get("SSL_CERT_FILE")}
    made = cache(create)

    def create_or_share(*args: Any, **options: Any) -> ssl.SSLContext:
        is_usual = not args and options.keys() == {"cafile"} and options["cafile"] in usual
        return made(**options) if is_usual else create(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", create_or_share)
        yield


# A busy machine may take long for an example, or for making one up.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

# Otherwise the programs that tests start would ignore it, too, after "nohup make test".
signal.signal(signal.SIGHUP, signal.SIG_DFL)
