"""Which source the exporter finds on each recorded version, by which calls, and what it says about the others."""

import json
from collections.abc import Iterable

import pytest

from exporter.errors import (
    BannedError,
    KeyRefusedError,
    ManagementOffError,
    ProxyError,
    ProxyServerError,
    RemoteDisabledError,
    RespOnlyError,
    UnknownServerError,
)
from exporter.sources.all_sources import detect
from exporter.sources.proxy_config import Flags
from tests.fakes.guarding import KEY, MemoryRefusals, TurnableClock
from tests.fakes.replay import Recording, ReplayProxy
from tests.integration.sources.conftest import Connect

V0 = "/v0/management"
V8 = "/v8/management"
FLAG = f"{V0}/usage-statistics-enabled"
QUEUE = f"{V0}/usage-queue"
V8_QUEUE = f"{V8}/observability/usage/queue"


def _recorded(version: str) -> ReplayProxy:
    names = [f"management/{name}" for name in ("config", "healthz", "root", "usage-statistics-enabled-on")]
    if version in {"v7.1.0", "v7.2.140"}:
        names += ["usage-queue/count-0", "usage-queue/usage-path"]
    if version in {"v6.6.96", "v6.9.49"}:
        names += ["usage-queue-path", "usage/usage-2"]
    return ReplayProxy(Recording.read(f"{version}/{name}.json") for name in names)


def _json(body: object, *, status: int = 200, version: str | None = None) -> Recording:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if version is not None:
        headers |= {"X-Cpa-Version": version, "X-Cpa-Commit": "abc1234"}
    return Recording("GET", "", status, headers, json.dumps(body).encode())


def _v8(version: str = "v8.0.3") -> ReplayProxy:
    replay = ReplayProxy(
        Recording.read(f"v8-constructed/{name}.json")
        for name in ("usage-queue-count-0", "usage-statistics-enabled", "config-node-not-found")
    )
    replay.answer(FLAG, _json({"usage-statistics-enabled": True}, version=version))
    return replay


def _popping_or_bulky(requests: Iterable[str]) -> list[str]:
    """Requests that take records, or may answer with tens of megabytes."""
    return [path for path in requests if (path.split("?")[0] in {QUEUE, V8_QUEUE} and not path.endswith("?count=0"))]


@pytest.mark.parametrize("version", ["v7.1.0", "v7.2.140"])
def test_a_queue_of_v0_is_found(connect: Connect, version: str) -> None:
    with _recorded(version) as replay:
        source = detect(client := connect(replay.url))
        assert (source.kind, source.paths.api, source.version, client.commit) == ("queue", "v0", version, "real")
        assert source.paths.queue == QUEUE
        assert source.read_flags() == Flags(publishing_enabled=True, retention_seconds=3600)
        assert dict(replay.requests) == {FLAG: 1, f"{QUEUE}?count=0": 1, f"{V0}/config": 1}
        assert {method for method, _, _ in replay.received} == {"GET"}


@pytest.mark.parametrize("version", ["v8.0.3", "dev"])
def test_a_queue_of_v8_is_found(connect: Connect, version: str) -> None:
    with _v8(version) as replay:
        source = detect(connect(replay.url))
        assert (source.paths.api, source.paths.queue, source.paths.credentials) == ("v8", V8_QUEUE, f"{V8}/credentials")
        assert source.read_flags() == Flags(publishing_enabled=True, retention_seconds=None)
        assert _popping_or_bulky(replay.requests) == []


def test_a_proxy_without_the_v0_paths_is_read(connect: Connect) -> None:
    with ReplayProxy([Recording.read("v8-constructed/usage-queue-count-0.json")]) as replay:
        source = detect(connect(replay.url))
        assert (source.paths.api, source.version) == ("v8", "v8.0.3")


def test_v8_without_its_own_queue_path_falls_back_to_v0(connect: Connect) -> None:
    with ReplayProxy([Recording.read("v7.2.140/usage-queue/count-0.json")]) as replay:
        replay.answer(FLAG, _json({"usage-statistics-enabled": True}, version="v8.1.0"))
        assert detect(connect(replay.url)).paths.api == "v0"


@pytest.mark.parametrize("stated", ["dev", "unknown", None])
def test_an_unknown_version_with_a_queue_is_read(connect: Connect, stated: str | None) -> None:
    with _recorded("v7.2.140") as replay:
        replay.answer(FLAG, _json({"usage-statistics-enabled": True}, version=stated))
        replay.answer(f"{QUEUE}?count=0", _json({"error": "count must be a positive integer"}, status=400))
        source = detect(connect(replay.url))
        assert (source.paths.api, source.read_flags().retention_seconds) == ("v0", 3600)


