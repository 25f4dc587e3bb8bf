"""The demo proxy itself, without what tests add to it: its past, its statistics, and its queue."""

import json

from exporter.simulator.live import live_traffic
from exporter.simulator.options import VERSIONS
from exporter.simulator.proxy import DemoProxy
from tests.fakes.guarding import TurnableClock


def test_an_old_server_shows_the_statistics_of_hours_at_the_start() -> None:
    proxy = DemoProxy(version=VERSIONS["6.9"], clock=TurnableClock(now=1795503600.0))
    with live_traffic(proxy, rate=0, seed=3, burst=0, history_hours=96):
        pass
    apis = json.loads(proxy.usage_snapshot())["usage"]["apis"]
    models = [model for api in apis.values() for model in api["models"].values()]
    details = [detail for model in models for detail in model["details"]]

    assert len(details) == 20_000, "more would only make each answer longer"
    assert len(details) == sum(model["total_requests"] for model in models)
    assert sum(detail["tokens"]["total_tokens"] for detail in details) == sum(each["total_tokens"] for each in models)
    assert len({detail["timestamp"][:10] for detail in details}) == 5


def test_a_queue_drops_its_past_and_records_that_wait_too_long() -> None:
    clock = TurnableClock()
    proxy = DemoProxy(clock=clock)
    with live_traffic(proxy, rate=0, seed=3, burst=40, history_hours=1):
        pass
    clock.advance(59)
    assert len(proxy.pop(10)) == 10
    clock.advance(2)
    assert proxy.pop(100) == []
