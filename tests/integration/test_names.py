"""``cliproxy-exporter names`` shows on the terminal, and only there, who is behind each name."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.simulator.world import CLIENTS, CREDENTIALS, MANAGEMENT_KEY
from tests.fakes.planted import secrets
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack.running import Process, exporter_process, run_command, secrets_found
from tests.stack.waiting import wait_until

_RECORDS = 300
_EMAILS = [credential.email for credential in CREDENTIALS if credential.email]
_KEYS = [key for each in (*CREDENTIALS, *CLIENTS) if (key := each.key)]


class Desk:
    """A running exporter whose configuration file is ``exporter.yaml``, and commands beside it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.file = folder / "exporter.yaml"
        self.settings = {
            "CLIPROXY_URL": url,
            "CLIPROXY_MANAGEMENT_KEY": MANAGEMENT_KEY,
            "EXPORTER_CONFIG": str(self.file),
            "EXPORTER_HASH_KEY": "a-key-of-the-test-of-names",
            "EXPORTER_DATA_DIR": str(folder / "data"),
        }

    def run(self, *arguments: str) -> tuple[int, str, str]:
        done = run_command(*arguments, cwd=self.folder, **self.settings)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def server() -> Iterator[SteeredServer]:
    with SteeredServer(SteeredProxy(key=MANAGEMENT_KEY)) as server:
        proxy = server.proxy
        proxy.publish(Traffic(seed=5, zone=proxy.zone, shape=proxy.shape).batch(_RECORDS, ending=time.time()))
        yield server


@pytest.fixture
def desk(tmp_path: Path, server: SteeredServer) -> Desk:
    (tmp_path / "exporter.yaml").write_text("# mine\nlog_level: debug\n")
    return Desk(tmp_path, server.url)


@pytest.fixture
def program(desk: Desk) -> Iterator[Process]:
    with exporter_process(desk.folder, **desk.settings) as program:
        wait_until(lambda: program.metric("cliproxy_exporter_records_booked_total") == _RECORDS)
        yield program


@pytest.mark.usefixtures("program")
def test_each_account_and_client_is_named_on_the_terminal(desk: Desk) -> None:
    code, out, err = desk.run("names")
    assert (code, err) == (0, "")
    accounts, clients = out.split("\n\n")
    ends = [f"key …{credential.key[-4:]}" if credential.key else "" for credential in CREDENTIALS]
    called = [each.email or each.file_name or end for each, end in zip(CREDENTIALS, ends, strict=True)]
    assert sorted(re.split(r"\s{2,}", line)[1] for line in accounts.splitlines()[1:]) == sorted(called)
    assert [line.split()[2] for line in clients.splitlines()[1:]] == [f"…{client.key[-4:]}" for client in CLIENTS]
    assert "never" not in "".join(clients.splitlines()[:3])
    assert not any(key in out for key in _KEYS), "a whole key"


def test_the_printed_names_are_in_no_log_ledger_or_page(desk: Desk, program: Process) -> None:
    _, out, _ = desk.run("names", "--write", "skeleton.yaml")
    assert all(email in out for email in _EMAILS)
    texts = {path: program.get(path).text for path in ("/", "/metrics")}
    assert program.stop() == 0
    texts |= {"log": "\n".join(program.log), "out": "\n".join(program.out)}
    for path in (desk.folder / "data").rglob("*"):
        assert not any(end.encode() in path.read_bytes() for end in _EMAILS), path
    ends = [f"…{key[-4:]}" for key in _KEYS]
    assert secrets_found([*secrets(), *_EMAILS, *ends], texts=texts, data_dir=desk.folder / "data") == []


