"""The whole program in front of proxies that misbehave: what it books, what it reports, and what it spares the proxy.

After every fault the program recovers by itself. Its log has one line for each change of state, however many polls
there were; the page and the metrics show the state; it never makes a call that would change the proxy.
"""

import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from exporter.normalize.inventory import Account
from exporter.records import Billing, CredentialFacts
from exporter.simulator.proxy import Item
from exporter.simulator.world import MANAGEMENT_KEY
from exporter.sources.auth_guard import RETRY_SECONDS
from tests.benches.booking import flow_of, open_ledger
from tests.benches.polling import WRONG_KEY, bench_of, served_at
from tests.benches.program import metrics_of
from tests.fakes.guarding import TurnableClock
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.stack import loopback
from tests.stack.running import flow_in, metric_in

# --- faults of single answers -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A fault of the usage queue while 60 records wait, and its effect.

    ``booked``: the fewest and the most records that may be booked. ``rejected``: elements that are not records.
    """

    fault: dict[str, Any]
    state: str = "ok"
    sentence: str = ""
    booked: tuple[int, int] = (60, 60)
    rejected: int = 0
    lasts: bool = True
    """Whether the fault stays until the test removes it; otherwise it happens once."""
    words: list[str] = field(default_factory=list)


GARBAGE = (
    b"null",
    b"42",
    b'"text"',
    b"[[1]]",
    b"{}",
    b'{"timestamp": {"a": 1}}',
    b"[" * 500 + b"]" * 500,
    b'{"a":1e999}',
)

CASES = {
    "html": Case({"kind": "html"}, "bad_answer", "answered with a web page"),
    "redirect": Case({"kind": "redirect"}, "bad_answer", "a redirect, which is not followed"),
    "503": Case({"kind": "status", "status": 503}, "server_error", "answered 503"),
    "500": Case({"kind": "status", "status": 500, "body": b"<h1>oops</h1>"}, "server_error", "answered 500"),
    "429": Case({"kind": "status", "status": 429}, "server_error", "answered 429"),
    "empty 200": Case({"kind": "status", "status": 200}, "bad_answer", "something that is not a list"),
    "another JSON": Case({"kind": "status", "status": 200, "body": b'{"a": 1}'}, "bad_answer", "not a list"),
    "truncated": Case({"kind": "truncated"}, booked=(20, 40), rejected=1, lasts=False),
    "half closed": Case(
        {"kind": "half_closed"}, "unreachable", "before its answer was complete", (20, 40), rejected=1, lasts=False
    ),
    "cut": Case({"kind": "cut"}, "unreachable", "closed the connection", (0, 0), lasts=False),
    "hang": Case({"kind": "hang", "seconds": 1.0}, booked=(60, 60), lasts=False),
    "drip": Case({"kind": "drip", "seconds": 1.5}, lasts=False),
    "garbage": Case({"kind": "insert", "elements": GARBAGE}, rejected=len(GARBAGE), lasts=False),
    "10 MB record": Case({"kind": "huge", "size": 10_000_000}, rejected=1, lasts=False),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_bad_answer_of_the_queue_is_reported_and_passes(case: Case, tmp_path: Path) -> None:
    proxy = SteeredProxy(key=MANAGEMENT_KEY)
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url) as bench:
        assert bench.states == ["ok"]
        proxy.fault(path="usage-queue", times=None if case.lasts else 1, **case.fault)
        bench.publish(60)
        bench.poll(3 if case.lasts else 1)
        assert bench.state == case.state
        if case.state != "ok":
            assert bench.states == ["ok", case.state]
            assert bench.metric("cliproxy_up") == 0
            assert bench.metric("cliproxy_exporter_poll_failures_total", reason=case.state) == (3 if case.lasts else 1)
            assert case.sentence in bench.page
            assert len(bench.logged("proxy_state", case.sentence)) == 1

        proxy.clear_faults()
        bench.poll(2)
        assert bench.state == "ok"
        assert bench.states == (["ok"] if case.state == "ok" else ["ok", case.state, "ok"])
        assert bench.metric("cliproxy_up") == 1
        flow = flow_in(bench.data_dir)
        assert case.booked[0] <= flow.booked <= case.booked[1]
        assert flow.rejected == case.rejected
        assert flow.pending == 0
        if case.lasts:
            assert not proxy.lost
        assert proxy.counts().queued == 0
        assert bench.metric("cliproxy_exporter_records_booked_total") == flow.booked
        ledger = bench.data_dir / "ledger.sqlite3"
        assert ledger.stat().st_size < 2_000_000


LISTS = {
    "error": {"kind": "status", "status": 500},
    "html": {"kind": "html"},
    "truncated": {"kind": "truncated"},
    "cut": {"kind": "cut"},
    "hang": {"kind": "hang", "seconds": 0.5},
}


_GONE = Account(
    facts=CredentialFacts("codex", Billing.SUBSCRIPTION),
    identity=("file", "a pseudonym"),
    names=(("file", "a pseudonym"),),
    auth_index="index",
    auth_type="oauth",
)


@pytest.mark.parametrize("path", ["auth-files", "claude-api-key", "config", "api-key-usage"])
@pytest.mark.parametrize("fault", LISTS.values(), ids=LISTS.keys())
def test_a_broken_list_does_not_stop_the_reading_of_usage(path: str, fault: dict[str, Any], tmp_path: Path) -> None:
    proxy = SteeredProxy(key=MANAGEMENT_KEY)
    proxy.fault(path=path, times=None, **fault)
    (tmp_path / "data").mkdir()
    with closing(open_ledger(tmp_path / "data")) as ledger:
        ledger.register("default")
        ((gone, _),) = ledger.take_inventory("default", [_GONE])
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url) as bench:
        bench.publish(60)
        bench.poll(3)
        assert flow_in(bench.data_dir).booked == 60
        assert bench.state == "ok"
        lists_all = path == "config" or fault["kind"] == "hang"  # which answers in the end
        is_gone = bench.exporter.parts.ledger.name_store.credentials[gone].gone
        assert is_gone is lists_all, "an account in no list may be in the one that is broken"


def test_a_list_that_comes_and_goes_is_logged_once_until_it_was_well_for_an_hour(tmp_path: Path) -> None:
    clock, proxy = TurnableClock(), SteeredProxy(key=MANAGEMENT_KEY)
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url, clock=clock) as bench:
        for minutes, lines in ((1, 1), (30, 1), (50, 1), (62, 2)):
            clock.advance(60 * minutes)
            bench.poll()
            proxy.fault(path="auth-files", times=1, kind="html")
            clock.advance(61)
            bench.poll()
            assert len(bench.logged("inventory_incomplete")) == lines
        assert bench.state == "ok"


# --- who may ask ------------------------------------------------------------------------------------------------------


def test_a_wrong_key_is_tried_at_most_three_times_in_all(tmp_path: Path) -> None:
    clock, proxy = TurnableClock(), SteeredProxy(key=MANAGEMENT_KEY)
    with SteeredServer(proxy) as server:
        with bench_of(tmp_path, proxy, url=server.url, key=WRONG_KEY, clock=clock) as bench:
            bench.poll(5)
            assert bench.states == ["key_refused"]
            assert "was refused once" in bench.page
            assert bench.metric("cliproxy_exporter_poll_failures_total", reason="key_refused") == 6
        assert proxy.counts().refused_logins == 1
        calls = proxy.requests.total()
        with bench_of(tmp_path, proxy, url=server.url, key=WRONG_KEY, clock=clock) as bench:
            bench.poll(3)
            assert proxy.requests.total() == calls, "the restart forgot the refusal"
            for tries in (2, 3, 3, 3):
                clock.advance(RETRY_SECONDS + 60)
                bench.poll(3)
                assert proxy.counts().refused_logins == tries
            clock.jump(86_400)
            bench.poll(2)
            clock.jump(-2 * 86_400)
            bench.poll(2)
            assert "It will not be tried again" in bench.page
            assert bench.states == ["key_refused"]
        assert proxy.counts().refused_logins == 3
        with bench_of(tmp_path, proxy, url=server.url, clock=clock) as bench:
            assert bench.states == ["ok"], "a new key is tried at once"


def test_a_ban_is_waited_out_without_a_call(tmp_path: Path) -> None:
    clock = TurnableClock()
    proxy = SteeredProxy(key=MANAGEMENT_KEY, clock=clock, retention_seconds=3600)
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url, clock=clock) as bench:
        for _ in range(5):  # another program behind the same address
            loopback.get(f"{server.url}/v0/management/config", headers={"Authorization": f"Bearer {WRONG_KEY}"})
        bench.poll()
        assert bench.states == ["ok", "banned"]
        assert bench.metric("cliproxy_up") == 0
        assert "has banned this address" in bench.page
        calls = proxy.requests.total()
        for _ in range(3):
            clock.advance(590)
            bench.poll(2)
        assert proxy.requests.total() == calls
        assert bench.states == ["ok", "banned"]

        bench.publish(30)
        clock.advance(60)
        bench.poll()
        assert bench.states == ["ok", "banned", "ok"]
        assert flow_in(bench.data_dir).booked == 30
        assert proxy.counts().refused_logins == 5


def test_a_key_that_is_removed_while_the_exporter_runs_is_reported(tmp_path: Path) -> None:
    proxy = SteeredProxy(key=MANAGEMENT_KEY)
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url) as bench:
        proxy.management = False
        bench.poll(4)
        assert bench.states == ["ok", "management_off"]
        assert "has no Management API (404)" in bench.page
        proxy.management = True
        bench.publish(20)
        bench.poll()
        assert bench.states[-1] == "ok"
        assert flow_in(bench.data_dir).booked == 20


def test_a_key_that_is_changed_while_the_exporter_runs_is_reported(tmp_path: Path) -> None:
    proxy = SteeredProxy(key=MANAGEMENT_KEY)
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url) as bench:
        proxy.logins.key = "another"
        bench.poll(4)
        assert bench.states == ["ok", "key_refused"]
        assert proxy.counts().refused_logins == 1


def test_remote_management_that_is_off_is_reported(tmp_path: Path) -> None:
    proxy = SteeredProxy(key=MANAGEMENT_KEY)
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url) as bench:
        proxy.fault(path="*", kind="status", status=403, body=b'{"error": "remote management disabled"}', times=None)
        bench.poll(3)
        assert bench.states == ["ok", "remote_disabled"]
        assert "allow-remote: true" in bench.page
        proxy.clear_faults()
        bench.poll()
        assert bench.states[-1] == "ok"


def test_a_subscriber_that_takes_all_records_is_reported(tmp_path: Path) -> None:
    clock = TurnableClock()
    proxy = SteeredProxy(key=MANAGEMENT_KEY, clock=clock, retention_seconds=3600)
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url, clock=clock) as bench:
        proxy.subscribed = True
        for _ in range(4):
            bench.publish(20)
            clock.advance(61)
            bench.poll()
        assert bench.states == ["ok", "another_consumer"]
        assert bench.metric("cliproxy_up") == 1
        assert "A queue has one consumer" in bench.page
        proxy.subscribed = False
        bench.publish(20)
        bench.poll()
        clock.advance(61)
        bench.poll()
        assert bench.states == ["ok", "another_consumer", "ok"]


def test_publishing_that_is_off_is_reported(tmp_path: Path) -> None:
    clock = TurnableClock()
    proxy = SteeredProxy(key=MANAGEMENT_KEY, clock=clock)
    proxy.publishing = False
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url, clock=clock) as bench:
        bench.poll(2)
        assert bench.states == ["publishing_off"]
        assert bench.metric("cliproxy_up") == 1
        assert metric_in(metrics_of(bench.exporter), "cliproxy_usage_publishing_enabled") == 0
        assert "usage-statistics-enabled: true" in bench.page
        proxy.publishing = True
        bench.publish(20)
        clock.advance(61)
        bench.publish(20)
        bench.poll()
        assert bench.states == ["publishing_off", "ok"]
        assert bench.metric("cliproxy_usage_publishing_enabled") == 1


# --- versions ---------------------------------------------------------------------------------------------------------

VERSIONS = [
    ("v6.9.49", "ok", "snapshot-v0"),
    ("v6.10.5", "resp_only", ""),
    ("v6.10.8", "ok", "queue-v0"),
    ("v7.1.0", "ok", "queue-v0"),
    ("v7.2.140", "ok", "queue-v0"),
    ("v8.0.1", "ok", "queue-v8"),
]


@pytest.mark.parametrize(("version", "state", "source"), VERSIONS, ids=[version for version, _, _ in VERSIONS])
def test_every_version_is_read_or_refused_with_a_reason(version: str, state: str, source: str, tmp_path: Path) -> None:
    proxy = SteeredProxy(key=MANAGEMENT_KEY, version=version)
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url) as bench:
        bench.publish(30)
        bench.poll(2)
        assert bench.states == [state]
        if state == "ok":
            assert flow_in(bench.data_dir).booked == 30
            assert bench.metric("cliproxy_proxy_info", version=version, source=source) == 1
        else:
            assert bench.metric("cliproxy_up") == 0
            assert metric_in(metrics_of(bench.exporter), "cliproxy_proxy_info") is None, "nothing is known of it"
            assert "6.10.8 or newer" in bench.page
            assert proxy.counts().popped == 0


@pytest.mark.parametrize("shown", ["dev", "", "v7.2.140-3-gabc1234-dirty"])
def test_a_version_that_a_proxy_does_not_name_is_detected(shown: str, tmp_path: Path) -> None:
    proxy = SteeredProxy(key=MANAGEMENT_KEY, shown_version=shown)
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url) as bench:
        bench.publish(30)
        bench.poll()
        assert bench.states == ["ok"]
        assert flow_in(bench.data_dir).booked == 30


@pytest.mark.parametrize("version", ["v7.2.150", "v8.0.1"])
def test_an_upgrade_is_noticed(version: str, tmp_path: Path) -> None:
    before, after = (
        SteeredProxy(key=MANAGEMENT_KEY, version="v7.1.0"),
        SteeredProxy(key=MANAGEMENT_KEY, version=version),
    )
    server = SteeredServer(before, port=loopback.free_port())
    with server, bench_of(tmp_path, before, url=server.url) as bench:
        bench.publish(20)
        bench.poll()
        server.stop()
        with served_at(server.port, after):
            bench.proxy = after
            bench.publish(30)
            bench.poll(3)
            assert flow_in(bench.data_dir).booked == 50
            assert bench.state == "ok"
            assert bench.metric("cliproxy_proxy_info", version=version) == 1
            assert bench.metric("cliproxy_proxy_info") == 1, "the old version is still shown"


def test_a_downgrade_to_a_version_with_snapshots_is_followed(tmp_path: Path) -> None:
    before, after = SteeredProxy(key=MANAGEMENT_KEY), SteeredProxy(key=MANAGEMENT_KEY, version="v6.9.49")
    server = SteeredServer(before, port=loopback.free_port())
    with server, bench_of(tmp_path, before, url=server.url) as bench:
        server.stop()
        with served_at(server.port, after):
            bench.poll(4)
            assert bench.states[-1] == "ok"
            assert bench.metric("cliproxy_proxy_info", source="snapshot-v0") == 1


# --- away and back ----------------------------------------------------------------------------------------------------


def test_a_proxy_that_is_away_is_read_when_it_comes_back(tmp_path: Path) -> None:
    proxy = SteeredProxy(key=MANAGEMENT_KEY)
    server = SteeredServer(proxy, port=loopback.free_port())
    with server, bench_of(tmp_path, proxy, url=server.url) as bench:
        server.stop()
        bench.publish(25)
        bench.poll(4)
        assert bench.states == ["ok", "unreachable"]
        assert bench.metric("cliproxy_up") == 0
        assert "refused the connection. Is CPA running" in bench.page
        with served_at(server.port, proxy):
            bench.poll()
            assert bench.states == ["ok", "unreachable", "ok"]
            assert flow_in(bench.data_dir).booked == 25


def test_a_url_where_nobody_listens_is_reported(tmp_path: Path) -> None:
    proxy = SteeredProxy(key=MANAGEMENT_KEY)
    with bench_of(tmp_path, proxy, url=f"http://127.0.0.1:{loopback.free_port()}") as bench:
        bench.poll(3)
        assert bench.states == ["unreachable"]
        assert "refused the connection" in bench.page
        assert bench.metric("cliproxy_exporter_poll_failures_total", reason="unreachable") == 4


def test_a_url_of_another_server_is_reported(tmp_path: Path) -> None:
    """For example the exporter's own URL: a web page, and a 404 below it."""
    proxy = SteeredProxy(key=MANAGEMENT_KEY)
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=f"{server.url}/elsewhere") as bench:
        bench.poll(2)
        assert bench.states == ["management_off"]
        assert proxy.counts().refused_logins == 0


