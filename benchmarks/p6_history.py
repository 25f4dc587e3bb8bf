"""P6: the cost of sending the backlog to Supabase."""

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import httpx

from benchmarks.measure import cpu_seconds, forget_peak, peak_mib, resident_mib
from benchmarks.program import PROXY, Program
from benchmarks.records import Stream, real_labels
from benchmarks.report import Section
from exporter.history.sender import Ends, Sender
from exporter.history.supabase_client import Remote
from exporter.ledger.shown_names import ShownNames
from exporter.settings.proxies import Aliases
from tests.stack.supabase.api import SupabaseApi
from tests.stack.supabase.postgres import NEWEST, Database, Postgres

_OWNER = "a benchmark"
_BATCH = 1000
_ROUNDS = 5
_PATH = "/rest/v1/rpc/exporter_book"


def measure(directory: Path, full: bool) -> Section:
    """Run the benchmark with ledgers below ``directory``."""
    section = Section(
        "P6: history",
        "A backlog sent in calls of 1,000 records. *CPU*: against a server that answers at once. *Memory*: the peak,"
        " less what was in use after ten calls. *Real server*: PostgreSQL behind the test suite's API, against a bare"
        " loop that posts the same bodies.",
    )
    few, many = (100_000, 1_000_000) if full else (20_000, 100_000)
    with _stand_in() as (url, counted):
        _measure_cpu(section, directory / "few", url, counted, few)
        _fill(directory / "many", many)
        for records in (few, many):
            growth = _growth(directory / ("few-again" if records == few else "many"), url, records)
            section.add(f"memory while {records:,} records are drained, MiB more", growth, "{:.1f}", at_most=10)
    _measure_drain(section, directory / "real", 50_000 if full else 10_000)
    return section


def _fill(directory: Path, records: int) -> None:
    program, stream = Program(directory), Stream(real_labels(), records=records)
    for _ in range(records // _BATCH):
        program.take(stream.body())
    program.close()


def _sender(program: Program, remote: Remote) -> Sender:
    shown_names = ShownNames(program.ledger.name_store, Aliases(), program.pseudonym)
    ends = Ends(
        remote=remote,
        ledger=program.ledger,
        shown_names=shown_names,
        pseudonym=program.pseudonym,
        clock=program.clock,
    )
    return Sender(ends, PROXY, PROXY, _OWNER)


def _drain(sender: Sender) -> None:
    while sender.send():
        pass


def _measure_cpu(section: Section, directory: Path, url: str, counted: Callable[[], int], records: int) -> None:
    _fill(directory, records)
    program, remote = Program(directory), Remote(url, "sb_secret_benchmark")
    remote.call("exporter_schema_version")  # this loads the client
    seconds, calls = math.inf, 0
    for _ in range(_ROUNDS):
        program.ledger.backlog.sent(PROXY, 0)
        before = counted()
        seconds = min(seconds, cpu_seconds(lambda: _drain(_sender(program, remote))))
        calls = counted() - before
    program.close()
    remote.close()
    section.add(f"{records:,} records: CPU, µs per record", seconds / records * 1e6, "{:.1f}", at_most=15)
    section.add("calls with records", calls, "{:,.0f}", at_most=math.ceil(records / _BATCH) + 1)


def _growth(directory: Path, url: str, records: int) -> float:
    """The growth, in MiB, of a separate process that drains the backlog."""
    if not directory.exists():
        _fill(directory, records)
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_drain_here, args=(directory, url, theirs))
    process.start()
    try:
        growth: float = ours.recv()
    finally:
        process.join()
    return growth


def _drain_here(directory: Path, url: str, caller: Connection) -> None:
    program, remote = Program(directory), Remote(url, "sb_secret_benchmark")
    sender, own = _sender(program, remote), threading.get_native_id()
    for _ in range(10):
        sender.send()
    before = resident_mib(own)
    forget_peak()  # that of the start is higher
    _drain(sender)
    caller.send(max(peak_mib(own) - before, 0.0))
    remote.close()
    program.close()


def _measure_drain(section: Section, directory: Path, records: int) -> None:
    _fill(directory, records)
    server = Postgres(NEWEST)
    try:
        server.copy("own", of="project")
        database = Database(server, "own")
        database.migrate()
        api = SupabaseApi(database)
        try:
            bodies = _bodies(directory)
            headers = {"apikey": api.secret_key, "Content-Type": "application/json"}
            bare, ours = [], []
            for _ in range(2):
                _empty(api)
                bare.append(_post(api.url, bodies, headers))
                _empty(api)
                ours.append(_drain_whole(directory, api))
        finally:
            api.kill()
    finally:
        server.close()
    section.add(f"real server, {records:,} records: exporter, records per second", records / min(ours), "{:,.0f}")
    section.add("bare loop, records per second", records / min(bare), "{:,.0f}")
    section.add("exporter ÷ bare loop, time", min(ours) / min(bare), "{:.2f}", at_most=1.2)


def _empty(api: SupabaseApi) -> None:
    api.clear()
    api.database.call("exporter_claim", proxy=PROXY, owner=_OWNER)


def _bodies(directory: Path) -> list[bytes]:
    """The bodies that the exporter posts, kept instead of sent."""
    program, remote = Program(directory), Remote("http://127.0.0.1:1", "sb_secret_benchmark")
    bodies: list[bytes] = []

    def keep(function: str, **parameters: object) -> object:
        if function == "exporter_book":
            bodies.append(json.dumps(parameters, ensure_ascii=False, separators=(",", ":")).encode())
        return {"inserted": _BATCH, "known": 0, "refused": 0, "frozen": 0}

    remote.call = keep  # type: ignore[method-assign]
    _drain(_sender(program, remote))
    program.close()
    _rewind(directory)
    return bodies


def _rewind(directory: Path) -> None:
    program = Program(directory)
    program.ledger.backlog.sent(PROXY, 0)
    program.close()


def _post(url: str, bodies: list[bytes], headers: dict[str, str]) -> float:
    with httpx.Client(timeout=60, trust_env=False) as client:
        started = time.perf_counter()
        for body in bodies:
            client.post(url + _PATH, content=body, headers=headers).raise_for_status()
        return time.perf_counter() - started


def _drain_whole(directory: Path, api: SupabaseApi) -> float:
    program, remote = Program(directory), Remote(api.url, api.secret_key)
    remote.call("exporter_schema_version")
    started = time.perf_counter()
    _drain(_sender(program, remote))
    seconds = time.perf_counter() - started
    program.close()
    remote.close()
    _rewind(directory)
    return seconds


# --- the stand-in -----------------------------------------------------------------------------------------------------


@contextmanager
def _stand_in() -> Iterator[tuple[str, Callable[[], int]]]:
    """The URL of a server in a separate process, and a count of its calls with records."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    url = f"http://127.0.0.1:{ours.recv()}"
    try:
        yield url, lambda: int(httpx.get(f"{url}/count", trust_env=False).text)
    finally:
        process.kill()
        process.join()


class _StandIn(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    booked = 0

    def do_GET(self) -> None:
        self._answer(str(type(self).booked).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == _PATH:
            type(self).booked += b"ts_ms" in body[:2000]
            self._answer(b'{"inserted": 1000, "known": 0, "refused": 0, "frozen": 0}')
        else:
            self._answer(b"1" if self.path.endswith("_version") else b"null")

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _serve(caller: Connection) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _StandIn)
    caller.send(server.server_address[1])
    server.serve_forever()