def test_a_version_whose_queue_http_does_not_reach_is_told_to_upgrade(connect: Connect) -> None:
    with _recorded("v6.10.5") as replay:
        with pytest.raises(
            RespOnlyError, match=r"is 6\.10\.5 of CLIProxyAPI.*not reachable over HTTP\. Upgrade it to 6\.10\.8"
        ):
            detect(connect(replay.url))
        assert dict(replay.requests) == {FLAG: 1, f"{QUEUE}?count=0": 1}


@pytest.mark.parametrize("version", ["v6.6.96", "v6.9.49"])
def test_an_older_version_is_read_by_its_snapshots(connect: Connect, version: str) -> None:
    with _recorded(version) as replay:
        replay.answer(f"{V0}/usage", Recording.read(f"{version}/usage/usage-2.json"))
        source = detect(connect(replay.url))
        assert (source.kind, source.paths.api, source.version) == ("snapshot", "v0", version)
        replay.answer(f"{V0}/config", _json({ENABLED: True, RETENTION: 300}))
        assert source.read_flags() == Flags(True, None), "nothing waits there to be read in time"


def test_an_unknown_version_with_snapshots_is_recognized_by_its_first_bytes_only(connect: Connect) -> None:
    body = Recording.read("v6.9.49/usage/usage-2.json").body + b" " * 40_000_000
    with ReplayProxy() as replay:
        replay.answer(FLAG, _json({"usage-statistics-enabled": True}, version="dev"))
        replay.answer(f"{V0}/usage", Recording("GET", "", 200, {"Content-Type": "application/json"}, body))
        assert detect(connect(replay.url)).kind == "snapshot"
        assert replay.requests[f"{V0}/usage"] == 1
        assert replay.sent_bytes < 20_000_000  # what the sockets buffered before the client hung up


@pytest.mark.parametrize(
    ("version", "usage"),
    [
        pytest.param("dev", None, id="no known source"),
        pytest.param("dev", {"plugin": "its own /usage"}, id="a plugin's /usage"),
        pytest.param("v9.0.0", None, id="a release of the future"),
    ],
)
def test_a_server_without_any_known_source_is_unsupported(connect: Connect, version: str, usage: object) -> None:
    with ReplayProxy() as replay:
        replay.answer(FLAG, _json({"usage-statistics-enabled": True}, version=version))
        if usage is not None:
            replay.answer(f"{V0}/usage", _json(usage))
        with pytest.raises(UnknownServerError, match="neither a usage queue nor a usage snapshot that is known"):
            detect(connect(replay.url))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(_json([]), id="count=0 is taken for a pop"),
        pytest.param(_json({"error": "nope"}, status=400), id="400 for another reason"),
        pytest.param(_json({}, status=405), id="405"),
    ],
)
def test_a_server_that_does_not_refuse_count_0_is_not_polled_blindly(connect: Connect, answer: Recording) -> None:
    with ReplayProxy() as replay:
        replay.answer(FLAG, _json({"usage-statistics-enabled": True}, version="v7.2.140"))
        replay.answer(f"{QUEUE}?count=0", answer)
        with pytest.raises(UnknownServerError, match="not touched"):
            detect(connect(replay.url))
        assert _popping_or_bulky(replay.requests) == []


@pytest.mark.parametrize("version", ["v6.6.96", "v7.1.0", "v7.2.140"])
def test_management_that_is_off_is_distinguished_from_a_wrong_url(connect: Connect, version: str) -> None:
    with ReplayProxy() as replay:
        replay.answer(FLAG, Recording.read(f"{version}/refused/management-disabled.json"))
        replay.answer("/", Recording.read(f"{version}/management/root.json"))
        with pytest.raises(ManagementOffError, match=r"is CLIProxyAPI, but has no Management API.*secret-key"):
            detect(connect(replay.url))
        assert [headers["Authorization"] for _, path, headers in replay.received if path == "/"] == [None]
    with ReplayProxy() as replay, pytest.raises(ManagementOffError, match="CLIPROXY_URL"):
        detect(connect(replay.url))


