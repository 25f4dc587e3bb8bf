"""A popped body is on disk, booked or raw, in the first commit after it arrived; any failure stores it raw first."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from exporter.errors import LedgerError, LedgerFullError
from exporter.ingest import queue
from exporter.ingest.queue import QueueIngest
from exporter.ledger.changes import CommittedError
from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.ledger.views.totals import Totals, read_flow
from exporter.normalize.inventory import read_auth_files
from exporter.pricing.pricer import Pricer
from tests.benches.booking import GOOD, PSEUDONYMS, adds_up, check_sums, flow_of, intake_of, open_ledger, parts_of, take
from tests.fakes.full_disk import FullDisk

_EXPORTER = str(Path(queue.__file__).parents[1])
_HEADERS = {
    "Anthropic-Ratelimit-Unified-5h-Utilization": ["0.41"],
    "Anthropic-Ratelimit-Unified-5h-Reset": ["1790870400"],
    "Date": ["Thu, 01 Oct 2026 12:00:01 GMT"],
}
_UNKNOWN = {**GOOD, "auth_index": "f" * 16}
_MISFIT = {**GOOD, "latency_ms": "long"}
_HOME = {**GOOD, "executor_type": "home-result"}


class _Bench:
    """A ledger that knows the credential of ``GOOD``, and the statements that were run on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger: Ledger = open_ledger(folder)
        self.ledger.register("p")
        file = {"name": "claude-dev.json", "provider": "claude", "auth_index": GOOD["auth_index"]}
        body = json.dumps({"files": [file]}).encode()
        self.ledger.take_inventory("p", read_auth_files(body, PSEUDONYMS.of, received_ms=0).accounts)
        self.intake: QueueIngest = intake_of(self.ledger)

    def bodies(self, **fields: str) -> Iterator[list[dict[str, Any]]]:
        """An endless series of bodies with two records that the ledger does not know yet; the second one failed."""
        for number in count():
            good = {**GOOD, "request_id": f"{number}", **fields}
            yield [
                {**good, "response_headers": _HEADERS, "model": f"model-{number}"},
                {**good, "failed": True, "fail": {"status_code": 429}},
            ]

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """The statements that write, and each commit."""
        run: list[str] = []
        connection = self.ledger._database._connection
        connection.set_trace_callback(lambda text: run.append(" ".join(text.split()[:3]).lower()))
        yield run
        connection.set_trace_callback(None)

    def check(self, *, received: int) -> None:
        """Check the disk: each record is an entry, or was rejected for an error of ours in it alone."""
        with self.ledger.reading() as connection:
            flow = read_flow(connection, self.ledger.name_store.proxies["p"])
            (entries,) = connection.execute("select count(*) from entry").fetchone()
        assert adds_up(flow)
        assert (flow.received, flow.pending, flow.duplicate) == (received, 0, 0)
        assert flow.rejected.keys() <= {"internal_error"}
        assert flow.booked == entries

    def check_sums(self) -> None:
        """Check the sums that the next process finds."""
        ledger = open_ledger(self.folder)
        check_sums(ledger)
        ledger.close()


@pytest.fixture
def bench(tmp_path: Path) -> _Bench:
    return _Bench(tmp_path)


def test_an_ordinary_body_is_one_commit_without_a_raw_copy(bench: _Bench) -> None:
    with bench.statements() as run:
        take(bench.intake, [GOOD, GOOD, _HOME])
    assert [text for text in run if text == "commit"] == ["commit"]
    assert not [text for text in run if text.startswith(("insert into batch", "delete from batch"))]
    flow = flow_of(bench.ledger)
    assert (flow.received, flow.booked, flow.rejected) == (3, 2, {"home_result": 1})
    with bench.ledger.reading() as connection:
        ((line,),) = connection.execute("select line from rejected")
    assert json.loads(line)["executor_type"] == "home-result", "a rejected record is kept, redacted"
    assert b"sk-client" not in line


def _fails(*_: object, **__: object) -> None:
    raise RuntimeError("of this test")


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([GOOD, _UNKNOWN], id="an unknown credential"),
        pytest.param([GOOD, _MISFIT], id="a misfit"),
        pytest.param([GOOD, "text"], id="no record"),
    ],
)
def test_an_odd_body_is_stored_before_it_is_interpreted(bench: _Bench, records: list[Any]) -> None:
    stored: list[int] = []

    def note(_handles: set[str]) -> bool:
        with bench.ledger.reading() as connection:
            stored.extend(row[0] for row in connection.execute("select records from batch"))
        return False

    QueueIngest("p", parts_of(bench.ledger), note).take(json.dumps(records).encode())
    assert stored == [sum(isinstance(record, dict) for record in records)]
    assert flow_of(bench.ledger).pending == 0
    assert adds_up(flow_of(bench.ledger))


