"""kill -9 at any moment: each popped record is booked once, or its loss is that of a call under way.

A demo proxy notes the identity of every record that it hands out, pop by pop, so that the test can compare the ledger
record by record. The tests kill exporters that poll without a pause, which are fast enough for hundreds of kills, and
the program as its users run it. ``-s`` shows what the kills hit. ``TEST_KILLS`` is the number of kills of the
latter.
"""

import itertools
import json
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import httpx
import msgspec
import pytest

from exporter.records import Tokens
from exporter.simulator.proxy import Item
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.identities import Identity, identity_of
from tests.fakes.demo import in_use
from tests.fakes.steered.counts import Happening, KnownItem
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.traffic import Traffic
from tests.stack.restless import Restless
from tests.stack.running import exporter_process, flow_in, ledger_file
from tests.stack.waiting import PATIENCE_SECONDS, wait_until

_FORKED_KILLS = 220
_WHOLE_KILLS = int(os.environ.get("TEST_KILLS", "12"))
_LOAD_RECORDS = 100
_LOAD_PAUSE_SECONDS = 0.05
_MOST_QUEUED = 3000
_POP_COUNT = 1000


# --- the proxy, and the truth about it --------------------------------------------------------------------------------


class _WatchedProxy(SteeredProxy):
    """Remembers each pop that took records. Every third one has an odd record, so it is stored before it is booked."""

    def __init__(self) -> None:
        super().__init__(key=MANAGEMENT_KEY, retention_seconds=3600)
        self._items: deque[list[Item]] = deque()
        self._took: list[dict[Identity, Tokens]] = []
        self._pops = 0
        attempts = Traffic(seed=10, zone=self.zone).batch(_MOST_QUEUED, ending=time.time())
        self.publish(attempts)
        self._again = itertools.cycle(attempts)
        self.popped_some = threading.Event()
        self.empty_pops = 0

    def repeat(self, number: int) -> None:
        """Queue records that differ from the first ones in their request; new ones would take ten times as long."""
        with self._lock:
            for attempt in itertools.islice(self._again, number if self.publishing else 0):
                changes = {"request_id": f"{self.waiting.enqueued:08x}"}
                self._append(msgspec.json.encode(attempt.record | changes), Happening(attempt))

    def pop(self, count: int) -> list[Item]:
        items = super().pop(count)
        if items:
            self._items.append(items)
            self._pops += 1
            self.popped_some.set()
            if self._pops % 3 == 0:
                return [_odd(items[0]), *items[1:]]
        elif count:
            self.empty_pops += 1
        return items

    def identities(self) -> list[dict[Identity, Tokens]]:
        """The records of each pop, by identity and true tokens. This forgets the records themselves."""
        while self._items:
            self._took.append({identity_of(item.raw): _tokens(item) for item in self._items.popleft()})
        return self._took


def _odd(item: Item) -> Item:
    """The same record with an overlong text in a field that is not part of its identity."""
    return replace(item, raw=json.dumps({**json.loads(item.raw), "service_tier": "x" * 400}).encode())


def _tokens(item: Item) -> Tokens:
    assert isinstance(item, KnownItem)
    assert item.happening is not None
    return item.happening.attempt.tokens


@contextmanager
def _loaded_proxy() -> Iterator[tuple[_WatchedProxy, str]]:
    """A proxy in heavy use, whose queue holds more than one call can take, and its URL."""
    proxy = _WatchedProxy()
    with in_use(
        proxy,
        records=_LOAD_RECORDS,
        pause_seconds=_LOAD_PAUSE_SECONDS,
        most_queued=_MOST_QUEUED,
        publish=proxy.repeat,
    ) as url:
        yield proxy, url


# --- what is killed ---------------------------------------------------------------------------------------------------


class _Victim(Protocol):
    def kill(self) -> None:
        """End it at once; none of it runs any more when this returns."""


