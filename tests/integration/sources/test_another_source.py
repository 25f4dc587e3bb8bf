"""A new source needs only its class and one entry in the list."""

import time
from pathlib import Path

import pytest

from exporter.simulator.world import MANAGEMENT_KEY
from exporter.sources import all_sources
from exporter.sources.base import Receiver, Source, Version
from exporter.sources.paths import Paths
from exporter.sources.proxy_client import ProxyClient
from tests.benches.polling import bench_of
from tests.fakes.guarding import TurnableClock
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer

_RESP_ONLY, _WITH_A_QUEUE = "v6.10.5", "v7.2.140"


def _subscription_to(proxy: SteeredProxy) -> type[Source]:
    """Reads what CPA 6.10.0 to 6.10.7 offers only over RESP; this toy takes it directly from the proxy."""

    class UsageSubscription(Source):
        kind = "subscription"
        is_cumulative = False
        restart_cost = "What was published while nobody subscribed is lost."
        poll_seconds = 5.0

        @classmethod
        def is_offered(cls, _client: ProxyClient, paths: Paths, version: Version | None, /) -> bool:
            return paths.api == "v0" and version is not None and (6, 10, 0) <= version < (6, 10, 8)

        def poll(self, receiver: Receiver, _now_ms: int, /) -> bool:
            items = proxy.pop(1000)
            if items:
                receiver.records(b"[" + b",".join(item.raw for item in items) + b"]")
                proxy.delivered(items)
            return True

    return UsageSubscription


def test_another_source_needs_one_class_and_one_entry_in_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = SteeredProxy(key=MANAGEMENT_KEY, version=_RESP_ONLY, retention_seconds=3600)
    monkeypatch.setattr(all_sources, "SOURCES", [*all_sources.SOURCES, _subscription_to(proxy)])
    clock = TurnableClock(now=time.time())
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url, clock=clock) as bench:
        assert bench.state == "ok"
        assert bench.metric("cliproxy_proxy_info", source="subscription-v0", version=_RESP_ONLY) == 1
        assert "is read from its usage subscription." in bench.page
        bench.publish(40)
        bench.poll()
        assert bench.metric("cliproxy_exporter_records_booked_total") == 40

        proxy.upgrade(_WITH_A_QUEUE)
        clock.advance(61)
        bench.poll()  # this shows that the version has changed
        bench.publish(25)
        bench.poll()
        assert bench.metric("cliproxy_exporter_records_booked_total") == 65
        assert bench.metric("cliproxy_exporter_restarts_detected_total") == 1
        (line,) = bench.logged("Restart detected")
        assert "Its usage is now in a queue; it was in a subscription." in line
        assert "What was published while nobody subscribed is lost." in line


def test_without_it_the_same_proxy_has_to_be_upgraded(tmp_path: Path) -> None:
    proxy = SteeredProxy(key=MANAGEMENT_KEY, version=_RESP_ONLY)
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url) as bench:
        assert bench.state == "resp_only"