def test_an_error_of_ours_in_one_record_stores_the_body_first(bench: _Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pricer, "price", _fails)
    with bench.statements() as run:
        take(bench.intake, [GOOD])
    assert run.count("insert into batch") == 1
    assert flow_of(bench.ledger).rejected == {"internal_error": 1}


def test_equal_records_are_all_new_whatever_the_proxy_says_they_are(bench: _Bench) -> None:
    take(bench.intake, [GOOD | {"of_snapshot": True}] * 2)
    assert flow_of(bench.ledger).booked == 2


def test_an_empty_pop_writes_nothing(bench: _Bench, tmp_path: Path) -> None:
    take(bench.intake, [GOOD])
    files = [tmp_path / FILE_NAME, tmp_path / f"{FILE_NAME}-wal"]
    bench.ledger.polled("p", at_ms=1_795_000_000_000)
    before = [(file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    with bench.statements() as run:
        for seconds in range(0, 3600, 15):
            bench.intake.work_off()
            take(bench.intake, [])
            bench.ledger.polled("p", at_ms=1_795_000_000_000 + seconds * 1000, store_every_ms=6000)
    assert [(file.stat().st_size, file.stat().st_mtime_ns) for file in files] == before
    assert set(run) == {"select 1 from"}


# --- faults -----------------------------------------------------------------------------------------------------------


@contextmanager
def _raising_at(step: int, *, after: Callable[[str], bool]) -> Iterator[list[str]]:
    """Raises when the exporter's code calls its ``step``-th function after the first that satisfies ``after``.

    The list gets the name of that function.
    """
    left, begun, met = step, False, list[str]()

    def on_event(frame: FrameType, event: str, _: object) -> None:
        nonlocal left, begun
        code = frame.f_code
        if event == "return" and after(code.co_name):
            begun = True
        elif (
            event == "call" and begun and not met and code.co_filename.startswith(_EXPORTER) and code.co_name[0] != "<"
        ):
            if left == 0:
                met.append(code.co_qualname)
                raise RuntimeError("of this test")
            left -= 1

    sys.setprofile(on_event)
    try:
        yield met
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize(
    ("handle", "raised_in"),
    [
        pytest.param(GOOD["auth_index"], {"Ledger.book_at_once", "Pricer.price"}, id="at once"),
        pytest.param("f" * 16, {"Ledger.store", "Ledger.book", "Pricer.price", "Batch.lines"}, id="stored first"),
    ],
)
def test_an_exception_at_any_step_loses_nothing_and_counts_nothing_twice(
    bench: _Bench, handle: str, raised_in: set[str]
) -> None:
    raised: list[str] = []
    for step, body in zip(count(), bench.bodies(auth_index=handle), strict=False):
        with (
            suppress(RuntimeError, CommittedError, LedgerError),
            _raising_at(step, after=lambda name: name == "read_batch") as met,
        ):
            take(bench.intake, body)
        if not met:
            break
        raised += met
        bench.intake.work_off()
        bench.check(received=2 * (step + 1))
    bench.check_sums()
    assert raised_in | {"Changes._follow", "read_flow", "Totals.take_over"} <= set(raised)


@pytest.mark.parametrize("lasting", [False, True], ids=["for a moment", "until there is room"])
def test_a_disk_that_is_full_at_any_statement_loses_nothing(bench: _Bench, lasting: bool) -> None:
    failed: list[str] = []
    real = bench.ledger._database._connection
    for step, body in zip(count(), bench.bodies(), strict=False):
        full = FullDisk(real, step, lasting=lasting)
        bench.ledger._database._connection = full  # type: ignore[assignment]
        with suppress(LedgerFullError):
            take(bench.intake, body)
        bench.ledger._database._connection = real
        if not full.failed:
            break
        failed.append(full.failed[0])
        flow = flow_of(bench.ledger)
        assert adds_up(flow)
        assert flow.booked + flow.pending + bench.intake.unsaved == 2 * (step + 1)
        bench.intake.work_off()
        bench.check(received=2 * (step + 1))
    bench.check_sums()
    assert {"begin immediate", "commit"} <= set(failed)


def test_records_that_memory_cannot_show_are_booked_and_not_stored_again(
    bench: _Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Totals, "take_over", _fails)
        with pytest.raises(CommittedError):
            take(bench.intake, [GOOD])
    assert bench.intake.unsaved == 0
    bench.intake.work_off()
    take(bench.intake, [GOOD])
    flow = flow_of(bench.ledger)
    assert (flow.received, flow.booked, flow.pending) == (2, 2, 0)
