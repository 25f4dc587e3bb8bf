"""P2: the cost of polling a legacy proxy, whose ``/usage`` holds everything since its start."""

import contextlib
import gc
import json
import os
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path

import httpx
import msgspec
from pydantic import SecretStr
from supabase import ClientOptions, create_client

from benchmarks.measure import by_turns, cpu_seconds, forget_peak, peak_mib, resident_mib
from benchmarks.program import PROXY, Program
from benchmarks.report import Section
from exporter.ingest.snapshot import SnapshotIngest
from exporter.normalize.wire_record import WireTokens
from exporter.settings.proxies import ProxySettings
from exporter.simulator.world import CLIENTS, CREDENTIALS
from exporter.sources.all_sources import detect
from exporter.sources.base import Receiver
from exporter.wiring import connect

_MIB = 2**20
_ROUNDS = 5
_GROWTH = 100
_LARGE = 100_000
_PREFIX = "/v0/management"


class _Detail(msgspec.Struct):
    timestamp: str
    latency_ms: int
    source: str
    auth_index: str
    tokens: WireTokens
    failed: bool


class _Model(msgspec.Struct):
    total_requests: int
    total_tokens: int
    details: list[_Detail]


class _Api(msgspec.Struct):
    models: dict[str, _Model]


class _Usage(msgspec.Struct):
    apis: dict[str, _Api]


class _Body(msgspec.Struct):
    usage: _Usage


_decode_all = msgspec.json.Decoder(_Body).decode


def measure(directory: Path, full: bool) -> Section:
    """Run the benchmark with ledgers below ``directory``."""
    section = Section(
        "P2: snapshots",
        "CPA 6.9 with this many details in its `/usage`, polled again unchanged, and after 100 more requests: from the"
        " body in memory to the commit. *Typed decode*: the same body, decoded by msgspec. *Memory*: the peak above the"
        " start while the body is fetched and taken in; also with all details in one series. *The predecessor* wrote"
        " the whole body to Supabase at each poll; it is compared with our poll that finds nothing new.",
    )
    for details in (10_000, 100_000, 300_000) if full else (10_000, 100_000):
        _measure_size(section, details, directory / str(details))
    return section


def make_body(details: int, *, in_one_series: bool = False, reordered: bool = False) -> bytes:
    """A snapshot with this many details, over some 40 series or in one; equal numbers give equal bodies."""
    draw = random.Random(5)  # noqa: S311 - invented traffic
    begin = datetime(2026, 10, 1, tzinfo=UTC)
    apis: dict[str, dict[str, list[dict[str, object]]]] = {}
    for number in range(details):
        credential = draw.choice(CREDENTIALS)
        client, model = draw.choice(CLIENTS), draw.choice(credential.models)
        moment = begin + timedelta(seconds=number * 0.7)
        input_tokens, output_tokens = draw.randint(10, 20_000), draw.randint(1, 4_000)
        key, name = ("a key", "a model") if in_one_series else (client.key, model.name)
        apis.setdefault(key, {}).setdefault(name, []).append(
            {
                "timestamp": f"{moment:%Y-%m-%dT%H:%M:%S}.{draw.randrange(10**9):09d}+00:00",
                "latency_ms": draw.randint(200, 30_000),
                "source": credential.email or credential.key,
                "auth_index": credential.auth_index,
                "tokens": {
                    "input_tokens": input_tokens,
                    "output_tokens": output_tokens,
                    "reasoning_tokens": 0,
                    "cached_tokens": 0,
                    "total_tokens": input_tokens + output_tokens,
                },
                "failed": False,
            }
        )
    if reordered:
        for models in apis.values():
            for found in models.values():
                found.reverse()
    usage = {
        "total_requests": details,
        "apis": {
            key: {
                "models": {
                    name: {"total_requests": len(found), "total_tokens": 0, "details": found}
                    for name, found in models.items()
                }
            }
            for key, models in apis.items()
        },
    }
    return json.dumps({"usage": usage}, separators=(",", ":")).encode()


