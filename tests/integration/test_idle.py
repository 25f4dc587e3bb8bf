"""An idle proxy costs the disk nothing: its polls write nothing to the ledger."""

import time
from pathlib import Path

from exporter.ledger.database import FILE_NAME
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.polling import Bench, bench_of
from tests.fakes.guarding import TurnableClock
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer


def _state(bench: Bench) -> list[tuple[int, int]]:
    """The sizes of the ledger's files and the times of their last change."""
    files = [bench.data_dir / FILE_NAME, bench.data_dir / f"{FILE_NAME}-wal"]
    return [(file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def test_an_idle_hour_writes_nothing_to_the_ledger(tmp_path: Path) -> None:
    clock, proxy = TurnableClock(now=time.time()), SteeredProxy(key=MANAGEMENT_KEY, retention_seconds=3600)
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url, clock=clock) as bench:
        bench.publish(20)
        bench.poll()
        clock.advance(120)  # by now the births are over, and the counts of the accounts are known
        bench.poll(2)
        before = _state(bench)
        for _ in range(20):
            clock.advance(180)
            bench.poll()
        assert _state(bench) == before
        assert bench.metric("cliproxy_exporter_last_success_timestamp_seconds") == int(clock.now() * 1000) / 1000
        bench.publish(5)
        bench.poll()
        assert _state(bench) != before
