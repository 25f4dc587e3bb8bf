"""Each record is booked exactly once, and every sum agrees with its entries."""

from pathlib import Path

import msgspec
import pytest

from exporter.errors import LedgerFullError
from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.ledger.store.batches import Interpreted
from exporter.normalize.batch import read_batch
from tests.benches.booking import GOOD, PSEUDONYMS, adds_up, check_sums, flow_of, intake_of, open_ledger, take
from tests.fakes.guarding import TurnableClock
from tests.fakes.recordings import batch_bodies, batches


def _count(ledger: Ledger, what: str = "count(*)") -> int:
    with ledger.reading() as connection:
        return int(connection.execute(f"select {what} from entry").fetchone()[0])


def test_recorded_batches_add_up(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    intake = intake_of(ledger, clock=TurnableClock(1_795_540_000.0))
    for version in ("v7.1.0", "v7.2.140"):
        for batch in batches(version):
            for body in batch_bodies(version, batch):
                intake.take(body)
            assert adds_up(flow_of(ledger))
    flow = flow_of(ledger)
    assert flow.booked == flow.received > 400
    check_sums(ledger)

    ledger.close()
    check_sums(open_ledger(tmp_path))


def test_equal_records_are_all_new_because_a_queue_forgets_what_it_gave(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    intake = intake_of(ledger)
    take(intake, [GOOD, GOOD])
    take(intake, [GOOD, GOOD | {"latency_ms": 7}])
    assert _count(ledger) == 4
    assert _count(ledger, "count(distinct fingerprint)") == 4
    check_sums(ledger)


@pytest.mark.parametrize("equal", [[], [60, 1]])
def test_a_large_body_is_booked_whole_and_in_its_order(tmp_path: Path, equal: list[int]) -> None:
    ledger = open_ledger(tmp_path)
    sent = [*range(1, 61), *equal]
    take(intake_of(ledger), [GOOD | {"latency_ms": ms} for ms in sent])
    with ledger.reading() as connection:
        assert [ms for (ms,) in connection.execute("select latency_ms from entry order by id")] == sent
    check_sums(ledger)


def test_records_of_two_proxies_are_two_records(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for proxy in ("one", "two"):
        take(intake_of(ledger, proxy), [GOOD])
    assert _count(ledger, "count(distinct fingerprint)") == 2
    assert [flow_of(ledger, proxy).booked for proxy in ("one", "two")] == [1, 1]


def _store_only(ledger: Ledger, records: list[object]) -> None:
    """Store a pop whose process ends before it can book."""
    batch = read_batch(msgspec.json.encode(records), pseudonym=PSEUDONYMS.of)
    ledger.store("p", batch, received_ms=1_795_000_000_000)


def test_a_stored_batch_is_booked_by_the_next_process_with_the_same_identities(tmp_path: Path) -> None:
    records: list[object] = [GOOD, GOOD | {"source": "sk-other"}, "no record"]
    whole = open_ledger(tmp_path / "whole")
    take(intake_of(whole), records)

    crashed = open_ledger(tmp_path / "crashed")
    _store_only(crashed, records)
    assert (flow_of(crashed).pending, flow_of(crashed).received) == (2, 3)
    assert adds_up(flow_of(crashed))
    crashed.close()

    ledger = open_ledger(tmp_path / "crashed")
    assert flow_of(ledger).pending == 2
    intake_of(ledger).work_off()
    assert (flow_of(ledger).pending, flow_of(ledger).booked) == (0, 2)
    with ledger.reading() as one, whole.reading() as other:
        columns = "select ts_ms, fingerprint, uncached from entry order by id"
        assert one.execute(columns).fetchall() == other.execute(columns).fetchall()
        # The record is redacted once: a pseudonym of a pseudonym would be another client.
        clients = "select pseudonym, label from client order by 1"
        assert one.execute(clients).fetchall() == other.execute(clients).fetchall()
    check_sums(ledger)


def test_a_batch_is_booked_once_however_often_it_is_tried(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    _store_only(ledger, [GOOD])
    (stored,) = ledger.pending("p")
    intake_of(ledger).work_off()
    ledger.book(stored, Interpreted())
    intake_of(ledger).work_off()
    assert (_count(ledger), flow_of(ledger).booked) == (1, 1)
    assert adds_up(flow_of(ledger))


def _fill(ledger: Ledger) -> None:
    """Fill the disk: the file may not grow any more."""
    with ledger._database.transaction() as connection:
        (pages,) = connection.execute("pragma page_count").fetchone()
        connection.execute(f"pragma max_page_count = {pages}")


def _empty(ledger: Ledger) -> None:
    with ledger._database.transaction() as connection:
        connection.execute("pragma max_page_count = 1000000")


def test_a_full_disk_loses_nothing_and_books_later(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    intake = intake_of(ledger)
    take(intake, [GOOD])
    many = [GOOD | {"model": f"m{n}", "request_id": f"{n:08x}", "api_key": f"c{n}"} for n in range(400)]
    _fill(ledger)
    before = flow_of(ledger)
    with pytest.raises(LedgerFullError, match=r"is full.*Free some space"):
        take(intake, many)
    with pytest.raises(LedgerFullError):
        intake.work_off()
    assert flow_of(ledger) == before, "nothing happened as far as anybody can see"
    check_sums(ledger)

    _empty(ledger)
    intake.work_off()
    assert flow_of(ledger).booked == 401
    assert adds_up(flow_of(ledger))
    check_sums(ledger)


def test_a_disk_that_fills_between_storing_and_booking_loses_nothing(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    intake = intake_of(ledger)
    take(intake, [GOOD])
    many: list[object] = [GOOD | {"model": f"m{n}", "request_id": f"{n:08x}"} for n in range(400)]
    _store_only(ledger, many)
    _fill(ledger)
    with pytest.raises(LedgerFullError):
        intake.work_off()
    assert (flow_of(ledger).pending, flow_of(ledger).booked) == (400, 1)
    check_sums(ledger)
    # The ids that the rolled-back transaction added to the name store exist nowhere: no other record may get them.
    _empty(ledger)
    take(intake, [GOOD | {"model": "another"}])
    intake.work_off()
    with ledger.reading() as connection:
        models = connection.execute(
            "select r.model, count(*) from entry e join series s on s.id = e.series join route r on r.id = s.route"
            " group by 1"
        ).fetchall()
    assert dict(models) == {"claude-sonnet-4-5": 1, "another": 1} | {f"m{n}": 1 for n in range(400)}
    check_sums(ledger)


def test_a_merge_that_is_rolled_back_is_in_no_later_scrape(tmp_path: Path) -> None:
    """Prometheus would read the way back down as a reset, and count everything again."""
    ledger = open_ledger(tmp_path)
    take(intake_of(ledger), [GOOD])
    first = next(iter(ledger.name_store.credentials))

    def merge_and_fail() -> None:
        with ledger._changing("p") as change:
            other = ledger.name_store.add_credential(change.connection, ledger.name_store.credentials[first])
            ledger.name_store.bind(change.connection, 1, "auth_index", GOOD["auth_index"], other)
            assert ledger.name_store.resolved(first).id == other
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        merge_and_fail()
    assert list(ledger.name_store.credentials) == [first]
    assert ledger.name_store.resolved(first).id == first


@pytest.mark.parametrize("place", [0, 5, 7, 20, 40, 60, -3])
def test_a_batch_that_cannot_be_read_back_is_rejected_and_blocks_nobody(tmp_path: Path, place: int) -> None:
    ledger = open_ledger(tmp_path)
    _store_only(ledger, [GOOD, GOOD])
    _store_only(ledger, [GOOD])
    with ledger._database.transaction() as connection:
        (packed,) = connection.execute("select lines from batch where id = 1").fetchone()
        spoilt = bytearray(packed)
        spoilt[place % len(spoilt)] ^= 0x10
        connection.execute("update batch set lines = ? where id = 1", (bytes(spoilt),))
    intake_of(ledger).work_off()
    assert (flow_of(ledger).booked, flow_of(ledger).pending) == (1, 0)
    assert flow_of(ledger).rejected == {"spoilt_batch": 2}
    assert adds_up(flow_of(ledger))


# --- the bound on label sets --------------------------------------------------------------------------------------


def test_label_sets_beyond_the_bound_are_shown_as_other_and_stay_there(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, max_label_sets=3)
    records = [GOOD | {"api_key": f"sk-{n}", "request_id": f"{n:08x}"} for n in range(10)]
    take(intake_of(ledger), records)
    assert ledger.name_store.folded == 7
    shown = {ledger.name_store.series[id_].client for id_ in ledger.totals.series}
    assert sorted(ledger.name_store.clients[client] for client in shown)[-1] == "other"
    assert len(ledger.totals.series) == 4
    assert sum(numbers[0] for numbers in ledger.totals.series.values()) == 10
    check_sums(ledger)

    before = {id_: list(numbers) for id_, numbers in ledger.totals.series.items()}
    ledger.close()
    again = open_ledger(tmp_path, max_label_sets=100)
    take(intake_of(again), records)
    assert {id_: list(numbers) for id_, numbers in again.totals.series.items()} == {
        id_: [2 * number for number in numbers] for id_, numbers in before.items()
    }, "who was folded stays folded, whatever the bound is now"
    check_sums(again)


def test_equal_records_of_a_queue_are_all_booked_and_none_is_a_duplicate(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    take(intake_of(ledger), [GOOD, GOOD])
    take(intake_of(ledger), [GOOD])
    (flow,) = ledger.totals.flows.values()
    assert (flow.received, flow.booked, flow.duplicate) == (3, 3, 0)


# --- births -------------------------------------------------------------------------------------------------------


def test_a_young_series_waits_for_a_scrape_and_for_its_time(tmp_path: Path) -> None:
    clock = TurnableClock()
    ledger = open_ledger(tmp_path, clock=clock)
    take(intake_of(ledger, clock=clock), [GOOD])
    young = list(ledger.births.pending)
    assert {key[0] for key in young} == {"s", "c", "l", "t"}

    clock.advance(1000)
    assert ledger.births.publish(after_seconds=60) == 0, "nobody has been told"
    ledger.births.told(young, "a scraper")
    clock.jump(86_400)
    assert ledger.births.publish(after_seconds=2000) == 0, "a clock that is set is no time that passes"
    ledger.close()

    reopened = open_ledger(tmp_path, clock=clock)
    assert set(reopened.births.pending) == set(young), "a restart forgets no birth"
    reopened.births.told(young, "a scraper")
    assert reopened.births.publish(after_seconds=60) == 0, "whether it was told before the restart is not known"
    clock.advance(60)
    assert reopened.births.publish(after_seconds=60) == len(young)
    assert not reopened.births.pending

    take(intake_of(reopened, clock=clock), [GOOD | {"request_id": "2"}])
    assert not reopened.births.pending, "the same series is not born again"
    take(intake_of(reopened, clock=clock), [GOOD | {"failed": True, "fail": {"status_code": 429}}])
    assert {key[0] for key in reopened.births.pending} == {"f"}, "its failures are another series"


def test_a_series_is_shown_only_after_that_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = open_ledger(tmp_path)
    take(intake_of(ledger), [GOOD])
    young = list(ledger.births.pending)
    ledger.births.told(young, "a scraper")
    monkeypatch.setattr(ledger.births, "show", lambda _keys: None)  # the process ends right here
    ledger.births.publish(after_seconds=0)
    assert set(ledger.births.pending) == set(young), "not shown yet"
    assert not open_ledger(tmp_path).births.pending, "shown by the next process, never again at 0"


def test_the_file_is_named_as_documented(tmp_path: Path) -> None:
    open_ledger(tmp_path).close()
    assert (tmp_path / FILE_NAME).read_bytes().startswith(b"SQLite format 3\x00")


def test_a_booking_of_known_names_updates_no_checksum(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    intake = intake_of(ledger)
    take(intake, [GOOD])
    numbered: list[tuple[object, ...]] = []

    def number(*row: object) -> int:
        numbered.append(row)
        return 0

    with ledger._database.transaction() as connection:
        connection.create_function("number_of_row", -1, number, deterministic=True)

    take(intake, [GOOD | {"request_id": "another"}])

    assert flow_of(ledger).booked == 2
    assert numbered == []
