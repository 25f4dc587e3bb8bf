"""P8: the pages about usage over a grown ledger, and whether they delay booking."""

import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

from flask.testing import FlaskClient

from benchmarks.grown import fill
from benchmarks.measure import by_turns, cpu_seconds
from benchmarks.program import Program
from benchmarks.records import SECONDS_BETWEEN_RECORDS, Stream, random_labels
from benchmarks.report import Section
from tests.benches.web import WebBench

_MILLION = 1_000_000
_LABEL_SETS = 1_250
"""10,000 series in ``/metrics``."""
_ROUNDS = 5
_POLLS, _RECORDS_PER_POLL = 40, 50

_PAGES = {
    "/": "the status page",
    "/usage": "/usage, 30 days by model",
    "/usage?by=client": "by client",
    "/usage?by=day": "by day",
    "/usage?range=24h&by=credential": "24 hours by credential",
    "/api/usage?by=model": "the same 30 days as JSON",
}


def measure(directory: Path, full: bool) -> Section:
    """Run the benchmark with ledgers below ``directory``."""
    section = Section(
        "P8: usage",
        f"Entries of {_LABEL_SETS:,} random label sets (10,000 series), one every {SECONDS_BETWEEN_RECORDS} s; whole"
        " pages, from the request to the last byte. *Sums of days*: made once. *Booking*: the median poll of 50"
        " records, alone and while another thread asks for the page without a pause.",
    )
    for entries in [_MILLION, 10 * _MILLION] if full else [_MILLION]:
        folder = directory / str(entries)
        fill(folder, entries, _LABEL_SETS)
        program = Program(folder)
        client = WebBench(program.ledger, program.clock).client()
        without = _page(client, "/usage")()
        seconds = cpu_seconds(program.ledger.days.refresh)
        section.add(f"**{entries:,} entries**: sums of days, s", seconds, "{:.1f}")
        runs = by_turns({what: _page(client, path) for path, what in _PAGES.items()}, rounds=_ROUNDS)
        for path, what in _PAGES.items():
            promised = {"at_most": 100.0} if path in ("/", "/usage", "/usage?by=client") else {}
            section.add(f"{what}, ms (spread {runs[what].spread:.0%})", runs[what].best * 1e3, "{:.0f}", **promised)
        section.add("30 days without sums of days, ms", without * 1e3, "{:.0f}")
        for path, what in (
            ("/requests?range=24h", "24 hours"),
            ("/requests", "7 days"),
            ("/requests?range=30d", "30 days"),
        ):
            section.add(f"/requests, {what}, ms", _page(client, path)() * 1e3, "{:.0f}", at_most=300)
        _measure_booking(section, program, client)
        program.close()
    return section


def _page(client: FlaskClient, path: str) -> Callable[[], float]:
    def ask() -> None:
        answer = client.get(path)
        if answer.status_code != 200:
            raise AssertionError(answer.text)

    return lambda: cpu_seconds(ask)


def _measure_booking(section: Section, program: Program, client: FlaskClient) -> None:
    stream = Stream(random_labels(_LABEL_SETS), records=2 * _POLLS * _RECORDS_PER_POLL)
    alone = _polls(program, stream)
    stop = threading.Event()
    pages = 0

    def ask() -> None:
        nonlocal pages
        while not stop.is_set():
            client.get("/usage")
            pages += 1

    thread = threading.Thread(target=ask)
    thread.start()
    beside = _polls(program, stream)
    stop.set()
    thread.join()
    if not pages:
        raise AssertionError("no page was asked for")
    section.add("booking alone, ms", statistics.median(alone) * 1e3, "{:.1f}")
    section.add("booking beside pages, ms", statistics.median(beside) * 1e3, "{:.1f}")
    section.add("the longest booking beside pages, ms", max(beside) * 1e3, "{:.0f}")


def _polls(program: Program, stream: Stream) -> list[float]:
    """Wall seconds of each poll."""
    seconds = []
    for _ in range(_POLLS):
        body = stream.body(_RECORDS_PER_POLL)
        started = time.perf_counter()
        program.take(body)
        seconds.append(time.perf_counter() - started)
    return seconds