@pytest.mark.parametrize(
    ("recording", "error"),
    [
        ("v7.2.140/refused/wrong-key-1.json", KeyRefusedError),
        ("v7.2.140/refused/wrong-key-6.json", BannedError),
        ("v7.2.140/refused/remote-disabled.json", RemoteDisabledError),
    ],
)
def test_detection_ends_with_the_first_refusal(connect: Connect, recording: str, error: type[ProxyError]) -> None:
    with _recorded("v7.2.140") as replay:
        replay.answer(FLAG, Recording.read(recording))
        client = connect(replay.url)
        with pytest.raises(error):
            detect(client)
        assert replay.requests.total() == 1
        assert client.version == "v7.2.140"


def test_a_refused_key_is_tried_by_one_call_however_often_the_exporter_restarts(
    connect: Connect, store: MemoryRefusals, clock: TurnableClock
) -> None:
    with _recorded("v7.2.140") as replay:
        for path in (FLAG, f"{QUEUE}?count=0", f"{V0}/config"):
            replay.answer(path, Recording.read("v7.2.140/refused/wrong-key-1.json"))
        for tries in (1, 2, 3, 3):
            for _ in range(3):
                with pytest.raises(KeyRefusedError):
                    detect(connect(replay.url))  # a new process each time
            assert replay.requests.total() == tries
            clock.advance(150 * 60)
        assert KEY not in str(store.load())
        with pytest.raises(KeyRefusedError):
            detect(connect(replay.url, key="another-wrong-key"))
        assert replay.requests.total() == 4


def test_a_wrong_key_on_a_v8_only_proxy_ends_the_detection_too(connect: Connect) -> None:
    with ReplayProxy() as replay:
        replay.answer(f"{V8_QUEUE}?count=0", Recording.read("v8-constructed/wrong-key.json"))
        for _ in range(2):
            with pytest.raises(KeyRefusedError):
                detect(connect(replay.url))
        assert replay.requests.total() == 2


def test_a_proxy_in_trouble_is_not_called_unsupported(connect: Connect) -> None:
    with _recorded("v7.2.140") as replay:
        replay.answer(f"{QUEUE}?count=0", _json({}, status=503))
        with pytest.raises(ProxyServerError):
            detect(connect(replay.url))


RETENTION = "redis-usage-queue-retention-seconds"
ENABLED = "usage-statistics-enabled"


@pytest.mark.parametrize(
    ("config", "flags"),
    [
        ({ENABLED: False, RETENTION: 300}, Flags(False, 300)),
        pytest.param({ENABLED: True, RETENTION: 0}, Flags(True, 60), id="0 means the default"),
        pytest.param({ENABLED: True, RETENTION: 99_999}, Flags(True, 3600), id="CPA's maximum"),
        pytest.param({ENABLED: True}, Flags(True, None), id="not told"),
        pytest.param({ENABLED: "yes", RETENTION: "long"}, Flags(True, None), id="other types: the switch's path"),
        pytest.param(
            {"observability": {"usage": {ENABLED: False, RETENTION: 120}}}, Flags(False, 120), id="v8's places"
        ),
        pytest.param(["not", "an", "object"], Flags(True, None), id="another shape"),
    ],
)
def test_flags_are_read_again(connect: Connect, config: object, flags: Flags) -> None:
    with _recorded("v7.2.140") as replay:
        source = detect(connect(replay.url))
        replay.answer(f"{V0}/config", _json(config))
        replay.requests.clear()
        assert source.read_flags() == flags
        assert replay.requests.total() <= 2


def test_what_the_file_of_v8_leaves_out_is_read_from_the_configuration_in_force(connect: Connect) -> None:
    with _v8() as replay:
        replay.answer(f"{V8}/config", _json({"observability": {"usage": {RETENTION: 120}}}))
        replay.answer(f"{V8}/config/observability/usage/{ENABLED}", _json({"error": "not_found"}, status=404))
        replay.answer(f"{V0}/config", _json({ENABLED: False, RETENTION: 120}))
        assert detect(connect(replay.url)).read_flags() == Flags(False, 120)


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_configuration_that_cannot_be_read_does_not_stop_the_reading_of_the_queue(
    connect: Connect, status: int
) -> None:
    with _recorded("v7.2.140") as replay:
        replay.answer(f"{V0}/config", _json({"error": "x"}, status=status))
        assert detect(connect(replay.url)).read_flags() == Flags(publishing_enabled=True, retention_seconds=None)


def test_no_secret_of_the_configuration_is_kept(connect: Connect) -> None:
    with _recorded("v7.2.140") as replay:
        source = detect(connect(replay.url))
        assert "planted" not in repr([source.read_flags(), vars(source)])
