"""P1: the cost of taking in records, from the body of a pop to the committed ledger.

As a program, ``python -m benchmarks.p1_ingest POLLS`` makes this many polls of one record. It runs under strace, which
counts its syncs.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Timing, by_turns, cpu_seconds, written_bytes
from benchmarks.peer import Peer
from benchmarks.program import Program
from benchmarks.records import Stream, random_labels, real_labels
from benchmarks.report import Row, Section

_RANDOM_SETS = 1000
_POLLS = 500
_CHECKOUT = Path(__file__).resolve().parent.parent


def measure(directory: Path, full: bool) -> Section:
    """Run the benchmark with ledgers below ``directory``."""
    number = 100 if full else 30
    section = Section(
        "P1: taking in records",
        f"{number} bodies of 1,000 records each, from bytes to the commit that books them. The peer"
        " (`benchmarks/peer.py`) only does `json.loads`, a dataclass per record and counters of prometheus_client, with"
        " nothing on disk. *Written*: all write calls, including log and checkpoints. *Kept*: the whole file. A poll is"
        " everything but HTTP.",
    )
    real = _compare(Stream(real_labels(), records=number * 1000).bodies(number), directory)
    _report(section, "real labels", real)
    section.add("exporter ÷ `json.loads`", real.ours.best / real.json.best, "{:.2f}", at_most=1.8)
    section.add("peer ÷ exporter", real.peer.best / real.ours.best, "{:.2f}")
    section.add("bytes written per record", real.written, "{:.0f}", at_most=250)
    section.add("bytes kept per record", real.kept, "{:.0f}", at_most=90)

    random = _compare(Stream(random_labels(_RANDOM_SETS), records=number * 1000).bodies(number), directory)
    _report(section, f"{_RANDOM_SETS:,} random label sets", random)
    section.add("exporter ÷ `json.loads`", random.ours.best / random.json.best, "{:.2f}", at_most=2.5)
    section.add("peer ÷ exporter", random.peer.best / random.ours.best, "{:.2f}")

    for records, ms, most_bytes in ((1, 0.5, None), (5, 0.6, 40_000)):
        _measure_polls(section, directory / f"polls-of-{records}", records, ms=ms, most_bytes=most_bytes)
    _measure_syncs(section)
    return section


# --- full bodies ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Compared:
    """CPU seconds for the same bodies, and their size in a new ledger: bytes for each record."""

    records: int
    bytes: int
    json: Timing
    peer: Timing
    ours: Timing
    written: float
    kept: float


def _compare(bodies: list[bytes], directory: Path) -> _Compared:
    records = len(bodies) * 1000
    sizes: list[tuple[int, int]] = []

    def ingest() -> float:
        with tempfile.TemporaryDirectory(dir=directory) as fresh:
            program = Program(Path(fresh))
            before = written_bytes()
            seconds = _over(bodies, program.take)
            kept = program.close()
            sizes.append((written_bytes() - before, kept))
        return seconds

    runs = by_turns(
        {
            "json": lambda: _over(bodies, json.loads),
            "peer": lambda: _over(bodies, Peer().take),
            "ours": ingest,
        }
    )
    written, kept = sizes[-1]
    return _Compared(
        records=records, bytes=sum(map(len, bodies)), written=written / records, kept=kept / records, **runs
    )


def _over(bodies: list[bytes], handle: Callable[[bytes], object]) -> float:
    def handle_all() -> None:
        for body in bodies:
            handle(body)  # drop the result, because keeping all of them would measure the memory

    return cpu_seconds(handle_all)


def _report(section: Section, labels: str, compared: _Compared) -> None:
    section.add(f"**{labels}**: bytes per record on the wire", compared.bytes / compared.records, "{:,.0f}")
    for name, run in (("`json.loads`", compared.json), ("the peer", compared.peer), ("the exporter", compared.ours)):
        section.add(f"{name}, µs per record (spread {run.spread:.0%})", run.best / compared.records * 1e6, "{:.1f}")


# --- small polls ------------------------------------------------------------------------------------------------------


def _measure_polls(section: Section, directory: Path, records: int, *, ms: float, most_bytes: float | None) -> None:
    program = Program(directory)
    stream = Stream(real_labels(), records=4 * _POLLS * records)

    def poll_often(bodies: list[bytes]) -> None:
        for body in bodies:
            program.poll(body)

    def run() -> float:
        bodies = [stream.body(records) for _ in range(_POLLS)]
        return cpu_seconds(lambda: poll_often(bodies))

    run()  # the first records of each label set have births to write
    before = written_bytes()
    timing = by_turns({"polls": run})["polls"]
    written = (written_bytes() - before) / (3 * _POLLS)
    program.close()
    many = "one record" if records == 1 else f"{records} records"
    section.add(
        f"**a poll of {many}**: ms (spread {timing.spread:.0%})", timing.best / _POLLS * 1e3, "{:.2f}", at_most=ms
    )
    section.add("bytes written", written, "{:,.0f}", at_most=most_bytes)


def _measure_syncs(section: Section) -> None:
    if shutil.which("strace"):
        syncs = (_syncs_of(_POLLS) - _syncs_of(0)) / _POLLS
        section.add("fdatasync calls of a poll of one record, counted by strace", syncs, "{:.2f}", at_most=3.0)
    else:
        section.rows.append(Row("fdatasync calls", "not measured: strace is missing", "≤ 3.00"))


def _syncs_of(polls: int) -> int:
    """How often a process that makes this many polls of one record syncs."""
    with tempfile.NamedTemporaryFile("r", prefix="strace-") as counts:
        subprocess.run(  # noqa: S603 - a fixed command
            [
                *("strace", "-f", "-c", "-e", "trace=fsync,fdatasync", "-o", counts.name),
                *(sys.executable, "-m", "benchmarks.p1_ingest", str(polls)),
            ],
            cwd=_CHECKOUT,
            check=True,
        )
        rows = re.findall(r"^(?:\s*[\d.]+){3}\s+(\d+)\s.*f(?:data)?sync$", counts.read(), flags=re.MULTILINE)
    return sum(map(int, rows))


def _make_polls(number: int) -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        program = Program(Path(directory))
        stream = Stream(real_labels(), records=number)
        for _ in range(number):
            program.poll(stream.body(1))
        program.close()


if __name__ == "__main__":
    _make_polls(int(sys.argv[1]))
