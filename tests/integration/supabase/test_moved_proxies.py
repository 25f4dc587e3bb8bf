"""A proxy moves between exporters: its name is given up, given back and claimed, and its records follow it."""

import random
import sqlite3
from contextlib import closing
from itertools import count, islice
from pathlib import Path
from typing import Literal

import pytest
import structlog

from exporter.ledger.database import FILE_NAME
from exporter.normalize.pseudonyms import Pseudonyms
from tests.benches.history import HistoryBench, Start
from tests.benches.snapshots import snapshot_intake
from tests.fakes.guarding import TurnableClock
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


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("stripped", ["absent", ""], ids=["counts", "details"])
def test_what_moves_between_exporters_at_random_is_booked_once(
    start: Start, supabase_api: SupabaseApi, stripped: Literal["absent", ""], seed: int
) -> None:
    """Each exporter has another proxy when it does not have this one. It comes back before or after its history."""
    fork, rng, numbers = LegacyProxy(), random.Random(seed), count(1)
    fork.stripped = stripped
    others = {"first": "home", "second": "laptop", "third": "mine"}
    clock = TurnableClock()

    def use(number: int) -> int:
        for latency_ms in islice(numbers, number):
            names = rng.choice(["ann", "bob"]), rng.choice(["a", "b"])
            fork.record(*names, Detail(int(clock.now() * 1000), latency_ms, "index", (10, 1)))
        return number

    def look() -> None:
        clock.advance(60)
        snapshot_intake(bench.ledger, "office", clock=clock).take(fork.body(), int(clock.now() * 1000))

    name, bench = "first", start("first", proxy="office", clock=clock)
    before = use(10)
    look()
    assert bench.work() == "ok"
    used = 0
    for _ in range(12):
        used += use(rng.randrange(2))
        if rng.random() < 0.3:
            look()
            fork.restart()
            look()
            assert bench.work(10) == "ok"
        if rng.random() < 0.5:
            look()
        if rng.random() < 0.5:
            bench.close()
            away = start(name, proxy=others[name], polled={others[name]}, clock=clock)
            assert away.work(30) == "ok"
            away.close()
            used += use(rng.randrange(2))
            name = rng.choice(list(others))
            bench = start(name, proxy="office", polled={"office"}, clock=clock)
            if rng.random() < 0.5:
                look()
            assert bench.work(30) == "ok"
    look()
    assert bench.work(30) == "ok"

    booked = used if stripped else before + used
    assert (
        int(supabase_api.database.value("(select sum(requests) from usage_records where proxy = 'office')")) == booked
    )
    assert _counted(bench.data_dir, "entry") == booked
    if stripped:
        folders = {bench.data_dir.parents[1] / each / "data" for each in others}
        live = [_counted(folder, "entry where live") for folder in folders if folder.exists()]
        assert sum(live) == booked, "the counters of all exporters together"


def _counted(data_dir: Path, what: str) -> int:
    with closing(sqlite3.connect(data_dir / FILE_NAME)) as ledger:
        found: int = ledger.execute(f"select coalesce(sum(counted), 0) from {what}").fetchone()[0]
    return found


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
