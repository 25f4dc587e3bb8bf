"""A subscription beside others: nothing is lost or doubled, and records that only others received are reported."""

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from itertools import islice
from pathlib import Path

import pytest
import trustme

from exporter.errors import KeyRefusedError, ProxyError, ProxyUnreachableError
from exporter.simulator.world import MANAGEMENT_KEY
from exporter.sources import resp_connection, usage_subscription
from exporter.sources.paths import V0
from exporter.sources.proxy_client import ProxyClient
from exporter.sources.resp_connection import connect
from tests.benches.booking import GOOD
from tests.benches.identities import booked_in, identity_of
from tests.benches.polling import WRONG_KEY, Bench, bench_of
from tests.fakes.guarding import MemoryRefusals, TurnableClock, make_guard
from tests.fakes.raw import RawServer, head, send
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic, alike
from tests.fakes.subscribing import Line, OtherSubscriber, behind_tls
from tests.stack.running import flow_in
from tests.stack.waiting import PATIENCE_SECONDS, wait_until

_BOOKED = "cliproxy_exporter_records_booked_total"
_GAPS = "cliproxy_exporter_retention_gaps_total"
_MISSED = "cliproxy_exporter_missed_records_estimate"
_CHUNK = 50


@dataclass
class _Scene:
    """A demo proxy at ``url``, and the program that subscribes to it through ``line``."""

    proxy: SteeredProxy
    url: str
    line: Line
    bench: Bench

    @property
    def booked(self) -> int:
        return flow_in(self.bench.data_dir).booked

    @property
    def received(self) -> int:
        return flow_in(self.bench.data_dir).received

    def use(self, records: int, publish: Callable[[int], object] | None = None) -> None:
        """Publish no faster than all subscribers read."""
        for _ in range(0, records, _CHUNK):
            before = self.proxy.counts()
            (publish or self.bench.publish)(_CHUNK)
            due = before.pushed + _CHUNK * before.subscribers
            wait_until(lambda due=due: self.proxy.counts().pushed >= due)  # type: ignore[misc]

    def wait_for_subscribers(self, number: int) -> None:
        wait_until(lambda: self.proxy.counts().subscribers == number)


@contextmanager
def _scene(directory: Path, *, version: str = "v7.2.140", clock: TurnableClock | None = None) -> Iterator[_Scene]:
    proxy = SteeredProxy(key=MANAGEMENT_KEY, version=version, retention_seconds=3600)
    with (
        SteeredServer(proxy) as server,
        Line(server.url) as line,
        bench_of(directory, proxy, url=line.url, clock=clock, source="subscribe") as bench,
    ):
        yield _Scene(proxy, server.url, line, bench)


def _clock() -> TurnableClock:
    return TurnableClock(now=time.time())


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_CONNECT_SECONDS", "_REPLY_SECONDS"):
        monkeypatch.setattr(resp_connection, name, PATIENCE_SECONDS)
    monkeypatch.setattr(usage_subscription, "_PONG_SECONDS", PATIENCE_SECONDS)


# --- beside others ----------------------------------------------------------------------------------------------------


def test_twenty_thousand_records_beside_another_subscriber_over_reconnects(tmp_path: Path) -> None:
    with _scene(tmp_path) as scene, OtherSubscriber(scene.url) as other:
        records = alike(Traffic(seed=4, zone=UTC).batch(2000, ending=time.time()))
        for round_ in range(1, 11):
            scene.use(2000, lambda number: scene.proxy.enqueue(islice(records, number)))
            wait_until(lambda due=2000 * round_: scene.booked == len(other.records) == due)  # type: ignore[misc]
            scene.line.cut()
            scene.wait_for_subscribers(1)
            scene.line.mend()
            scene.wait_for_subscribers(2)
        assert len(other.records) == 20_000
        assert booked_in(scene.bench.data_dir) == {identity_of(raw): 1 for raw in other.records}
        assert scene.proxy.counts().enqueued == 0, "nothing went through the queue"
        wait_until(lambda: len(scene.bench.logged("event=subscription_gap")) == 10)
        cut_pops = len(scene.bench.logged("event=pop_cut"))  # a cut may hit a poll of the queue: another gap
        wait_until(lambda: scene.bench.metric(_GAPS) == 10 + cut_pops)


