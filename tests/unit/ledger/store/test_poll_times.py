"""The time of a proxy's last poll, after an end of any kind."""

from pathlib import Path

import pytest

from exporter.ledger.database import FILE_NAME
from tests.benches.booking import GOOD, flow_of, intake_of, open_ledger, take
from tests.fakes.guarding import TurnableClock

_FIRST_MS = 1_795_000_000_000


def _after_a_kill(folder: Path) -> int | None:
    """The time that the next process knows."""
    ledger = open_ledger(folder)
    ledger.register("p")
    return flow_of(ledger).last_success_ms


def test_a_killed_process_leaves_the_time_of_its_last_idle_poll(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for proxy in ("other", "p"):
        ledger.register(proxy)
        assert flow_of(ledger, proxy).last_success_ms is None
    for poll in range(10):
        ledger.polled("p", at_ms=_FIRST_MS + poll * 15_000, store_every_ms=6000)
    assert _after_a_kill(tmp_path) == _FIRST_MS + 135_000
    assert flow_of(ledger, "other").last_success_ms is None


def test_the_time_on_disk_is_no_older_than_the_interval_allows(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.register("p")
    for poll in range(10):
        ledger.polled("p", at_ms=_FIRST_MS + poll * 15_000, store_every_ms=60_000)
    assert _after_a_kill(tmp_path) == _FIRST_MS + 120_000
    assert flow_of(ledger).last_success_ms == _FIRST_MS + 135_000


def test_a_poll_that_was_killed_after_its_booking_does_not_count_as_a_success(tmp_path: Path) -> None:
    clock = TurnableClock()
    ledger = open_ledger(tmp_path, clock=clock)
    ledger.register("p")
    ledger.polled("p", at_ms=int(clock.now() * 1000))
    before_ms = int(clock.now() * 1000)
    clock.advance(3600)
    take(intake_of(ledger, clock=clock), [GOOD])
    assert flow_of(ledger).last_success_ms == before_ms, "so that the poll can still tell how long nobody had read it"
    assert _after_a_kill(tmp_path) == before_ms


@pytest.mark.parametrize("how", ["booking", "clean end"])
def test_a_ledger_without_the_file_has_the_last_time_before_a_booking_or_a_clean_end(tmp_path: Path, how: str) -> None:
    ledger = open_ledger(tmp_path)
    ledger.register("p")
    for poll in range(10):
        ledger.polled("p", at_ms=_FIRST_MS + poll * 60_000)
    if how == "booking":
        take(intake_of(ledger), [GOOD])
    else:
        ledger.polled("p", at_ms=_FIRST_MS + 9 * 60_000, store_every_ms=0)
    (tmp_path / f"{FILE_NAME}-polls").unlink()
    assert _after_a_kill(tmp_path) == _FIRST_MS + 540_000


def test_a_clock_that_was_set_back_is_believed(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.register("p")
    ledger.polled("p", at_ms=_FIRST_MS)
    ledger.polled("p", at_ms=_FIRST_MS - 86_400_000)
    assert _after_a_kill(tmp_path) == _FIRST_MS - 86_400_000


def test_the_file_of_another_ledger_is_ignored(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.register("p")
    for poll in range(3):
        ledger.polled("p", at_ms=_FIRST_MS + poll * 60_000)
    ledger.close()
    (tmp_path / FILE_NAME).unlink()
    assert _after_a_kill(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"\xff", b"\xff" * 7])
def test_a_truncated_file_is_ignored(tmp_path: Path, content: bytes) -> None:
    ledger = open_ledger(tmp_path)
    ledger.register("p")
    ledger.polled("p", at_ms=_FIRST_MS)
    ledger.polled("p", at_ms=_FIRST_MS + 60_000)
    file = tmp_path / f"{FILE_NAME}-polls"
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_bytes(content)
    assert _after_a_kill(tmp_path) == _FIRST_MS
