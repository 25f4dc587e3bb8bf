"""A proxy moves between exporters: its name is given up, given back and claimed, and its records follow it."""

import sqlite3
from contextlib import closing

import pytest
import structlog

from exporter.ledger.database import FILE_NAME
from exporter.normalize.pseudonyms import Pseudonyms
from tests.benches.history import HistoryBench, Start
from tests.benches.snapshots import snapshot_intake
from tests.fakes.legacy import Detail, LegacyProxy
from tests.stack.supabase.api import SupabaseApi
from tests.stack.supabase.comparison import entries, records
from tests.stack.supabase.gate import Gate

_ANOTHER_KEY = Pseudonyms(b"the hash key of another installation")


def _moved_on(start: Start, first: HistoryBench) -> tuple[HistoryBench, HistoryBench]:
    """The first exporter again, without the proxy, and the one that the proxy moved to, which has booked four more."""
    first.close()
    first = start("first", proxy="home", polled={"home"})
    assert first.work(10) == "ok"
    second = start("second", proxy="office")
    second.book(4, proxy="office", model="another")
    assert second.work(20) == "ok"
    return first, second


def test_a_proxy_that_moved_to_another_exporter_is_given_up(start: Start, supabase_api: SupabaseApi) -> None:
    first = start("first", proxy="home")
    first.ledger.register("office")
    first.book(2, proxy="office")
    assert first.work() == "ok"
    first.book(1, proxy="office")

    first, _ = _moved_on(start, first)

    assert first.work(60) == "ok"
    assert len(records(supabase_api.database, proxy="office")) == 3 + 4


@pytest.mark.parametrize("lost", ["", "exporter_claim", "exporter_project"])
def test_a_proxy_that_comes_back_from_another_exporter_brings_what_that_one_booked(
    start: Start, supabase_api: SupabaseApi, gate: Gate, lost: str
) -> None:
    first = start("first", proxy="office")
    first.book(2, proxy="office")
    assert first.work() == "ok"
    first, second = _moved_on(start, first)
    second.close()
    second = start("second", proxy="laptop", polled={"laptop"})
    assert second.work(30) == "ok"
    first.close()

    first = start("first", proxy="office", polled={"office"}, url=gate.url)
    first.book(1, proxy="office", model="a third")
    gate.fault = lambda path: "answer_lost" if lost and lost in path else ""
    assert first.work(40) == ("away" if lost else "ok")
    gate.fault = lambda _path: ""

    assert first.work(400) == "ok"
    assert first.ledger.totals.entries == 2 + 4 + 1
    booked, there = entries(first.data_dir, proxy="office"), records(supabase_api.database, proxy="office")
    assert {row[:2] for row in booked} == {row[:2] for row in there}
    first.close()
    first = start("first", proxy="office")
    with structlog.testing.capture_logs() as logs:
        assert first.work(500) == "ok"
    assert "history_restored" not in [entry["event"] for entry in logs], "it comes back once"


def test_a_fork_that_comes_back_brings_what_another_exporter_booked_once(
    start: Start, supabase_api: SupabaseApi
) -> None:
    fork = LegacyProxy()
    fork.stripped = "absent"

    def look(bench: HistoryBench, uses: int) -> None:
        bench.clock.advance(60)
        for latency_ms in range(uses):
            fork.record("client", "model", Detail(int(bench.clock.now() * 1000), latency_ms, "index", (10, 1)))
        snapshot_intake(bench.ledger, "office", clock=bench.clock).take(fork.body(), int(bench.clock.now() * 1000))

    first = start("first", proxy="office")
    look(first, 0)
    look(first, 3)
    assert first.work() == "ok"
    first.close()
    assert start("first", proxy="home", polled={"home"}).work(10) == "ok"
    second = start("second", proxy="office", clock=first.clock)
    assert second.work() == "ok"
    look(second, 50)
    assert second.work(20) == "ok"
    second.close()
    assert start("second", proxy="laptop", polled={"laptop"}).work(30) == "ok"

    first = start("first", proxy="office", polled={"office"}, clock=first.clock)
    look(first, 4)
    assert first.work(40) == "ok"
    look(first, 5)
    assert first.work(40) == "ok"

    with closing(sqlite3.connect(first.data_dir / FILE_NAME)) as ledger:
        assert ledger.execute("select sum(counted) from entry").fetchone() == (3 + 50 + 4 + 5,)
    requests = "(select sum(requests) from usage_records where proxy = 'office')"
    assert int(supabase_api.database.value(requests)) == 3 + 50 + 4 + 5
    with closing(sqlite3.connect(first.data_dir / FILE_NAME)) as ledger:
        live = ledger.execute("select sum(counted) from entry where live").fetchone()
    assert live == (3 + 4 + 5,), "the other exporter's counters have the rest"