def test_a_skeleton_is_written_and_its_names_show_without_a_restart(desk: Desk, program: Process) -> None:
    hint = "cliproxy-exporter names --write FILE"
    assert program.get("/").text.count(hint) == 1
    code, out, _ = desk.run("names", "--write", str(desk.file))
    assert code == 0
    number = len(CLIENTS) + len(CREDENTIALS)
    assert f"Added {number} aliases to {desk.file}: edit them as you like." in out
    text = desk.file.read_text()
    assert text.startswith("# mine\nlog_level: debug\n")
    assert not any(key in text for key in _KEYS), "a key was written down"
    wait_until(lambda: program.metric("cliproxy_requests_total", client="client-1"))
    assert "credential_info" in program.get("/metrics").text

    desk.file.write_text(text.replace("alias: client-1\n", "alias: Maria's laptop\n"))
    wait_until(lambda: program.metric("cliproxy_requests_total", client="Maria's laptop"))
    page = wait_until(lambda: program.get("/").text, lambda page: "Maria&#39;s laptop" in page)
    assert hint not in page, "all have a name"
    edited = desk.file.read_text()
    assert "is unchanged" in desk.run("names", "--write", str(desk.file))[1]
    assert desk.file.read_text() == edited
    assert len(program.logged("event=aliases_reloaded", f"aliases={number}")) == 2


def test_an_alias_for_nobody_is_shown_on_page_and_in_log_with_the_nearest_name(desk: Desk, program: Process) -> None:
    lines = [line for line in desk.run("names")[1].splitlines() if "alice.claude@demo.example" in line]
    (name,) = [line.split()[0] for line in lines]
    desk.file.write_text("aliases:\n  credentials:\n  - {email: alise.claude@demo.example, alias: Alice}\n")
    (line,) = wait_until(lambda: program.logged("event=alias_names_nothing"))
    assert f"alias=Alice nearest={name}" in line
    page = program.get("/").text
    assert "1 of the aliases names nothing that is known so far" in page
    assert f"Alice (nearest: {name})" in page
    assert "demo.example" not in page + "".join(program.log)


@pytest.mark.usefixtures("program")
def test_without_the_proxy_the_names_are_still_listed(desk: Desk, server: SteeredServer) -> None:
    server.proxy.fault(path="*", kind="status", status=500, body=b"", times=None)
    code, out, err = desk.run("names")
    assert code == 1
    assert err.startswith("problem: Proxy 'default'")
    assert "not listed" not in out, "nobody knows that now"
    assert out.count("unknown: the proxy cannot be read") == len(CLIENTS) + len(CREDENTIALS)
    assert out.count("\nclient-") == len(CLIENTS)


def test_it_needs_a_proxy_and_a_ledger(desk: Desk) -> None:
    code, _, err = desk.run("names")
    assert (code, err[:22]) == (1, "There is no ledger at ")
    del desk.settings["CLIPROXY_URL"], desk.settings["CLIPROXY_MANAGEMENT_KEY"]
    code, _, err = desk.run("names")
    assert (code, err[:23]) == (2, "No proxy is configured.")


def test_an_account_at_two_proxies_gets_one_alias(tmp_path: Path, server: SteeredServer) -> None:
    with SteeredServer(SteeredProxy(key=MANAGEMENT_KEY)) as second:
        desk = Desk(tmp_path, server.url)
        office = {"name": "office", "url": second.url, "management_key": MANAGEMENT_KEY}
        desk.file.write_text(f"proxies:\n- {json.dumps(office)}\n")
        with exporter_process(desk.folder, **desk.settings) as program:
            wait_until(lambda: program.metric("cliproxy_up") == 2)
            code, out, _ = desk.run("names", "--write", str(desk.file))
            assert code == 0
            assert f"Added {len(CLIENTS) + len(CREDENTIALS)} aliases" in out
            assert out.splitlines()[0].split() == ["account", "name", "provider", "last", "use", "proxy"]
            assert out.count("alice.claude@demo.example") == 2
            (alias,) = re.findall(r"email: alice.claude@demo.example\n +alias: (.*)", desk.file.read_text())
            wait_until(lambda: program.metric("cliproxy_credential_info", credential=alias) == 2)
            assert program.stop() == 0
