"""Secrets and people stay inside: nothing confidential that a proxy holds leaves the program, by any way out.

The program runs as users run it, with its most verbose log, in front of a demo proxy, of recorded servers, and of
servers that put secrets where none belong. Then the tests search every line, page, metric, command, byte on disk and
row in Supabase for all planted secrets, and for the program's own.
"""

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exporter.simulator.world import CLIENTS, CREDENTIALS, MANAGEMENT_KEY
from tests.fakes.guarding import KEY
from tests.fakes.planted import secrets
from tests.fakes.replay import FIXTURES, Recording, ReplayProxy
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.resp import RespSession
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack import loopback
from tests.stack.running import Process, exporter_process, flow_in, run_command, secrets_found
from tests.stack.supabase.api import SupabaseApi
from tests.stack.supabase.comparison import waiting
from tests.stack.supabase.postgres import Database
from tests.stack.waiting import wait_until

TOKEN = "planted-exporter-token-5f0c"
HASH_KEY = "planted-exporter-hash-key-93aa"
WRONG_KEY = "planted-wrong-management-key-1d"
OWN_SECRETS = (MANAGEMENT_KEY, KEY, TOKEN, HASH_KEY, WRONG_KEY)
RECORDED_SECRETS = (FIXTURES / "secrets.txt").read_text(encoding="utf-8").splitlines()
ALL_SECRETS = sorted({*secrets(), *RECORDED_SECRETS, *OWN_SECRETS})

VERSIONS = ("v7.1.0", "v7.2.140")
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def _records(version: str) -> list[bytes]:
    """Every recorded wire record of a version."""
    found: list[bytes] = []
    for file in sorted((FIXTURES / version / "usage-queue").glob("*.json")):
        body = None if file.name.endswith(".truth.json") else json.loads(file.read_text(encoding="utf-8")).get("body")
        if isinstance(body, list):
            found += map(msgspec.json.encode, body)
    assert len(found) > 50
    return found


PRIVATE_FIELDS = (
    "source",
    "api_key",
    "client_ip",
    "x_forwarded_for",
    "user_agent",
    "access_token_sha256",
    "response_headers",
    "fail",
    "a_field_of_the_future",
)


def _poisoned() -> list[bytes]:
    """Records whose private fields hold a secret in many forms, and secrets in place of records."""
    record: dict[str, Any] = json.loads(_records("v7.2.140")[0])
    poisoned = [json.dumps(secret).encode() for secret in RECORDED_SECRETS]
    for number, name in enumerate(PRIVATE_FIELDS):
        secret = RECORDED_SECRETS[number]
        shapes = (secret, [secret], {secret: [secret]}, {"status_code": 500, "body": f"Bearer {secret}"})
        poisoned += [msgspec.json.encode({**record, "failed": True, name: shape}) for shape in shapes]
    return poisoned


def _recorded_server(version: str) -> ReplayProxy:
    """A server with all recorded lists of a version, full of keys and addresses, and one batch in its queue."""
    names = ["usage-queue/count-0", "management/config", "management/usage-statistics-enabled-on"]
    names += ["auth-files-after", "api-key-usage-after"]
    replay = ReplayProxy(Recording.read(f"{version}/{name}.json") for name in names)
    for file in (FIXTURES / version / "management").glob("*-key.json"):
        replay.answer(f"/v0/management/{file.stem}", Recording.read(f"{version}/management/{file.name}"))
    compatible = Recording.read(f"{version}/management/openai-compatibility.json")
    replay.answer("/v0/management/openai-compatibility", compatible)
    body = b"[" + b",".join([*_records(version), *_poisoned()][:499]) + b"]"
    batch = Recording.read(f"{version}/usage-queue/claude-oauth.json")
    replay.answer("/v0/management/usage-queue?count=500", replace(batch, body=body))
    return replay


