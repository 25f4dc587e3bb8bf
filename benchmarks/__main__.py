"""``python -m benchmarks``: run benchmarks and print their results, or write them to the page."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import p1_ingest, p2_snapshots, p3_render, p4_memory, p5_growth, p6_history, p7_notification, p8_usage
from benchmarks.report import Section, circumstances, page

_PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"

_Benchmark = Callable[[Path, bool], Section]
_BENCHMARKS: dict[str, _Benchmark] = {
    "P1": p1_ingest.measure,
    "P2": p2_snapshots.measure,
    "P3": p3_render.measure,
    "P4": p4_memory.measure,
    "P5": p5_growth.measure,
    "P6": p6_history.measure,
    "P7": p7_notification.measure,
    "P8": p8_usage.measure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure speed and size of the exporter. P1: booking. P2: snapshots. P3: a scrape. P4: memory."
        ""
        " P5: the ledger. P6: history. P7: notifications. P8: usage.",
        epilog="example: python -m benchmarks P1 P3",
    )
    parser.add_argument(
        "targets", nargs="*", metavar="P1 P2 P3 P4 P5 P6 P7 P8", help="what to measure (default: everything)"
    )
    parser.add_argument(
        "--full", action="store_true", help="up to ten times the input: half an hour instead of five minutes"
    )
    parser.add_argument("--write", action="store_true", help=f"write the results to docs/{_PAGE.name}")
    options = parser.parse_args(arguments)
    targets = options.targets or list(_BENCHMARKS)
    if unknown := set(targets) - _BENCHMARKS.keys():
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}: choose from {', '.join(_BENCHMARKS)}")
    if options.write and options.targets:
        parser.error("the page holds all results: leave out the names of benchmarks, or leave out --write")
    load, command = os.getloadavg()[0], " ".join(["python -m benchmarks", *(arguments or sys.argv[1:])])
    sections: list[Section] = []
    print(circumstances(command=command, load=load), flush=True)
    for target in targets:
        with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
            sections.append(_BENCHMARKS[target](Path(directory), options.full))
        print(sections[-1].text(), flush=True)
    if options.write:
        _PAGE.write_text(page(sections, command=command, load=load), encoding="utf-8")
        print(f"Written to docs/{_PAGE.name}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
