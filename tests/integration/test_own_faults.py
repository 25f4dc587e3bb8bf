"""An error that only a fault of the exporter explains: it shows, polling continues, and nothing is lost."""

from pathlib import Path

import pytest

from exporter.ledger.ledger import Ledger
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.polling import bench_of
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.stack.running import flow_in


def _fails(*_: object, **__: object) -> None:
    raise ZeroDivisionError


def test_an_error_of_ours_in_each_poll_is_shown_and_its_traceback_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = SteeredProxy(key=MANAGEMENT_KEY)
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url, errors=1) as bench:
        with monkeypatch.context() as fault:
            fault.setattr(Ledger, "polled", _fails)
            bench.publish(20)
            bench.poll(3)

            assert bench.state == "internal_error"
            assert "The exporter failed (ZeroDivisionError): please report it" in bench.page
            assert bench.metric("cliproxy_exporter_poll_failures_total", reason="internal_error") == 3
            assert len(bench.logged("level=error", "event=poll_failed", "Traceback")) == 1
        bench.publish(20)
        bench.poll()

        assert bench.states == ["ok", "internal_error", "ok"]
        assert flow_in(bench.data_dir).booked == 40