def test_records_that_only_another_subscriber_received_are_reported_and_counted(tmp_path: Path) -> None:
    clock = _clock()
    with _scene(tmp_path, clock=clock) as scene, OtherSubscriber(scene.url) as other:
        scene.use(100)
        wait_until(lambda: scene.booked == 100)
        clock.advance(61)
        scene.bench.poll()
        scene.line.cut()
        scene.wait_for_subscribers(1)
        scene.use(150)
        scene.line.mend()
        scene.wait_for_subscribers(2)
        scene.use(50)
        wait_until(lambda: (scene.booked, len(other.records)) == (150, 300))
        clock.advance(61)
        scene.bench.poll()
        got = [*other.records[:100], *other.records[250:]]
        assert booked_in(scene.bench.data_dir) == {identity_of(raw): 1 for raw in got}
        assert scene.bench.metric(_GAPS) == 1
        assert scene.bench.metric(_MISSED) == 150
        assert scene.bench.logged("event=subscription_gap", "was not subscribed to for", "polled the queue meanwhile")
        assert "was not subscribed to for" in scene.bench.page
        assert "if another program subscribed or polled the queue meanwhile" in scene.bench.page
        assert scene.bench.state == "ok"


def test_alone_nothing_is_lost_while_the_connection_is_away(tmp_path: Path) -> None:
    clock = _clock()
    with _scene(tmp_path, clock=clock) as scene:
        published = 0
        for _ in range(5):
            scene.use(100)
            wait_until(lambda: scene.received == scene.proxy.counts().pushed + scene.proxy.counts().popped)
            scene.line.cut()
            scene.wait_for_subscribers(0)
            scene.bench.publish(70)
            published += 170
            scene.line.mend()
            scene.wait_for_subscribers(1)
        scene.bench.poll()
        wait_until(lambda: scene.booked == published)
        clock.advance(61)
        scene.bench.poll()
        assert scene.proxy.counts().queued == 0
        assert (scene.bench.metric(_GAPS), scene.bench.metric(_MISSED)) == (5, 0)


def test_records_that_waited_before_the_subscription_are_read(tmp_path: Path) -> None:
    proxy = SteeredProxy(key=MANAGEMENT_KEY, retention_seconds=3600)
    traffic = Traffic(seed=5, zone=proxy.zone, shape=proxy.shape)
    proxy.publish(traffic.batch(1200, ending=time.time()))
    with SteeredServer(proxy) as server, bench_of(tmp_path, proxy, url=server.url, source="subscribe") as bench:
        assert bench.metric(_BOOKED) == 1200
        assert proxy.counts().subscribers == 1


def test_a_clean_stop_keeps_all_sent_records_and_the_next_start_reports_the_gap(tmp_path: Path) -> None:
    with _scene(tmp_path) as scene:
        scene.use(200)
        data_dir = scene.bench.data_dir
    assert flow_in(data_dir).booked == scene.proxy.counts().pushed == 200
    with _scene(tmp_path) as scene:
        assert scene.bench.metric(_GAPS) == 1
        assert scene.bench.logged("event=subscription_gap")


def test_the_time_up_to_a_clean_stop_is_no_gap(tmp_path: Path) -> None:
    """The last poll may be long past: a subscription brings records without one."""
    clock = _clock()
    with _scene(tmp_path, clock=clock):
        clock.advance(1000)
    clock.advance(7)
    with _scene(tmp_path, clock=clock) as scene:
        assert scene.bench.logged("event=subscription_gap", "seconds=7 ")


# --- at once ----------------------------------------------------------------------------------------------------------


def test_records_are_booked_while_a_poll_hangs(tmp_path: Path) -> None:
    clock = _clock()
    with _scene(tmp_path, clock=clock) as scene:
        scene.use(50)
        wait_until(lambda: scene.booked == 50)
        clock.advance(61)
        scene.proxy.fault(path="auth-files", kind="hang", seconds=60)
        asked = scene.proxy.requests["auth-files"]
        scene.bench.exporter.trigger()
        wait_until(lambda: scene.proxy.requests["auth-files"] > asked)
        scene.use(50)
        wait_until(lambda: scene.booked == 100)
        assert scene.proxy.requests["auth-files"] == asked + 1, "the poll still waits"