class _RestartingProxy(SteeredProxy):
    """A proxy that restarts after the first pop that took records."""

    def pop(self, count: int) -> list[Item]:
        items = super().pop(count)
        if items and not self.counts().dropped:
            self.restart()
        return items


def test_a_restart_of_the_proxy_during_a_drain_is_survived(tmp_path: Path) -> None:
    proxy = _RestartingProxy(key=MANAGEMENT_KEY)
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url) as bench:
        bench.publish(1700)
        bench.poll()
        assert flow_in(bench.data_dir).booked == 500
        assert proxy.counts().dropped == 1200
        bench.publish(700)
        bench.poll()
        assert flow_in(bench.data_dir).booked == 1200
        assert bench.states == ["ok"]


@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_jumps_by_a_day_changes_nothing(days: int, tmp_path: Path) -> None:
    clock, proxy = TurnableClock(now=time.time()), SteeredProxy(key=MANAGEMENT_KEY)
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url, clock=clock) as bench:
        bench.publish(20)
        bench.poll()
        clock.jump(days * 86_400)
        bench.publish(20)
        bench.poll()
        clock.advance(120)
        bench.publish(20)
        bench.poll()
        assert bench.states == ["ok"]
        assert flow_in(bench.data_dir).booked == 60
        ledger = open_ledger(bench.data_dir)
        ledger.register("default")
        assert flow_of(ledger, "default").last_success_ms == int(clock.now() * 1000), "what the next process knows"
        ledger.close()
