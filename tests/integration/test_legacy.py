"""The whole program in front of servers with a cumulative ``/usage``: sources, faults, and what an operator sees."""

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from exporter.ingest.poller import Poller
from exporter.metrics.proxies import PollMetrics
from exporter.simulator.world import MANAGEMENT_KEY
from exporter.sources.proxy_client import ProxyClient
from tests.benches.booking import open_ledger, parts_of
from tests.benches.polling import bench_of, served_at
from tests.fakes.guarding import KEY, TurnableClock, make_guard
from tests.fakes.replay import Recording, ReplayProxy
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack.loopback import free_port
from tests.stack.running import exporter_process, flow_in, ledger_file, run_command
from tests.stack.waiting import wait_until

OLD = "v6.9.49"


# --- sources ----------------------------------------------------------------------------------------------------------


def test_a_server_with_both_sources_is_read_by_its_snapshot_alone(tmp_path: Path) -> None:
    proxy = SteeredProxy(key=MANAGEMENT_KEY, version=OLD)
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url) as bench:
        bench.publish(40)
        bench.poll(2)
        assert flow_in(bench.data_dir).booked == proxy.counts().counted
        assert proxy.counts().popped == 0
        assert bench.metric("cliproxy_proxy_info", source="snapshot-v0", version=OLD) == 1
        assert "is read from its usage snapshot" in bench.page


def test_a_fork_with_both_sources_is_not_read_twice(tmp_path: Path) -> None:
    """It replaces a server that has only a snapshot: its snapshot is still there, and a queue of the same records."""
    before = SteeredProxy(key=MANAGEMENT_KEY, version=OLD)
    after = SteeredProxy(key=MANAGEMENT_KEY, version="v7.2.140", with_usage=True)
    server = SteeredServer(before, port=free_port())
    with server, bench_of(tmp_path, before, url=server.url) as bench:
        bench.publish(20)
        bench.poll()
        server.stop()
        with served_at(server.port, after):
            bench.proxy = after
            bench.publish(30)
            bench.poll(3)
            assert flow_in(bench.data_dir).booked == before.counts().counted + after.counts().enqueued
            assert bench.metric("cliproxy_proxy_info", source="queue-v0") == 1


@pytest.mark.parametrize("version", ["v7.2.140", "v8.0.3"])
def test_an_upgrade_is_followed_in_the_same_poll_without_a_fault(version: str, tmp_path: Path) -> None:
    proxy = SteeredProxy(key=MANAGEMENT_KEY, version=OLD)
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url) as bench:
        bench.publish(20)
        bench.poll()
        counted = proxy.counts().counted
        proxy.upgrade(version)
        bench.publish(30)
        bench.poll()
        assert flow_in(bench.data_dir).booked == counted + proxy.counts().popped
        assert proxy.counts().popped >= 30
        assert bench.states == ["ok"]
        assert bench.metric("cliproxy_exporter_poll_failures_total") == 0


def test_a_fork_called_dev_with_only_a_snapshot_is_read(tmp_path: Path) -> None:
    proxy = SteeredProxy(key=MANAGEMENT_KEY, version="v7.2.140", shown_version="dev", with_usage=True, with_queue=False)
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url) as bench:
        bench.publish(20)
        bench.poll(2)
        assert flow_in(bench.data_dir).booked == proxy.counts().counted > 0
        assert bench.state == "ok"


# --- answers that go wrong --------------------------------------------------------------------------------------------


FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "half of it": ({"kind": "truncated"}, "bad_answer", "broke off"),
    "half closed": ({"kind": "half_closed"}, "unreachable", "before its answer was complete"),
    "cut": ({"kind": "cut"}, "unreachable", "closed the connection"),
    "a web page": ({"kind": "html"}, "bad_answer", "answered with a web page"),
    "an error": ({"kind": "status", "status": 500}, "server_error", "answered 500"),
    "no json": ({"kind": "status", "status": 200, "body": b"oops"}, "bad_answer", "broke off"),
    "another shape": ({"kind": "status", "status": 200, "body": b'{"usage": 5}'}, "bad_answer", "shape"),
}


def test_a_bad_snapshot_books_nothing_and_the_next_good_one_everything(tmp_path: Path) -> None:
    proxy = SteeredProxy(key=MANAGEMENT_KEY, version=OLD)
    states = ["ok"]
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url) as bench:
        for name, (fault, state, words) in FAULTS.items():
            counted = proxy.counts().counted
            bench.publish(20)
            proxy.fault(path="usage", times=None, **fault)
            for _ in range(2):
                bench.poll()
                assert flow_in(bench.data_dir).booked == counted, name
                assert bench.state == state, name
                assert words in bench.page, name
            proxy.clear_faults()
            bench.poll()
            assert flow_in(bench.data_dir).booked == proxy.counts().counted, name
            states += [state, "ok"]
        assert bench.states == states, "one line for each change"
        assert bench.metric("cliproxy_exporter_restarts_detected_total") == 0
        assert bench.metric("cliproxy_exporter_missed_records_estimate") == 0


