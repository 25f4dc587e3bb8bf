"""The exporter as its users run it: as a process, with its log, its pages and its ledger on disk."""

import os
import re
import select
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

import httpx
from prometheus_client.parser import text_string_to_metric_families

from exporter.ledger.database import FILE_NAME
from tests.stack import loopback
from tests.stack.forks import Fork, Spawner
from tests.stack.waiting import PATIENCE_SECONDS, wait_until

_CHECKOUT = Path(__file__).resolve().parents[2]
_OPENED = re.compile(r"Open (https?://\S+?)/ ")
_GRACE_SECONDS = 10.0
"""The time that Docker allows a container between SIGTERM and SIGKILL."""
_IGNORED = ["-W", "ignore::ResourceWarning"]  # the process closes its files when it ends
if (3, 12) <= sys.version_info < (3, 12, 4):  # they mistake numbered placeholders of SQL for named ones
    _IGNORED += ["-W", "ignore::DeprecationWarning"]
PYTHON = (sys.executable, "-W", "error", *_IGNORED)
FORKS = sys.platform == "linux"
"""Whether starts are forks. A test that sets this to False starts the program as users do: ten times slower."""
_OURS = ("CLIPROXY_", "EXPORTER_", "COLLECTOR_", "SUPABASE_", "TIMEZONE", "LOG_", "TZ")

# --- the process ------------------------------------------------------------------------------------------------------


class _Lines:
    """A pipe that a thread empties, so that it never fills. A caller gets everything that was written until then."""

    def __init__(self, pipe: IO[bytes]) -> None:
        os.set_blocking(pipe.fileno(), False)
        self._pipe = pipe
        self._read = b""
        self._ended = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    @property
    def lines(self) -> list[str]:
        self._take()
        *lines, rest = self._read.split(b"\n")  # what was read may end within a character
        return [line.decode() for line in ([*lines, rest] if self._ended and rest else lines)]

    def _follow(self) -> None:
        more = select.poll()
        more.register(self._pipe, select.POLLIN)
        with self._pipe:
            while self._take():
                more.poll()

    def _take(self) -> bool:
        """Read what is there; return whether more may come."""
        with self._lock, suppress(BlockingIOError):
            while not self._ended:
                chunk = os.read(self._pipe.fileno(), 65_536)
                self._ended = not chunk
                self._read += chunk
        return not self._ended

    def finish(self) -> str:
        """Wait for the end of the pipe; return the whole text."""
        self._thread.join(PATIENCE_SECONDS)
        return self._read.decode()