# --- the tests --------------------------------------------------------------------------------------------------------


@dataclass
class _Met:
    """What the kills hit. A lost pop shows at the end, when all pops are known."""

    kills: int = 0
    stored_not_booked: int = 0
    newest_batch: int = 0
    started: float = field(default_factory=time.monotonic)

    def look(self, data_dir: Path) -> None:
        """After a kill: the counts add up, and a waiting batch means that the kill came between store and book."""
        self.kills += 1
        flow = flow_in(data_dir)
        assert flow.adds_up, f"after kill {self.kills}: {flow}"
        if not flow.received:
            return
        with ledger_file(data_dir) as connection:
            (newest,) = connection.execute("select coalesce(max(id), 0) from batch").fetchone()
        if newest > self.newest_batch:
            self.stored_not_booked += 1
            self.newest_batch = newest

    def tell(self, what: str, *, lost: list[int], received: int) -> None:
        other = self.kills - self.stored_not_booked - len(lost)
        print(
            f"\n{what}: {self.kills} kills in {time.monotonic() - self.started:.0f} s while {received} records were"
            f" received: {len(lost)} hit a pop that was not stored yet ({sum(lost)} records), {self.stored_not_booked}"
            f" a batch that was stored and not booked yet, {other} something else"
        )


def _check_ledger(data_dir: Path, proxy: _WatchedProxy, *, kills: int) -> list[int]:
    """Compare the ledger with everything that the proxy handed out. Returns the sizes of the lost pops."""
    flow = flow_in(data_dir)
    assert flow.adds_up
    assert flow.pending == flow.rejected == flow.duplicate == 0, flow
    with ledger_file(data_dir) as connection:
        rows = connection.execute(
            "select ts_ms, fingerprint, uncached, cache_read, cache_write, output, reasoning, unclassified from entry"
        ).fetchall()
        totals = connection.execute("select sum(requests), sum(nano_usd), sum(output) from total").fetchone()
        rollup = connection.execute("select sum(requests), sum(nano_usd), sum(output) from rollup").fetchone()
        entries = connection.execute("select sum(counted), sum(nano_usd), sum(output) from entry").fetchone()
        broken = connection.execute("pragma integrity_check").fetchall()
    assert broken == [("ok",)]

    lost: list[int] = []
    expected: dict[Identity, Tokens] = {}
    booked = {(row[0], row[1]): Tokens(*row[2:]) for row in rows}
    for pop in proxy.identities():
        found = sum(identity in booked for identity in pop)
        assert found in (0, len(pop)), "a part of an answer is booked"
        if found:
            expected |= pop
        else:
            lost.append(len(pop))
    # A record that was booked twice would appear here under an identity that no proxy has sent.
    assert booked == expected
    assert len(rows) == len(booked) == flow.booked == flow.received
    assert totals == rollup == entries

    popped = proxy.counts().popped
    assert popped - flow.received == sum(lost)
    assert len(lost) <= kills
    assert max(lost, default=0) <= _POP_COUNT
    return lost


def _kill_somewhere(victim: _Victim, proxy: _WatchedProxy, chance: random.Random, *, within: float) -> None:
    """Every second kill comes at any moment, the others soon after records have left the proxy, which matters most."""
    if chance.random() < 0.5:
        time.sleep(chance.uniform(0.0, within))
    else:
        proxy.popped_some.clear()
        assert proxy.popped_some.wait(PATIENCE_SECONDS), "it does not poll any more"
        time.sleep(chance.uniform(0.0, 0.06))
    victim.kill()
    proxy.identities()  # now, because the records of a thousand kills do not fit into memory


