"""P5: the ledger's size on disk, and whether taking in records costs more as it grows."""

import gc
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import written_bytes
from benchmarks.p5_windows import add_windows
from benchmarks.program import Program
from benchmarks.records import SECONDS_BETWEEN_RECORDS, Stream, random_labels, real_labels
from benchmarks.report import Section

_MILLION = 1_000_000
_RANDOM_SETS = 1_000
_RANDOM_RECORDS = 200_000
_ROUNDS = 3
_BODIES = 40
_WARM_UP = 3
"""Bodies that a new ledger takes before it is measured, so that it knows its labels as the grown one does."""


def measure(directory: Path, full: bool) -> Section:
    """Run the benchmark with ledgers below ``directory``."""
    section = Section(
        "P5: the ledger",
        f"A ledger filled by bodies of 1,000 records, one record every {SECONDS_BETWEEN_RECORDS} s. *On disk*: the"
        " whole file. *Cost*: the same bodies, taken in by the grown ledger and by a new one. *Limits*: all of them,"
        " evaluated once after a booking, against the plain sum.",
    )
    sizes = [_MILLION, 10 * _MILLION] if full else [_MILLION]
    stream = Stream(real_labels(), records=sizes[-1] + len(sizes) * _ROUNDS * (_BODIES + _WARM_UP) * 1000)
    for size in sizes:
        written, records, file = _fill(directory / "grown", stream, size)
        section.add(f"**{size:,} entries**: bytes on disk per entry", file / size, "{:.0f}", at_most=90)
        section.add("bytes written per record", written / records, "{:.0f}", at_most=250)
        _compare_with_new(section, directory, stream)
        grown = Program(directory / "grown")
        add_windows(section, grown, directory / "grown")
        grown.close()
    written, records, file = _fill(
        directory / "random", Stream(random_labels(_RANDOM_SETS), records=_RANDOM_RECORDS), _RANDOM_RECORDS
    )
    section.add(
        f"**{_RANDOM_RECORDS:,} entries of {_RANDOM_SETS:,} random label sets**: bytes on disk per entry",
        file / _RANDOM_RECORDS,
        "{:.0f}",
    )
    section.add("bytes written per record", written / records, "{:.0f}")
    return section


def _fill(directory: Path, stream: Stream, entries: int) -> tuple[int, int, int]:
    """Fill the ledger up to ``entries``; return bytes written, records taken in, size of the closed file."""
    program = Program(directory)
    before, records = written_bytes(), 0
    while (missing := entries - program.ledger.totals.entries) > 0:
        taken = min(missing, 1000)
        program.take(stream.body(taken))
        records += taken
    written = written_bytes() - before
    return written, records, program.close()


def _compare_with_new(section: Section, directory: Path, stream: Stream) -> None:
    """Compare the cost of the same bodies in the grown ledger and in a new one, ``_ROUNDS`` times."""
    grown = Program(directory / "grown")
    rounds = [_round(grown, directory, stream) for _ in range(_ROUNDS)]
    grown.close()
    ratios = [in_grown / in_new for in_grown, in_new in rounds]
    best = min(in_grown for in_grown, _ in rounds) / min(in_new for _, in_new in rounds)
    section.add(f"cost ÷ cost at 0 (single rounds {min(ratios):.2f} to {max(ratios):.2f})", best, "{:.2f}", at_most=1.1)


def _round(grown: Program, directory: Path, stream: Stream) -> tuple[float, float]:
    """CPU seconds in the grown and in a new ledger."""
    with tempfile.TemporaryDirectory(dir=directory) as fresh:
        new = Program(Path(fresh))
        for body in stream.bodies(_WARM_UP):
            new.take(body)
        seconds = {grown: 0.0, new: 0.0}
        gc.collect()
        for body, order in zip(stream.bodies(_BODIES), _orders(grown, new), strict=False):
            for program in order:  # the second one finds the body in the processor's cache, so they take turns
                started = time.process_time()
                program.take(body)
                seconds[program] += time.process_time() - started
        new.close()
    return seconds[grown], seconds[new]


def _orders(one: Program, other: Program) -> Iterator[tuple[Program, Program]]:
    while True:
        yield one, other
        yield other, one