class Process:
    """A running ``cliproxy-exporter``. ``out`` and ``log`` are its lines on standard output and standard error."""

    def __init__(
        self, arguments: Sequence[str], *, cwd: Path, settings: Mapping[str, str], module: str = "exporter"
    ) -> None:
        self._popen = (_forked if FORKS else _started)(module, arguments, cwd, environment(settings))
        assert self._popen.stdout is not None
        assert self._popen.stderr is not None
        self._out, self._err = _Lines(self._popen.stdout), _Lines(self._popen.stderr)
        self._url = ""

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def out(self) -> list[str]:
        return self._out.lines

    @property
    def log(self) -> list[str]:
        return self._err.lines

    def logged(self, *words: str) -> list[str]:
        """The lines of the log that contain all these words."""
        return [line for line in self.log if all(word in line for word in words)]

    @property
    def url(self) -> str:
        """The URL of its pages; waits until the log names it."""
        self._url = self._url or wait_until(self._stated_url)
        return self._url

    def _stated_url(self) -> str:
        assert not self.ended, f"it ended with {self._popen.returncode}: {self.log}"
        return next((match[1] for line in self.out if (match := _OPENED.match(line))), "")

    @property
    def ended(self) -> bool:
        return self._popen.poll() is not None

    def get(self, path: str, **headers: str) -> httpx.Response:
        return loopback.get(f"{self.url}{path}", headers=headers)

    def trigger(self) -> None:
        """Ask for a poll of all proxies now."""
        answer = loopback.post(f"{self.url}/api/collector/trigger")
        assert answer.status_code == 202, answer.text

    def metric(self, name: str, **labels: str) -> float | None:
        """The sum of the samples of this name with these labels; None if there is none."""
        return metric_in(self.get("/metrics").text, name, **labels)

    def send(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def kill(self) -> None:
        """End it as a power failure would: none of it runs any more when this returns."""
        self._popen.kill()
        self.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM, *, seconds: float = _GRACE_SECONDS) -> int:
        """Send this signal; return the exit code. Raises AssertionError if it does not end within ``seconds``."""
        self.send(number)
        return self.wait(seconds)

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for the exit code. Raises AssertionError if the process does not end within ``seconds``."""
        try:
            code = self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
            raise AssertionError(f"it did not end within {seconds} s: {self.log[-5:]}") from None
        finally:
            self._out.finish()
            self._err.finish()
        return code

    def finished(self) -> subprocess.CompletedProcess[str]:
        """Wait for its end; return its output and its exit code."""
        return subprocess.CompletedProcess([], self.wait(), self._out.finish(), self._err.finish())

    def end(self) -> None:
        """Make sure that it does not outlive the test, and that all its lines are read."""
        if not self.ended:
            self._popen.kill()
        self.wait()


@cache
def _spawner() -> Spawner:
    return Spawner(PYTHON, environment({}))


def _forked(module: str, arguments: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Fork:
    return Fork(_spawner(), module, arguments, cwd=cwd, env=env)


def _started(module: str, arguments: Sequence[str], cwd: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*PYTHON, "-m", module, *arguments],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@contextmanager
def exporter_process(
    directory: Path, *, proxy_url: str = "", key: str = "", arguments: Sequence[str] = (), **settings: str
) -> Iterator[Process]:
    """An exporter whose data is in ``directory``/data, on a free port; ``settings`` are further environment variables.

    Without ``proxy_url`` the proxies must come from elsewhere. It is killed at the end if it still runs.
    """
    given = {"EXPORTER_DATA_DIR": str(directory / "data"), "EXPORTER_PORT": "0", "EXPORTER_PRICES_REFRESH": "false"}
    if proxy_url:
        given |= {"CLIPROXY_URL": proxy_url, "CLIPROXY_MANAGEMENT_KEY": key}
    process = Process(arguments, cwd=directory, settings={**given, **settings})
    try:
        yield process
    finally:
        process.end()


def run_command(*arguments: str, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run one command of the exporter to its end, with no settings but these."""
    usual = {"EXPORTER_PORT": "0"}  # another program on this machine may use the default port
    return Process(arguments, cwd=cwd, settings={**usual, **settings}).finished()


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process' environment without the exporter's variables, and with ``settings``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    alone = {"TZ": "UTC", "XDG_DATA_HOME": "/dev/null/none"}  # hides this machine's zone and its exporters
    return {**kept, **alone, "PYTHONPATH": str(_CHECKOUT), **settings}


def metric_in(text: str, name: str, **labels: str) -> float | None:
    """The sum of the samples of this name with these labels in an exposition; None if there is none."""
    # Tests ask while they wait, and parsing all lines would load the machine more than the exporter does.
    lines = "\n".join(line for line in text.splitlines() if line.startswith(name))
    values = [
        sample.value
        for family in text_string_to_metric_families(lines)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return sum(values) if values else None


# --- the ledger on disk -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flow:
    """The fate of a proxy's records, as the file says."""

    received: int
    replayed: int
    booked: int
    duplicate: int
    rejected: int
    pending: int

    @property
    def adds_up(self) -> bool:
        return self.received + self.replayed == self.booked + self.duplicate + self.rejected + self.pending


@contextmanager
def ledger_file(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """The ledger below ``data_dir``, read-only. Works while an exporter writes it, and after it was killed."""
    path = data_dir / FILE_NAME
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=PATIENCE_SECONDS)) as connection:
        yield connection


def flow_in(data_dir: Path, proxy: str = "default") -> Flow:
    """The fate of the records of ``proxy``, all counts at one moment; all 0 if there is no ledger yet."""
    nothing = Flow(0, 0, 0, 0, 0, 0)
    if not (data_dir / FILE_NAME).exists():
        return nothing
    with ledger_file(data_dir) as connection:
        if not connection.execute("select 1 from sqlite_master where name = 'proxy'").fetchone():
            return nothing
        row = connection.execute(
            "select received, replayed, booked, duplicate,"
            " (select coalesce(sum(records), 0) from rejected_total where proxy = p.id),"
            " (select coalesce(sum(records), 0) from batch where proxy = p.id) from proxy p where name = ?",
            (proxy,),
        ).fetchone()
    return Flow(*row) if row else nothing


def secrets_found(secrets: Iterable[str], *, texts: Mapping[str, str], data_dir: Path) -> list[str]:
    """The places where one of ``secrets`` occurs: named texts, or any file of the data directory."""
    places = {name: text.encode("utf-8", "surrogateescape") for name, text in texts.items()}
    places |= {path.name: path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}
    return [
        f"{secret!r} in {name}" for secret in secrets for name, content in places.items() if secret.encode() in content
    ]
