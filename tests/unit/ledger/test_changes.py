"""Memory follows the file, even if two threads write about one proxy."""

import threading
from pathlib import Path

import pytest

from exporter.ledger.changes import Change, Changes
from exporter.ledger.views.totals import Flow
from tests.benches.booking import GOOD, intake_of, open_ledger, take
from tests.stack.waiting import PATIENCE_SECONDS


def test_counts_do_not_fall_where_one_thread_is_slow_to_show_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = open_ledger(tmp_path)
    intake, follow = intake_of(ledger), Changes._follow
    is_on_disk, is_booked = threading.Event(), threading.Event()

    def follow_late(changes: Changes, change: Change, flow: Flow) -> None:
        if threading.current_thread() is threading.main_thread():
            is_on_disk.set()
            is_booked.wait(0.2)  # in vain if the other thread has to wait
        follow(changes, change, flow)

    def book() -> None:
        assert is_on_disk.wait(PATIENCE_SECONDS)
        take(intake, [GOOD])
        is_booked.set()

    monkeypatch.setattr(Changes, "_follow", follow_late)
    other = threading.Thread(target=book)
    other.start()
    ledger.losses.note_gap("p", seconds=None)
    other.join()

    assert (ledger.flow("p").received, ledger.flow("p").retention_gaps) == (1, 1)