def test_the_name_of_a_proxy_that_left_the_settings_is_given_back_even_if_nothing_waits(
    start: Start, supabase_api: SupabaseApi
) -> None:
    first = start("first", proxy="home")
    first.ledger.register("office")
    first.book(1, proxy="office")
    assert first.work() == "ok"
    first.close()

    first = start("first", proxy="home", polled={"home"})
    assert first.work(10) == "ok"

    assert supabase_api.database.value("(select given_back from exporter_proxies where name = 'office')")
    second = start("second", proxy="office", pseudonym=_ANOTHER_KEY.of)
    assert second.work() == "ok"
    assert first.work(60) == "ok"
    assert second.work(60) == "ok"


def test_a_proxy_that_is_renamed_because_its_name_was_taken_is_written_in_full(
    start: Start, supabase_api: SupabaseApi
) -> None:
    first = start("first")
    first.book(1)
    assert first.work() == "ok"
    second = start("second")
    second.book(3)
    assert second.work() == "name_taken"
    second.close()

    second = start("second", proxy="laptop", polled={"laptop"})
    second.book(2, proxy="laptop")
    with structlog.testing.capture_logs() as logs:
        assert second.work(10) == "ok", second.history.status.sentence
        assert second.work(120) == "ok"

    assert second.history.status.waiting == 0
    (name,) = [entry["name"] for entry in logs if entry["event"] == "history_name_changed"]
    assert name.startswith("default-")
    written = {proxy: len(records(supabase_api.database, proxy=proxy)) for proxy in ("default", "laptop", name)}
    assert written == {"default": 1, "laptop": 2, name: 3}
    assert second.ledger.totals.entries == 5, "nothing of the other one was restored"
    assert first.work(60) == "ok"


@pytest.mark.parametrize(
    ("is_in_settings", "sign", "state"),
    [
        pytest.param(False, "the same proxy", "ok", id="not in the settings"),
        pytest.param(True, "another proxy", "name_taken", id="of another installation"),
        pytest.param(True, "", "name_taken", id="without a management key"),
        pytest.param(True, "the same proxy", "ok", id="its successor"),
    ],
)
def test_the_name_of_an_exporter_that_is_switched_off_belongs_to_its_successor_alone(
    start: Start, supabase_api: SupabaseApi, is_in_settings: bool, sign: str, state: str
) -> None:
    first = start("first")
    first.book(31)
    assert first.work() == "ok"
    second = start("second", polled=set() if is_in_settings else {"laptop"}, sign=sign, pseudonym=_ANOTHER_KEY.of)
    second.ledger.register("laptop")
    second.book(3, model="another")
    supabase_api.database.run("update exporter_proxies set seen_at = now() - interval '16 minutes'")

    assert second.work() == state

    is_successor = is_in_settings and state == "ok"
    assert len(records(supabase_api.database)) == (34 if is_successor else 31)
    assert second.history.status.waiting == (3 if state == "name_taken" else 0)
    assert second.ledger.totals.entries == (34 if is_successor else 3)