def test_a_snapshot_of_200_megabytes_is_read(tmp_path: Path) -> None:
    proxy = SteeredProxy(key=MANAGEMENT_KEY, version=OLD)
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url) as bench:
        bench.publish(40)
        proxy.fault(path="usage", kind="huge", size=200_000_000)
        bench.poll()
        assert flow_in(bench.data_dir).booked == proxy.counts().counted
        assert bench.states == ["ok"]


# --- without details, as an operator sees it --------------------------------------------------------------------------


def _stripped(version: str, **models: tuple[int, int]) -> Recording:
    """A fork that sends counts only: requests and tokens by model."""
    shown = {name: {"total_requests": requests, "total_tokens": tokens} for name, (requests, tokens) in models.items()}
    body = {"failed_requests": 0, "usage": {"apis": {"sk-planted-client": {"models": shown}}}}
    return Recording("GET", "", 200, {"X-Cpa-Version": version, "Content-Type": "application/json"}, _bytes(body))


def _bytes(body: object) -> bytes:
    return json.dumps(body).encode()


def test_restart_and_false_start_are_logged_counted_and_listed(tmp_path: Path) -> None:
    usage = "/v0/management/usage"
    recorded = [
        Recording.read(f"{OLD}/{name}.json")
        for name in ("management/usage-statistics-enabled-on", "management/config", "auth-files-after")
    ]
    key = "mgmt-planted-Q7vXr2"
    with ReplayProxy(recorded) as replay:
        replay.answer(usage, _stripped(OLD, a=(100, 5_000), b=(50, 900)))
        settings = {"FALSE_START_COST_USD": "0.5"}
        with exporter_process(tmp_path, proxy_url=replay.url, key=key, **settings) as program:

            def poll() -> None:
                for _ in range(2):  # the one that may be under way began too early
                    before = polls()
                    program.trigger()
                    wait_until(polls, lambda now, before=before: now > before)  # type: ignore[misc]

            def polls() -> float:
                return program.metric("cliproxy_exporter_poll_duration_seconds_count") or 0

            wait_until(polls)
            assert program.metric("cliproxy_up") == 1
            assert not program.metric("cliproxy_requests_total"), "a baseline"
            replay.answer(usage, _stripped(OLD, a=(101, 5_100), b=(50, 900), c=(9, 90_000_000), d=(1, 80_000_000)))
            poll()
            assert program.metric("cliproxy_requests_total") == 1
            assert program.metric("cliproxy_exporter_false_starts_total") == 2
            assert len(program.logged("False Start detected", "level=warning")) == 1
            replay.answer(usage, _stripped(OLD, a=(120, 6_000), b=(10, 100)))
            poll()
            poll()
            assert program.metric("cliproxy_requests_total") == 131
            assert program.metric("cliproxy_exporter_restarts_detected_total") == 1
            assert len(program.logged("Restart detected")) == 1
            listed = run_command(
                "false-starts",
                cwd=tmp_path,
                CLIPROXY_URL=replay.url,
                CLIPROXY_MANAGEMENT_KEY=key,
                EXPORTER_DATA_DIR=str(tmp_path / "data"),
            )
            assert listed.returncode == 0
            one, other = sorted(listed.stdout.splitlines())
            assert "model c: 9 requests, 90,000,000 tokens, $13.50" in one
            assert "model d: 1 request, 80,000,000 tokens, $12.00" in other
            assert "sk-planted-client" not in listed.stdout + "".join(program.log)


def test_check_config_says_what_an_old_proxy_has(tmp_path: Path) -> None:
    proxy = SteeredProxy(key=MANAGEMENT_KEY, version=OLD)
    proxy.publish(Traffic(seed=1, zone=proxy.zone, shape=proxy.shape).batch(10, ending=time.time()))
    with SteeredServer(proxy) as server:
        checked = run_command(
            "check-config",
            "--connect",
            cwd=tmp_path,
            CLIPROXY_URL=server.url,
            CLIPROXY_MANAGEMENT_KEY=MANAGEMENT_KEY,
            EXPORTER_DATA_DIR=str(tmp_path),
        )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"version {OLD}, usage snapshot (v0)" in checked.stdout
    assert "keeps unread records" not in checked.stdout
    with ledger_file(tmp_path) as ledger:
        assert ledger.execute("select count(*) from entry").fetchone() == (0,)
    assert proxy.counts().mutating_calls == 0