def test_records_of_an_account_in_no_list_wait_for_one_look_at_the_lists(tmp_path: Path) -> None:
    clock = _clock()
    with _scene(tmp_path, clock=clock) as scene:
        asked = scene.proxy.requests["auth-files"]
        clock.advance(10)
        scene.proxy.enqueue([GOOD | {"auth_index": "f" * 16}])
        wait_until(lambda: scene.received == 1)
        scene.bench.poll()
        assert (scene.booked, scene.proxy.requests["auth-files"]) == (1, asked + 1)
        scene.proxy.enqueue([GOOD | {"auth_index": "e" * 16}])
        wait_until(lambda: scene.booked == 2)  # the look is too young for another one
        clock.advance(10)
        scene.proxy.enqueue([GOOD | {"auth_index": "f" * 16, "request_id": "00000002"}])
        wait_until(lambda: scene.booked == 3)
        scene.bench.poll()
        assert scene.proxy.requests["auth-files"] == asked + 1


# --- a connection that is none any more -------------------------------------------------------------------------------


def test_a_half_open_connection_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _scene(tmp_path) as scene:
        scene.use(50)
        wait_until(lambda: scene.booked == 50)  # sent records may still be on the line
        scene.line.go_dead()
        scene.bench.publish(10)  # these go nowhere
        with monkeypatch.context() as impatient:
            impatient.setattr(usage_subscription, "_PING_SECONDS", 0.2)
            impatient.setattr(usage_subscription, "_PONG_SECONDS", 0.2)
            wait_until(lambda: scene.bench.logged("event=not_subscribed", "did not answer a PING"))
        scene.line.mend()
        scene.wait_for_subscribers(2)  # the proxy does not know that the first connection is dead
        scene.bench.publish(40)
        wait_until(lambda: scene.booked == 90)
        assert scene.bench.metric(_GAPS) == 1


def test_a_restart_of_the_proxy_is_followed(tmp_path: Path) -> None:
    clock = _clock()
    with _scene(tmp_path, clock=clock) as scene:
        scene.use(100)
        wait_until(lambda: scene.booked == 100)
        clock.advance(61)
        scene.bench.poll()
        scene.proxy.restart()
        scene.wait_for_subscribers(1)
        scene.use(50)
        wait_until(lambda: scene.booked == 150)
        clock.advance(61)
        scene.bench.poll()
        assert scene.bench.metric("cliproxy_exporter_restarts_detected_total") == 1
        assert scene.bench.metric("cliproxy_proxy_info", source="subscription-v0") == 1


@pytest.mark.parametrize("version", ["v7.2.140", "v7.2.141"], ids=["same", "newer"])
def test_after_an_absence_a_proxy_of_any_version_has_one_subscriber(tmp_path: Path, version: str) -> None:
    """With two, each record would be booked twice."""
    with _scene(tmp_path) as scene:
        scene.line.cut()
        scene.wait_for_subscribers(0)
        scene.proxy.upgrade(version)
        scene.proxy.fault(path="usage-queue", kind="cut", times=2)  # one may hit a poll that is not ours
        scene.line.mend()
        scene.wait_for_subscribers(1)
        scene.bench.poll()
        assert scene.bench.state == "unreachable"
        scene.bench.poll(4)
        assert (scene.bench.state, scene.proxy.counts().subscribers) == ("ok", 1)
        scene.use(50)
        wait_until(lambda: scene.booked >= 50)
        scene.bench.poll()
        assert scene.booked == 50


def test_calls_that_fail_do_not_end_the_subscription(tmp_path: Path) -> None:
    clock = _clock()
    with _scene(tmp_path, clock=clock) as scene:
        clock.advance(61)
        scene.proxy.fault(path="config", kind="status", status=502)
        scene.proxy.fault(path="api-key-usage", kind="cut")
        scene.proxy.fault(path="*", kind="cut", times=3)
        scene.bench.poll(2)
        clock.advance(61)
        scene.bench.poll(2)
        scene.use(50)
        wait_until(lambda: scene.booked == 50)
        assert scene.bench.metric(_GAPS) == 0
        assert scene.proxy.counts().subscribers == 1


