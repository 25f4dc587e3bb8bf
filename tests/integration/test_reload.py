"""Files that the exporter reads again on request, signals during its start, and a terminal that closes."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from exporter.simulator.world import MANAGEMENT_KEY
from exporter.wiring import HASH_KEY_FILE
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.stack import loopback
from tests.stack.running import Process, environment, exporter_process
from tests.stack.waiting import PATIENCE_SECONDS, wait_until

_LIMIT = "limits:\n- {{id: {id}, strategy: daily, requests: 5}}\n"
_PRICE = "prices:\n- {{model: house, input: {price}, output: 1}}\n"
_FILES = {
    "EXPORTER_CONFIG": "exporter.yaml",
    "EXPORTER_LIMITS_FILE": "limits.yaml",
    "EXPORTER_PRICES_FILE": "prices.yaml",
}


@pytest.fixture
def server() -> Iterator[SteeredServer]:
    with SteeredServer(SteeredProxy(key=MANAGEMENT_KEY)) as server:
        yield server


@pytest.fixture
def program(server: SteeredServer, tmp_path: Path) -> Iterator[Process]:
    (tmp_path / "exporter.yaml").write_text("")
    (tmp_path / "limits.yaml").write_text(_LIMIT.format(id="before"))
    (tmp_path / "prices.yaml").write_text(_PRICE.format(price=1))
    with exporter_process(tmp_path, proxy_url=server.url, key=MANAGEMENT_KEY, **_FILES) as program:
        wait_until(lambda: program.metric("cliproxy_limit_used", limit="before") == 0)
        yield program


def _edit(folder: Path) -> None:
    (folder / "exporter.yaml").write_text("aliases: {clients: [{key: k, alias: kim}]}\n")
    (folder / "limits.yaml").write_text(_LIMIT.format(id="after"))
    (folder / "prices.yaml").write_text(_PRICE.format(price=2))


def _reloaded(program: Process) -> list[str]:
    words = ("aliases_reloaded", "limits_reloaded", "prices_reloaded", "reloaded")
    return [word for word in words if program.logged(f"event={word} ")]


def test_a_post_reads_all_files_at_once(program: Process, tmp_path: Path) -> None:
    _edit(tmp_path)
    answer = loopback.post(f"{program.url}/-/reload")
    assert answer.status_code == 200
    assert program.metric("cliproxy_limit_used", limit="after") == 0
    wait_until(lambda: len(_reloaded(program)) == 4)  # it may just have been reading a file by itself


def test_a_post_says_what_is_wrong(program: Process, tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_text("limits: 5\n")
    (tmp_path / "prices.yaml").write_text("prices: 5\n")
    answer = loopback.post(f"{program.url}/-/reload")
    assert answer.status_code == 500
    prices, limits = answer.text.splitlines()
    assert prices.startswith("The last edit of the price file is not in use")
    assert limits.startswith("The last edit of the limits file is not in use")
    assert program.metric("cliproxy_exporter_config_reload_success") == 0
    assert program.metric("cliproxy_limit_used", limit="before") == 0


def test_sighup_reads_all_files_again(program: Process, tmp_path: Path) -> None:
    for _ in range(2):
        _edit(tmp_path)
        program.send(signal.SIGHUP)
        wait_until(lambda: len(_reloaded(program)) == 4)
    assert program.metric("cliproxy_limit_used", limit="after") == 0
    assert program.stop() == 0


def test_sighup_during_the_start_is_a_reload_after_it(server: SteeredServer, tmp_path: Path) -> None:
    key = tmp_path / "data" / HASH_KEY_FILE
    key.parent.mkdir()
    os.mkfifo(key)  # the start waits for what is written here

    def opened() -> int | None:
        with suppress(OSError):  # nobody reads it yet
            return os.open(key, os.O_WRONLY | os.O_NONBLOCK)
        return None

    with exporter_process(tmp_path, proxy_url=server.url, key=MANAGEMENT_KEY) as program:
        descriptor = wait_until(opened)
        assert descriptor is not None
        with open(descriptor, "w", encoding="ascii") as writer:
            program.send(signal.SIGHUP)
            writer.write("5f" * 32)
        wait_until(lambda: program.logged("event=reloaded"))
        assert program.stop() == 0


_AT_A_TERMINAL = """
import fcntl, os, signal, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
if sys.argv[1] == "nohup":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class Terminal:
    """An exporter in the foreground of a terminal, which can be closed."""

    def __init__(self, folder: Path, server: SteeredServer, *, how: str = "") -> None:
        self.data_dir = folder / "data"
        self.said = b""
        self.master, slave = pty.openpty()
        settings = {
            "CLIPROXY_URL": server.url,
            "CLIPROXY_MANAGEMENT_KEY": MANAGEMENT_KEY,
            "EXPORTER_DATA_DIR": str(self.data_dir),
            "EXPORTER_PORT": "0",
            "EXPORTER_PRICES_REFRESH": "false",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", _AT_A_TERMINAL, how, "-m", "exporter", "run"],
            cwd=folder,
            env=environment(settings),
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)

    def read_until(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while text.encode() not in self.said:
            assert time.monotonic() < deadline, self.said
            if select.select([self.master], [], [], 0.2)[0]:
                self.said += os.read(self.master, 65536)

    def close(self) -> None:
        os.close(self.master)
        self.master = -1

    def end(self) -> None:
        if self.master >= 0:
            self.close()
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.end()


def test_closing_the_terminal_ends_it_cleanly(server: SteeredServer, tmp_path: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(tmp_path, server)
    terminals.append(terminal)
    terminal.read_until("state=ok")
    terminal.close()
    assert terminal.process.wait(PATIENCE_SECONDS) == 0
    assert (terminal.data_dir / "ledger.sqlite3-end").exists(), "the ledger was not closed"


def test_sighup_at_an_open_terminal_is_a_reload(
    server: SteeredServer, tmp_path: Path, terminals: list[Terminal]
) -> None:
    terminal = Terminal(tmp_path, server)
    terminals.append(terminal)
    terminal.read_until("state=ok")
    terminal.process.send_signal(signal.SIGHUP)
    terminal.read_until("event=reloaded problems=0")
    terminal.process.send_signal(signal.SIGTERM)
    terminal.read_until("event=stopped")
    assert terminal.process.wait(PATIENCE_SECONDS) == 0


def test_nohup_outlives_its_terminal(server: SteeredServer, tmp_path: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(tmp_path, server, how="nohup")
    terminals.append(terminal)
    terminal.read_until("state=ok")
    terminal.close()
    polled = server.proxy.requests.total()
    wait_until(lambda: server.proxy.requests.total() > polled)
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.process.wait(PATIENCE_SECONDS) == 0