def _measure_size(section: Section, details: int, directory: Path) -> None:
    bodies = [make_body(details + rise * _GROWTH) for rise in range(_ROUNDS + 1)]
    body = bodies[0]
    program = Program(directory)
    intake = _intake(program)
    first = cpu_seconds(lambda: intake.take(body, taken_ms=_now_ms()))
    rising = iter(bodies[1:])
    now = {"body": body}

    def unchanged() -> float:
        return cpu_seconds(lambda: intake.take(now["body"], taken_ms=_now_ms()))

    def grown() -> float:
        now["body"] = next(rising)
        return unchanged()

    times = by_turns(
        {
            "json": lambda: cpu_seconds(lambda: json.loads(body)),
            "typed": lambda: cpu_seconds(lambda: _decode_all(body)),
            "unchanged": unchanged,
            "grown": grown,
        },
        rounds=_ROUNDS,
    )
    if program.ledger.totals.entries != details + _ROUNDS * _GROWTH:
        raise AssertionError(f"{program.ledger.totals.entries} entries of {details} details")
    program.close()
    best = {name: timing.best for name, timing in times.items()}
    section.add(f"**{details:,} details**: MB", len(body) / 1e6, "{:.1f}")
    section.add("`json.loads`, ms", best["json"] * 1000, "{:.1f}")
    section.add("typed decode, ms", best["typed"] * 1000, "{:.1f}")
    section.add("unchanged, ms", best["unchanged"] * 1000, "{:.1f}")
    # The targets are for 100,000: for a small body, a transaction and the program's own size dominate.
    of_size = details >= _LARGE
    section.add(
        "unchanged ÷ typed decode", best["unchanged"] / best["typed"], "{:.2f}", at_most=1.2 if of_size else None
    )
    section.add(
        "unchanged ÷ `json.loads`", best["unchanged"] / best["json"], "{:.2f}", at_most=0.25 if of_size else None
    )
    section.add("100 more ÷ unchanged", best["grown"] / best["unchanged"], "{:.2f}", at_most=1.2 if of_size else None)
    section.add("first contact, µs per detail", first / details * 1e6, "{:.1f}")
    if of_size:
        share = _older_collector_by_ours(now["body"], directory)
        section.add_floor("with fetch: the predecessor ÷ ours", share, "{:.1f}", at_least=10)
    section.add("memory ÷ body", _memory(now["body"], directory), "{:.2f}", at_most=1.2 if of_size else None)
    in_one = directory / "one-series"
    first_body, second_body = (make_body(details, in_one_series=True, reordered=each) for each in (False, True))
    section.add("memory ÷ body, first contact, one series", _memory(first_body, in_one), "{:.2f}")
    section.add("memory ÷ body, reordered, one series", _memory(second_body, in_one), "{:.2f}")


def _intake(program: Program) -> SnapshotIngest:
    return SnapshotIngest(PROXY, program.parts, lambda _handles: False, false_start_usd=10.0)


def _now_ms() -> int:
    return int(time.time() * 1000)


# --- over HTTP, in a process of its own -------------------------------------------------------------------------------


def _memory(body: bytes, directory: Path) -> float:
    """The memory that a process needs above its idle state to fetch and take in the body, divided by the body."""
    return _in_child(_peak_of_a_poll, body, directory) * _MIB / len(body)


def _older_collector_by_ours(body: bytes, directory: Path) -> float:
    """CPU time of a poll that finds nothing new: the predecessor's divided by ours."""
    return _in_child(_cost_of_a_poll, body, directory)


def _in_child(measure: Callable[[Callable[[], None], str], float], body: bytes, directory: Path) -> float:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(body))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    context = get_context("spawn")
    results = context.Queue()
    url = f"http://127.0.0.1:{server.server_port}"
    process = context.Process(target=_child, args=(measure, url, directory, results))
    process.start()
    found: float = results.get(timeout=600)
    process.join()
    server.shutdown()
    return found


def _child(
    measure: Callable[[Callable[[], None], str], float], url: str, directory: Path, results: "Queue[float]"
) -> None:
    program = Program(directory)
    intake = _intake(program)
    proxy = ProxySettings(name=PROXY, url=url, management_key=SecretStr("a key"))
    client = connect(proxy, program.ledger, program.clock)
    source = detect(client)

    def unexpected(_records: bytes | bytearray) -> int:
        raise AssertionError("a snapshot has no records")

    receiver = Receiver(
        records=unexpected,
        snapshot=intake.take,
    )

    def poll() -> None:
        source.poll(receiver, _now_ms())

    results.put(measure(poll, url))
    client.close()
    program.close()


def _peak_of_a_poll(poll: Callable[[], None], _url: str) -> float:
    """The peak in MiB above the idle state."""
    gc.collect()
    idle = resident_mib(os.getpid())
    forget_peak()
    poll()
    return peak_mib(os.getpid()) - idle


def _cost_of_a_poll(poll: Callable[[], None], url: str) -> float:
    with httpx.Client(trust_env=False, timeout=60) as http:
        project = create_client(url, "sb_secret_benchmark", ClientOptions(httpx_client=http))

        def older() -> None:
            answer = http.get(f"{url}{_PREFIX}/usage").json()
            project.table("usage_snapshots").insert({"raw_data": answer}).execute()

        times = by_turns({"ours": lambda: cpu_seconds(poll), "older": lambda: cpu_seconds(older)}, rounds=_ROUNDS)
    return times["older"].best / times["ours"].best


def _handler(body: bytes) -> type[BaseHTTPRequestHandler]:
    """A proxy of 6.9 that has one answer, and a project that accepts everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def do_GET(self) -> None:
            known = self.path.startswith(f"{_PREFIX}/usage-statistics-enabled")
            found = known or self.path == f"{_PREFIX}/usage"
            answer = b'{"usage-statistics-enabled": true}' if known else body if found else b""
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("X-CPA-VERSION", "v6.9.49")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            with contextlib.suppress(OSError):  # a caller that only peeks hangs up
                self.wfile.write(answer)

        def log_message(self, *_arguments: object) -> None:
            """Keep the report clean."""

    return Handler