# --- where there is no RESP -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "sentence", "source"),
    [
        ("v7.0.6", "A subscription needs CPA 7.0.7 or newer, and not 7.1.17.", "queue-v0"),
        ("v7.1.17", "A subscription needs CPA 7.0.7 or newer, and not 7.1.17.", "queue-v0"),
        ("v6.9.49", "It cannot be subscribed to, and need not be: reading a snapshot takes nothing", "snapshot-v0"),
    ],
)
def test_a_version_without_it_is_polled_with_a_sentence(
    tmp_path: Path, version: str, sentence: str, source: str
) -> None:
    with _scene(tmp_path, version=version) as scene:
        scene.bench.publish(30)
        scene.bench.poll()
        assert scene.booked == 30
        assert scene.bench.state == "ok"
        assert sentence in scene.bench.page
        assert scene.bench.logged("event=proxy_state", "state=ok", sentence)
        assert scene.bench.metric("cliproxy_proxy_info", source=source) == 1


def test_an_upgrade_brings_the_subscription(tmp_path: Path) -> None:
    clock = _clock()
    with _scene(tmp_path, version="v7.0.6", clock=clock) as scene:
        scene.proxy.upgrade("v7.2.140")
        clock.advance(61)
        scene.bench.poll(2)
        scene.use(50)
        wait_until(lambda: scene.booked == 50)
        assert scene.proxy.counts().subscribers == 1


def test_an_unknown_version_is_asked(tmp_path: Path) -> None:
    with _scene(tmp_path) as scene:
        scene.proxy.upgrade("v7.1.17", shown_version="dev")
        scene.bench.poll(2)
        assert scene.bench.logged("event=not_subscribed", "has RESP switched off")
        assert "has RESP switched off" in scene.bench.page


def test_a_reverse_proxy_that_passes_only_http_is_polled() -> None:
    answer = head("400 Bad Request") + b"not HTTP"
    with RawServer(send(answer)) as server, pytest.raises(ProxyError, match="A reverse proxy passes on HTTP only"):
        connect(_client(server.url))


def test_a_subscription_works_over_tls_with_a_private_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, proxy = trustme.CA(), SteeredProxy(key=MANAGEMENT_KEY, retention_seconds=3600)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with SteeredServer(proxy) as server, behind_tls(server.url, context) as url:
        with pytest.raises(ProxyUnreachableError, match="its TLS certificate is not trusted"):
            connect(_client(url))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        with bench_of(tmp_path, proxy, url=url, source="subscribe") as bench:
            wait_until(lambda: proxy.counts().subscribers == 1)
            bench.publish(50)
            wait_until(lambda: flow_in(bench.data_dir).booked == 50)
            wait_until(lambda: (proxy.counts().pushed, proxy.counts().enqueued) == (50, 0))
            wait_until(lambda: bench.metric("cliproxy_proxy_info", source="subscription-v0") == 1)


# --- the key ----------------------------------------------------------------------------------------------------------


def _client(url: str, *, key: str = MANAGEMENT_KEY, store: MemoryRefusals | None = None) -> ProxyClient:
    return ProxyClient(name="default", url=url, key=key, guard=make_guard(store=store, url=url, key=key))


def test_a_refused_login_counts_in_the_guards_budget() -> None:
    proxy, store = SteeredProxy(key=MANAGEMENT_KEY), MemoryRefusals()
    with SteeredServer(proxy) as server:
        client = _client(server.url, key=WRONG_KEY, store=store)
        for _ in range(3):
            with pytest.raises(KeyRefusedError):
                connect(client)
        assert proxy.counts().refused_logins == 1
        with pytest.raises(KeyRefusedError):
            client.get(V0.config)
        assert proxy.counts().refused_logins == 1, "over HTTP, too, it is not tried again"
    (refused,) = store.load()
    assert refused.count == 1
