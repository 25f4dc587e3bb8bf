"""kill -9 of a subscriber: only the end of what its connection was sent is missing, and the proxy knows each record.

A proxy notes what it sends to whom and when. Whenever the exporter is killed, the ledger holds the beginning of each
connection's records without a gap, so missing records were on the wire or waited for their commit. ``-s`` shows their
ages.
"""

import random
import threading
import time
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.simulator.proxy import Item
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.identities import Identity, booked_in, identity_of
from tests.fakes.demo import in_use
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.resp import PUSHING
from tests.stack.restless import Restless
from tests.stack.running import flow_in
from tests.stack.waiting import wait_until

_KILLS = 15
_LOAD_RECORDS = 4
_LOAD_PAUSE_SECONDS = 0.01


class _WatchedProxy(SteeredProxy):
    """Remembers what it handed out: each pop, and what it pushed to each life of the exporter, with the time."""

    def __init__(self) -> None:
        super().__init__(key=MANAGEMENT_KEY, retention_seconds=3600)
        self.pops: list[list[Item]] = []
        self.pushes: list[list[tuple[float, Item]]] = [[]]

    def pop(self, count: int) -> list[Item]:
        items = super().pop(count)
        self.pops.append(items)
        return items

    def pushed(self, item: Item) -> None:
        super().pushed(item)
        self.pushes[-1].append((time.monotonic(), item))


@contextmanager
def _loaded_proxy() -> Iterator[tuple[_WatchedProxy, str]]:
    proxy = _WatchedProxy()
    with in_use(proxy, seed=12, records=_LOAD_RECORDS, pause_seconds=_LOAD_PAUSE_SECONDS) as url:
        yield proxy, url


def _missing_end(pushes: list[tuple[float, Item]], booked: Set[Identity]) -> list[float]:
    """When the missing records of one life were sent; raises AssertionError if a newer record is booked."""
    there = [identity_of(item.raw) in booked for _, item in pushes]
    kept = sum(there)
    assert all(there[:kept]), "a hole: something newer is booked"
    return [sent for sent, _ in pushes[kept:]]


@pytest.mark.timeout(600)
def test_kills_lose_no_more_than_the_end_of_what_was_sent(tmp_path: Path) -> None:
    data_dir, chance, killed_at = tmp_path / "data", random.Random(3), list[float]()
    with _loaded_proxy() as (proxy, url):
        restless = Restless(url, data_dir, source="subscribe")
        try:
            for _ in range(_KILLS):
                restless.start()
                wait_until(lambda: proxy.counts().subscribers == 1)
                time.sleep(chance.uniform(0.0, 0.5))
                killed_at.append(time.monotonic())
                restless.kill()
                assert flow_in(data_dir).adds_up
                wait_until(lambda: PUSHING not in [thread.name for thread in threading.enumerate()])
                proxy.pushes.append([])
            restless.start()
            wait_until(lambda: proxy.counts().subscribers == 1)
            proxy.publishing = False
            wait_until(lambda: _has_sent_all(proxy))
            wait_until(lambda: flow_in(data_dir).pending == 0 and _all_of_the_last(proxy, data_dir))
            restless.kill()
        finally:
            restless.end()
        counts, flow, booked = proxy.counts(), flow_in(data_dir), booked_in(data_dir)
    assert flow.adds_up
    assert flow.rejected == flow.duplicate == 0
    lost = [_missing_end(pushes, booked.keys()) for pushes in proxy.pushes]
    lost_pops = [len(pop) for pop in proxy.pops if pop and identity_of(pop[0].raw) not in booked]
    assert not lost[-1]
    # Each record left the proxy once, and is either booked once or known to be missing.
    assert counts.pushed + counts.popped == flow.booked + sum(map(len, lost)) + sum(lost_pops)
    assert booked.total() == len(booked) == flow.booked
    ages = sorted(killed - sent[0] for killed, sent in zip(killed_at, lost, strict=False) if sent)
    print(
        f"\n{_KILLS} kills while {counts.pushed} records were pushed and {counts.popped} popped: of"
        f" {sum(map(bool, lost))} connections {sum(map(len, lost))} records are missing, the oldest of each sent"
        f" {[round(age * 1000) for age in ages]} ms before the kill; {len(lost_pops)} pops with {sum(lost_pops)}"
        f" records; {counts.unsent} records were never sent"
    )
    assert lost_pops or any(lost), "no kill hit anything: the test is too gentle"


def _has_sent_all(proxy: _WatchedProxy) -> bool:
    """Whether publishing has stopped, and everything published has left the proxy."""
    counts = proxy.counts()
    sent = counts.pushed + counts.popped + counts.unsent
    return counts.discarded > 0 and sent == sum(proxy.truth.attempts.values())


def _all_of_the_last(proxy: _WatchedProxy, data_dir: Path) -> bool:
    booked = booked_in(data_dir)
    return all(identity_of(item.raw) in booked for _, item in proxy.pushes[-1])