def _configuration(proxies: dict[str, tuple[str, str]], *, source: str = "queue") -> str:
    """A YAML file of these proxies (name, URL, key), with aliases that are matched by secrets."""
    clients = [{"alias": f"person {number}", "key": client.key} for number, client in enumerate(CLIENTS[:2])]
    credentials = [
        {"alias": "the team's account", "email": CREDENTIALS[0].email},
        {"alias": "the big account", "file": CREDENTIALS[2].file_name},
        {"alias": "the paid key", "key": CREDENTIALS[7].key},
    ]
    return json.dumps(
        {
            "proxies": [
                {"name": name, "url": url, "management_key": key, "source": source}
                for name, (url, key) in proxies.items()
            ],
            "aliases": {"clients": clients, "credentials": credentials},
        }
    )


@contextmanager
def _program(
    directory: Path, proxies: dict[str, tuple[str, str]], *, source: str = "queue", **more: str
) -> Iterator[tuple[Process, dict[str, str]]]:
    """The program in front of these proxies, and its settings; ``more`` are further settings."""
    (directory / "config.yaml").write_text(_configuration(proxies, source=source), encoding="utf-8")
    settings = {
        "EXPORTER_CONFIG": "config.yaml",
        "EXPORTER_TOKEN": TOKEN,
        "EXPORTER_HASH_KEY": HASH_KEY,
        "LOG_LEVEL": "debug",
        **more,
    }
    with exporter_process(directory, **settings) as program:
        yield program, settings


def _everything_it_says(program: Process) -> dict[str, str]:
    """All answers of its server, to visitors with the token and to visitors without."""
    texts: dict[str, str] = {}
    paths = [
        "/",
        "/metrics",
        "/sd",
        "/-/healthy",
        "/-/ready",
        "/api/collector/health",
        "/api/unknown",
        "/api/collector/reset/7",
    ]
    with loopback.client(base_url=program.url) as client:
        for path in paths:
            for method in ("GET", "POST"):
                for headers in (BEARER, {"Authorization": f"Bearer {WRONG_KEY}"}):
                    answer = client.request(method, path, headers=headers)
                    texts[f"{method} {path} {headers is BEARER}"] = f"{answer.headers}\n{answer.text}"
        openmetrics = client.get("/metrics", headers={**BEARER, "Accept": "application/openmetrics-text"})
        assert openmetrics.text.endswith("# EOF\n")
        assert client.post("/api/collector/trigger", headers=BEARER).status_code == 202
    texts["openmetrics"] = openmetrics.text
    assert "cliproxy_requests_total" in texts["GET /metrics True"]
    assert "cliproxy_requests_total" not in texts["GET /metrics False"]
    return texts


def _streams(program: Process) -> dict[str, str]:
    return {"standard output": "\n".join(program.out), "log": "\n".join(program.log)}


def _tables(database: Database) -> dict[str, str]:
    """Every row of every table in Supabase."""
    names = [
        row["name"] for row in database.rows("select tablename as name from pg_tables where schemaname = 'public'")
    ]
    return {f"table {name}": json.dumps(database.rows(f"select * from {name}")) for name in names}