# --- credentials ------------------------------------------------------------------------------------------------------


def test_while_a_list_is_broken_accounts_may_come_but_none_may_go(tmp_path: Path) -> None:
    clock = TurnableClock()
    listed = json.loads(Recording.read(f"{OLD}/auth-files-after.json").body)["files"]
    flag = Recording.read(f"{OLD}/management/usage-statistics-enabled-on.json")
    with ReplayProxy([flag]) as replay, closing(open_ledger(tmp_path, clock=clock)) as ledger:
        headers = {"X-Cpa-Version": OLD, "Content-Type": "application/json"}
        client = ProxyClient(name="p", url=replay.url, key=KEY, guard=make_guard(clock=clock, url=replay.url))
        parts, observer = parts_of(ledger, clock=clock), PollMetrics(CollectorRegistry())
        poller = Poller(client, parts, observer=observer, false_start_usd=10.0)

        def seen(files: list[Any], *, broken: bool) -> tuple[list[str], int]:
            keys = Recording("GET", "", 500 if broken else 200, headers, b'{"claude-api-key": []}')
            replay.answer("/v0/management/claude-api-key", keys)
            for path, body in (("auth-files", {"files": files}), ("usage", {"usage": {"apis": {}}})):
                replay.answer(f"/v0/management/{path}", Recording("GET", "", 200, headers, _bytes(body)))
            clock.advance(60)
            poller.poll()
            gone = {each.long_name for each in ledger.name_store.credentials.values() if each.gone}
            return sorted(account.auth_index for _, account in poller.status.accounts), len(gone)

        first, second, third = (each["auth_index"] for each in listed[:3])
        assert seen(listed[:1], broken=True) == ([first], 0)
        assert seen(listed[1:2], broken=True) == (sorted([first, second]), 0)
        assert seen(listed[:2], broken=True) == (sorted([first, second]), 0), "each once"
        assert seen(listed[:2], broken=False) == (sorted([first, second]), 0)
        assert seen(listed[2:3], broken=True) == (sorted([first, second, third]), 0)
        assert seen(listed[2:3], broken=False) == ([third], 2)
        client.close()


def test_the_first_record_of_a_new_credential_has_the_provider_of_its_account(tmp_path: Path) -> None:
    """The account was added after the last read of the list of accounts, which happens once a minute."""
    clock = TurnableClock(now=1_795_535_000.0)
    files = Recording.read(f"{OLD}/auth-files-after.json")
    listed = json.loads(files.body)["files"]
    detail = {
        "timestamp": "2026-11-24T15:43:00Z",
        "latency_ms": 900,
        "source": "carol@planted.example",
        "tokens": {"input_tokens": 5, "output_tokens": 5, "total_tokens": 10},
        "failed": False,
    }
    (carol,) = [each["auth_index"] for each in listed if each["provider"] == "codex" and "carol" in each["name"]]
    without = [each for each in listed if each["auth_index"] != carol]
    flag = Recording.read(f"{OLD}/management/usage-statistics-enabled-on.json")
    with ReplayProxy([flag]) as replay, closing(open_ledger(tmp_path, clock=clock)) as ledger:
        headers = {"X-Cpa-Version": OLD, "Content-Type": "application/json"}

        def show(path: str, body: object) -> None:
            replay.answer(f"/v0/management/{path}", Recording("GET", "", 200, headers, _bytes(body)))

        def show_details(*details: dict[str, Any]) -> None:
            series = {"total_requests": len(details), "total_tokens": 0, "details": details}
            show("usage", {"usage": {"apis": {"sk-planted-client": {"models": {"gpt-5.4": series}}}}})

        client = ProxyClient(name="p", url=replay.url, key=KEY, guard=make_guard(clock=clock, url=replay.url))
        poller = Poller(
            client,
            parts_of(ledger, clock=clock),
            observer=PollMetrics(CollectorRegistry()),
            false_start_usd=10.0,
        )
        show("auth-files", {"files": without})
        show_details()
        poller.poll()
        assert poller.status.state == "ok", poller.status
        clock.advance(30)
        show("auth-files", {"files": listed})
        show_details({**detail, "auth_index": carol})
        poller.poll()
        client.close()
        assert [(route.provider, route.model) for route in ledger.name_store.routes.values()] == [("codex", "gpt-5.4")]
        assert replay.requests["/v0/management/auth-files"] == 2
