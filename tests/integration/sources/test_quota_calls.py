"""Asking providers through a proxy over real sockets: what goes out, and the result of every failure."""

import json
import socket
import threading
from dataclasses import replace
from typing import Any

import pytest

from exporter.errors import BannedError, KeyRefusedError
from exporter.quotas.base import AccountIds, Refusal
from exporter.sources.paths import V0, V8
from exporter.sources.proxy_client import Timeouts
from exporter.sources.quota_calls import MAX_ANSWER, ask, find_account_ids, find_quota_api
from tests.benches.asked import call_of
from tests.fakes.guarding import KEY, MemoryRefusals
from tests.fakes.raw import RawServer, Script, drip, hang, head, send
from tests.fakes.replay import Recording, ReplayProxy
from tests.integration.sources.conftest import DRIPPING, HANGING, Connect

NOW_MS = 1_795_534_060_000
CLAUDE = call_of("claude")
ANTIGRAVITY = call_of("antigravity")
RECORDED = Recording.read("v7.2.140/api-call/claude-usage.json")


def _ask(connect: Connect, url: str, **more: Any) -> Any:
    client = connect(url, timeouts=more.get("timeouts"))
    return ask(client, more.get("paths", V0), "a", more.get("call", CLAUDE), AccountIds(), now_ms=lambda: NOW_MS)


def test_a_recorded_answer_is_read(connect: Connect) -> None:
    with ReplayProxy([RECORDED]) as replay:
        report = _ask(connect, replay.url)

        assert {(each.window, each.scope) for each in report.readings} >= {("5h", ""), ("7d", "")}
        assert {each.source for each in report.readings} == {"active"}
        method, path, headers = replay.received[0]
        assert (method, path) == ("POST", V0.api_call)
        assert headers["Authorization"] == f"Bearer {KEY}"
        assert headers["Content-Type"] == "application/json"


def test_version_8_has_another_path(connect: Connect) -> None:
    with ReplayProxy([replace(RECORDED, path="/v8/management/requests/api-call")]) as replay:
        assert _ask(connect, replay.url, paths=V8).refusal is None


def test_without_the_needed_facts_no_call_is_made(connect: Connect) -> None:
    with ReplayProxy([RECORDED]) as replay:
        assert _ask(connect, replay.url, call=ANTIGRAVITY).refusal is Refusal.NO_PROJECT
        assert replay.received == []


@pytest.mark.parametrize(
    ("status", "body", "refusal"),
    [
        (404, b"", Refusal.UNSUPPORTED),
        (404, b"404 page not found", Refusal.UNSUPPORTED),
        (502, b'{"error": "request failed"}', Refusal.UNAVAILABLE),
        (400, b'{"error": "auth credential not found for auth_index"}', Refusal.GONE),
        (400, b'{"error": "auth token refresh failed"}', Refusal.UNAUTHORIZED),
        (200, b"<!DOCTYPE html><html>login</html>", Refusal.UNREADABLE),
        (200, b"", Refusal.UNREADABLE),
        (200, b"[" * 10_000, Refusal.UNREADABLE),
        (302, b"", Refusal.UNREADABLE),
        (418, b"", Refusal.UNAVAILABLE),
    ],
)
def test_each_refusal_of_a_proxy_has_its_reason(connect: Connect, status: int, body: bytes, refusal: Refusal) -> None:
    with ReplayProxy([Recording("POST", V0.api_call, status, {"Content-Type": "text/plain"}, body)]) as replay:
        assert _ask(connect, replay.url).refusal is refusal


@pytest.mark.parametrize(("status", "error"), [(401, KeyRefusedError), (403, BannedError)])
def test_a_proxy_that_refuses_ends_all_calls(
    connect: Connect, store: MemoryRefusals, status: int, error: type[Exception]
) -> None:
    text = b'{"error": "IP banned due to too many failed attempts. Try again in 29m58s"}'
    with ReplayProxy([Recording("POST", V0.api_call, status, {"Content-Type": "application/json"}, text)]) as replay:
        client = connect(replay.url)
        for _ in range(3):
            with pytest.raises(error):
                ask(client, V0, "a", CLAUDE, AccountIds(), now_ms=lambda: NOW_MS)
        assert len(replay.received) == 1
        assert store.load(), "it is remembered for the polls, too"


def _send_50_mb(connection: socket.socket, _stopped: threading.Event) -> None:
    start, mebibyte, end = b'{"status_code": 200, "header": {}, "body": "', b"x" * 2**20, b'"}'
    connection.sendall(head(length=len(start) + 50 * len(mebibyte) + len(end)) + start)
    for _ in range(50):
        connection.sendall(mebibyte)
    connection.sendall(end)


@pytest.mark.parametrize(
    ("script", "timeouts", "refusal"),
    [
        pytest.param(hang(), HANGING, Refusal.UNAVAILABLE, id="silence"),
        pytest.param(drip(head(length=1_000_000), b"x"), DRIPPING, Refusal.UNAVAILABLE, id="a byte now and then"),
        pytest.param(send(head(length=1000), b"{"), None, Refusal.UNAVAILABLE, id="broken off"),
        pytest.param(_send_50_mb, None, Refusal.UNREADABLE, id="50 MB"),
    ],
)
def test_each_answer_that_fails_to_come_has_its_reason(
    connect: Connect, script: Script, timeouts: Timeouts | None, refusal: Refusal
) -> None:
    with RawServer(script) as server:
        assert _ask(connect, server.url, timeouts=timeouts).refusal is refusal


def test_a_proxy_that_is_away_is_unavailable(connect: Connect) -> None:
    assert _ask(connect, "http://127.0.0.1:1").refusal is Refusal.UNAVAILABLE


def test_an_account_is_looked_up_by_its_handle(connect: Connect) -> None:
    recording = Recording.read("v7.2.140/auth-files-after.json")
    known = json.loads(recording.body)["files"][0]["auth_index"]
    with ReplayProxy([recording]) as replay:
        client = connect(replay.url)
        assert find_account_ids(client, V0, known) is not None
        assert find_account_ids(client, V0, "0" * 16) is None
        assert replay.received[0][1] == f"{V0.credentials}?auth_index={known}"
        assert find_account_ids(client, V0, "a b&name=x") is None
        assert replay.received[2][1] == f"{V0.credentials}?auth_index=a%20b%26name%3Dx"


def test_the_providers_that_a_plugin_knows_are_found(connect: Connect) -> None:
    recording = Recording.read("v8-constructed/quota-providers.json")
    with ReplayProxy([replace(recording, path=V0.quota_providers)]) as replay:
        assert find_quota_api(connect(replay.url), V8) == {"gemini-cli"}
    with ReplayProxy() as replay:
        assert find_quota_api(connect(replay.url), V0) == frozenset()


def test_a_plugin_is_asked_with_the_account_alone(connect: Connect) -> None:
    recording = replace(Recording.read("v8-constructed/quota-fetch.json"), path=V0.quota_fetch)
    with ReplayProxy([recording]) as replay:
        report = _ask(connect, replay.url, call=None)
        assert report.refusal is None
        assert report.plan == "pro"


def test_the_size_limit_is_far_above_real_answers() -> None:
    assert 20 * len(RECORDED.body) < MAX_ANSWER < 10_000_000