def test_what_proxies_hold_stays_inside(tmp_path: Path, supabase_api: SupabaseApi) -> None:
    data_dir = tmp_path / "data"
    secret_key = supabase_api.secret_key
    demo = SteeredProxy(key=MANAGEMENT_KEY)
    demo.publish(Traffic(seed=9, zone=demo.zone, shape=demo.shape).batch(600, ending=demo.clock.now()))
    demo.enqueue([*_records("v7.1.0"), *_records("v7.2.140"), *_poisoned()])
    with ExitStack() as stack:
        proxies = {"demo": (stack.enter_context(SteeredServer(demo)).url, MANAGEMENT_KEY)}
        for version in VERSIONS:
            proxies[f"recorded-{version}"] = (stack.enter_context(_recorded_server(version)).url, KEY)
        history = {"SUPABASE_URL": supabase_api.url, "SUPABASE_SECRET_KEY": secret_key}
        program, settings = stack.enter_context(_program(tmp_path, proxies, EXPORTER_QUOTAS="active", **history))
        wait_until(lambda: all(flow_in(data_dir, name).booked >= 50 for name in proxies))
        wait_until(lambda: demo.counts().queued == 0 and flow_in(data_dir, "demo").received == demo.counts().popped)
        wait_until(lambda: not flow_in(data_dir, "demo").pending)
        assert all(flow_in(data_dir, name).adds_up for name in proxies)
        assert flow_in(data_dir, "demo").rejected >= len(RECORDED_SECRETS)
        wait_until(lambda: all(waiting(data_dir, proxy=name) == 0 for name in proxies))
        asked = demo.vendors.counts.calls
        wait_until(lambda: {name.partition("-")[0] for name in [*asked]} >= {"claude", "antigravity", "xai"})
        texts = _everything_it_says(program) | _tables(supabase_api.database)
        assert "person 0" in texts["GET /metrics True"]
        assert "the team" in texts["GET / True"]
        assert "person 0" in texts["table exporter_labels"]
        assert program.stop() == 0
        texts |= _streams(program)
        own = {**settings, "EXPORTER_DATA_DIR": str(data_dir)}
        for command in (
            ["export"],
            ["export", "--format", "csv"],
            ["export", "--format", "openmetrics"],
            ["check-config", "--connect"],
            ["replay"],
        ):
            done = run_command(*command, cwd=tmp_path, **own)
            assert done.returncode == 0, (command, done.stderr, done.stdout[-500:])
            assert done.stdout
            texts[" ".join(command)] = done.stdout + done.stderr
    assert len([name for name, text in texts.items() if name.startswith("table ") and text != "[]"]) > 10
    assert secrets_found([*ALL_SECRETS, secret_key], texts=texts, data_dir=data_dir) == []


