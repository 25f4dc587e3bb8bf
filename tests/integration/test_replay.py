"""``replay``: rejected records are tried again and booked exactly once."""

import subprocess
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC
from pathlib import Path

import msgspec
import pytest

from exporter.clock import Clock
from exporter.ingest.parts import IngestParts
from exporter.ingest.queue import QueueIngest
from exporter.ledger.database import FILE_NAME, DataDirectoryLock
from exporter.ledger.ledger import Ledger
from exporter.ledger.views.totals import Flow
from exporter.normalize.pseudonyms import Pseudonyms
from exporter.pricing.lookup import NO_PRICES
from exporter.pricing.pricer import Pricer
from tests.stack.running import run_command

_GOOD = {"timestamp": "2026-10-01T12:00:00Z", "provider": "claude", "model": "m", "auth_type": "oauth"}
_KEPT: Sequence[object] = [
    _GOOD | {"tokens": {"input_tokens": 1.5}},  # does not fit
    _GOOD | {"timestamp": "yesterday"},
]
_NOT_KEPT = "no object"


def _open(path: Path) -> Ledger:
    return Ledger(path / FILE_NAME, clock=Clock(), zone=UTC)


def _intake(ledger: Ledger) -> QueueIngest:
    return QueueIngest(
        "p", IngestParts(ledger=ledger, pricer=Pricer(NO_PRICES), pseudonym=Pseudonyms(b"k").of, clock=Clock())
    )


def _flow(ledger: Ledger) -> Flow:
    return ledger.totals.flows[ledger.name_store.proxies["p"]]


def _balanced(flow: Flow) -> bool:
    out = flow.booked + flow.duplicate + sum(flow.rejected.values()) + flow.pending
    return flow.received + flow.replayed == out


@pytest.fixture
def rejecting(tmp_path: Path) -> Path:
    """A data directory whose ledger rejected three records and booked one."""
    ledger = _open(tmp_path)
    _intake(ledger).take(msgspec.json.encode([_GOOD, *_KEPT, _NOT_KEPT]))
    assert _flow(ledger).rejected == {"malformed_record": 1, "bad_timestamp": 1, "not_an_object": 1}
    ledger.close()
    return tmp_path


def _mend(data_dir: Path) -> None:
    """Repair the kept line, as if this version could read what an older one could not."""
    ledger = _open(data_dir)
    with ledger._database.transaction() as connection:
        connection.execute(
            "update rejected set line = cast(replace(line, '1.5', '7') as blob) where reason = 'malformed_record'",
        )
    ledger.close()


def _replay(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command("replay", *arguments, cwd=data_dir, EXPORTER_DATA_DIR=str(data_dir))


def test_without_a_running_exporter_it_books_at_once_and_only_once(rejecting: Path) -> None:
    _mend(rejecting)
    first = _replay(rejecting)
    assert first.returncode == 0, first.stderr
    assert "1 booked, 1 rejected again" in first.stdout

    ledger = _open(rejecting)
    flow = _flow(ledger)
    assert (flow.booked, flow.replayed, flow.backfilled, flow.pending) == (2, 2, 1, 0)
    assert flow.rejected == {"malformed_record": 1, "bad_timestamp": 2, "not_an_object": 1}
    assert _balanced(flow)
    with ledger.reading() as connection:
        assert connection.execute("select sum(uncached), count(*) from entry").fetchone() == (7, 2)
        assert connection.execute("select sum(uncached) from rollup").fetchone() == (7,)
        # They are of the past: a counter would show them as traffic of today.
        assert connection.execute("select sum(uncached) from total").fetchone() == (0,)
    ledger.close()

    again = _replay(rejecting, "--reason", "malformed_record")
    assert again.stdout == "There is nothing to replay.\n"


def test_only_records_with_the_chosen_reason_are_tried(rejecting: Path) -> None:
    _replay(rejecting, "--reason", "bad_timestamp")
    with closing(_open(rejecting)) as ledger:
        flow = _flow(ledger)
    assert (flow.replayed, flow.rejected["bad_timestamp"], flow.rejected["malformed_record"]) == (1, 2, 1)


def test_a_running_exporter_books_them_at_its_next_poll(rejecting: Path) -> None:
    _mend(rejecting)
    lock = DataDirectoryLock(rejecting)
    running = _open(rejecting)
    intake = _intake(running)

    said = _replay(rejecting)
    assert "The running exporter books them at its next poll." in said.stdout

    intake.work_off()
    flow = _flow(running)
    assert (flow.booked, flow.replayed, flow.pending) == (2, 2, 0)
    assert _balanced(flow)
    running.close()
    lock.release()


def test_a_crash_between_queueing_and_booking_neither_loses_nor_doubles_anything(rejecting: Path) -> None:
    _mend(rejecting)
    crashed = _open(rejecting)
    crashed.queue_rejected(reason=None, now_ms=1_793_000_000_000)
    del crashed

    ledger = _open(rejecting)
    assert _flow(ledger).pending == 2
    assert _balanced(_flow(ledger))
    _intake(ledger).work_off()
    assert (_flow(ledger).booked, _flow(ledger).pending) == (2, 0)
    ledger.close()


def test_without_a_ledger_it_says_what_to_do(tmp_path: Path) -> None:
    said = _replay(tmp_path)
    assert said.returncode == 1
    assert "There is no ledger" in said.stderr
    assert "EXPORTER_DATA_DIR" in said.stderr