def _kill_before_booking(victim: _Victim, proxy: _WatchedProxy, data_dir: Path, *, newest_batch: int) -> None:
    """Kill it as soon as a batch newer than this one appears: a few milliseconds later it would be booked.

    If none appears within two seconds after its first pop, kill it all the same.
    """
    proxy.popped_some.clear()
    assert proxy.popped_some.wait(PATIENCE_SECONDS), "it does not poll"
    deadline = time.monotonic() + 2
    newest = "select coalesce(max(id), 0) from batch"
    with ledger_file(data_dir) as connection:
        while time.monotonic() < deadline and connection.execute(newest).fetchone()[0] <= newest_batch:
            time.sleep(0.0005)
    victim.kill()


def _wait_until_drained(proxy: _WatchedProxy, data_dir: Path) -> None:
    """Wait until the running exporter has booked everything that it took.

    An empty queue proves nothing, because the last records from it may be stored a moment later. An exporter that asks
    again and gets nothing has stored what it got before.
    """
    wait_until(lambda: not proxy.counts().queued)
    before = proxy.empty_pops
    wait_until(lambda: proxy.empty_pops >= before + 2 and not flow_in(data_dir).pending)


@pytest.mark.timeout(300 + 10 * _FORKED_KILLS)
def test_hundreds_of_kills_lose_no_more_than_the_call_under_way(tmp_path: Path) -> None:
    data_dir, met, chance = tmp_path / "data", _Met(), random.Random(1)
    with _loaded_proxy() as (proxy, url):
        restless = Restless(url, data_dir)
        try:
            for number in range(_FORKED_KILLS):
                restless.start()
                if number % 10 == 9:
                    _kill_before_booking(restless, proxy, data_dir, newest_batch=met.newest_batch)
                else:
                    _kill_somewhere(restless, proxy, chance, within=0.6)
                met.look(data_dir)
            proxy.publishing = False
            restless.start()
            _wait_until_drained(proxy, data_dir)
            restless.kill()
        finally:
            restless.end()
        lost = _check_ledger(data_dir, proxy, kills=met.kills)
        met.tell("forked program", lost=lost, received=flow_in(data_dir).received)
    assert lost, "no kill hit a pop under way: the test is too gentle"
    assert met.stored_not_booked, "no kill hit a batch that was stored and not booked: the test is too gentle"


@pytest.mark.timeout(300 + 10 * _WHOLE_KILLS)
def test_kills_of_the_whole_program_lose_no_more_than_the_call_under_way(tmp_path: Path) -> None:
    data_dir, met, chance = tmp_path / "data", _Met(), random.Random(2)
    with _loaded_proxy() as (proxy, url):
        for _ in range(_WHOLE_KILLS):
            with exporter_process(
                tmp_path, proxy_url=url, key=MANAGEMENT_KEY, COLLECTOR_INTERVAL_SECONDS="1"
            ) as program:
                assert program.url
                ended = threading.Event()
                knocking = threading.Thread(target=_knock, args=(program.trigger, ended))
                knocking.start()
                _kill_somewhere(program, proxy, chance, within=1.5)
                ended.set()
                knocking.join()
            met.look(data_dir)
        proxy.publishing = False
        with exporter_process(tmp_path, proxy_url=url, key=MANAGEMENT_KEY, COLLECTOR_INTERVAL_SECONDS="1") as program:
            assert program.url
            _wait_until_drained(proxy, data_dir)
            received = program.metric("cliproxy_exporter_records_received_total", proxy="default")
            booked = program.metric("cliproxy_exporter_records_booked_total", proxy="default")
            pending = program.metric("cliproxy_exporter_records_pending", proxy="default")
            assert program.stop() == 0
        flow = flow_in(data_dir)
        assert (received, booked, pending) == (flow.received, flow.booked, 0)
        lost = _check_ledger(data_dir, proxy, kills=met.kills)
        met.tell("whole program", lost=lost, received=flow.received)


def _knock(trigger: Callable[[], None], ended: threading.Event) -> None:
    """Ask for one poll after the other until the program is killed."""
    while not ended.wait(0.05):
        with suppress(httpx.HTTPError):
            trigger()