def test_a_power_failure_leaves_no_secret_on_the_disk(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with ExitStack() as stack:
        proxies = {}
        for version in VERSIONS:
            proxies[version] = (stack.enter_context(_recorded_server(version)).url, KEY)
        program, _ = stack.enter_context(_program(tmp_path, proxies))
        wait_until(lambda: all(flow_in(data_dir, version).booked >= 50 for version in VERSIONS))
        program.kill()
    assert (data_dir / "ledger.sqlite3-wal").stat().st_size > 0
    assert secrets_found(ALL_SECRETS, texts=_streams(program), data_dir=data_dir) == []


def test_what_a_subscription_delivers_stays_inside(tmp_path: Path) -> None:
    data_dir, demo = tmp_path / "data", SteeredProxy(key=MANAGEMENT_KEY)
    records = [*_records("v7.2.140"), *_poisoned(), SECRET.encode(), b'{"api_key": "' + SECRET.encode(), b"{}"]
    with (
        SteeredServer(demo) as server,
        _program(tmp_path, {"demo": (server.url, MANAGEMENT_KEY)}, source="subscribe") as (program, _),
    ):
        wait_until(lambda: demo.counts().subscribers)
        for start in range(0, len(records), 100):
            demo.enqueue(records[start : start + 100])
            due = start + len(records[start : start + 100])
            wait_until(lambda due=due: demo.counts().pushed == due)  # type: ignore[misc]
        wait_until(lambda: flow_in(data_dir, "demo").received == len(records) - 1)  # not the empty one
        assert flow_in(data_dir, "demo").rejected >= len(RECORDED_SECRETS) + 2
        texts = _everything_it_says(program)
        assert program.stop() == 0
        texts |= _streams(program)
    assert secrets_found(ALL_SECRETS, texts=texts, data_dir=data_dir) == []


SECRET = RECORDED_SECRETS[-1]
BAD_ANSWERS: dict[str, dict[str, Any]] = {
    "html": {"kind": "status", "status": 200, "body": f"<html>{SECRET}</html>".encode()},
    "text": {"kind": "status", "status": 200, "body": f"key={SECRET}\n".encode()},
    "another-json": {"kind": "status", "status": 200, "body": f'{{"{SECRET}": "{SECRET}"}}'.encode()},
    "broken-json": {"kind": "status", "status": 200, "body": f'[{{"api_key": "{SECRET}'.encode()},
    "error": {"kind": "status", "status": 500, "body": f'{{"error": "{SECRET}"}}'.encode()},
    "refused": {"kind": "status", "status": 401, "body": f'{{"error": "{SECRET}"}}'.encode()},
    "forbidden": {"kind": "status", "status": 403, "body": f'{{"error": "{SECRET}"}}'.encode()},
    "banned": {"kind": "status", "status": 403, "body": f'{{"error": "banned {SECRET}"}}'.encode()},
    "missing": {"kind": "status", "status": 404, "body": SECRET.encode()},
    "redirect": {"kind": "redirect", "location": f"https://login.example/?token={SECRET}"},
    "garbage": {
        "kind": "insert",
        "elements": (f'"{SECRET}"'.encode(), f'{{"timestamp": 5, "api_key": "{SECRET}"}}'.encode()),
    },
}


@pytest.mark.parametrize("path", ["usage-queue", "*"])
def test_no_error_quotes_what_a_server_said(path: str, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with ExitStack() as stack:
        servers = {name: stack.enter_context(SteeredServer(SteeredProxy(key=MANAGEMENT_KEY))) for name in BAD_ANSWERS}
        for name, server in servers.items():
            server.proxy.fault(path=path, times=None, **BAD_ANSWERS[name])
        proxies = {name: (server.url, MANAGEMENT_KEY) for name, server in servers.items()}
        proxies["wrong-key"] = (stack.enter_context(SteeredServer(SteeredProxy(key=MANAGEMENT_KEY))).url, WRONG_KEY)
        program, settings = stack.enter_context(_program(tmp_path, proxies))
        wait_until(lambda: len(program.logged("event=proxy_state")) >= len(proxies))
        texts = _everything_it_says(program)
        assert program.stop(signal.SIGINT) == 0
        texts |= _streams(program)
        done = run_command("check-config", "--connect", cwd=tmp_path, **settings, EXPORTER_DATA_DIR=str(data_dir))
        assert done.returncode == 1
        texts["check-config"] = done.stdout + done.stderr
    assert secrets_found(ALL_SECRETS, texts=texts, data_dir=data_dir) == []


@pytest.mark.parametrize(
    "answer", [f"-ERR {SECRET}\r\n", f"+{SECRET}\r\n", f"{SECRET}\r\n"], ids=["error", "ok", "no RESP"]
)
def test_no_error_quotes_what_a_server_said_over_resp(
    answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RespSession, "serve", lambda session: session._send(answer.encode()))
    with (
        SteeredServer(SteeredProxy(key=MANAGEMENT_KEY)) as server,
        _program(tmp_path, {"demo": (server.url, MANAGEMENT_KEY)}, source="subscribe") as (program, _),
    ):
        wait_until(lambda: program.logged("event=not_subscribed"))
        wait_until(lambda: program.logged("event=proxy_state"))
        texts = _everything_it_says(program)
        assert program.stop() == 0
        texts |= _streams(program)
    assert secrets_found(ALL_SECRETS, texts=texts, data_dir=tmp_path / "data") == []


@pytest.mark.parametrize(
    "settings",
    [
        {"CLIPROXY_URL": f"http://operator:{SECRET}@127.0.0.1:1", "CLIPROXY_MANAGEMENT_KEY": KEY},
        {"CLIPROXY_URL": "http://127.0.0.1:1", "CLIPROXY_MANAGEMENT_KEY": f"{SECRET}\n{SECRET}"},
        {"CLIPROXY_MANAGEMENT_KEY": KEY, "EXPORTER_HASH_KEY": SECRET[:6]},
        {"CLIPROXY_MANAGEMENT_KEY": KEY, "EXPORTER_TOKN": SECRET},
    ],
    ids=["password in a URL", "two keys", "short hash key", "misspelt name"],
)
@pytest.mark.parametrize("command", ["run", "check-config"])
def test_no_complaint_about_settings_shows_a_secret(command: str, settings: dict[str, str], tmp_path: Path) -> None:
    with exporter_process(tmp_path, arguments=[command], **settings) as program:
        wait_until(lambda: program.ended or program.logged("event=started"))
        program.end()
    found = secrets_found([SECRET, SECRET[:6], KEY], texts=_streams(program), data_dir=tmp_path)
    assert found == []
