"""Results as tables, and the page ``docs/performance.md`` that is made of them."""

import os
import platform
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. ``met`` is None where there is no target."""

    what: str
    value: str
    target: str = ""
    met: bool | None = None


@dataclass(slots=True)
class Section:
    """The results of one benchmark, with what a reader must know to believe them."""

    title: str
    about: str
    rows: list[Row] = field(default_factory=list)

    def add(self, what: str, value: float, form: str, *, at_most: float | None = None) -> None:
        """A figure, and the most that it may be."""
        if at_most is None:
            self.rows.append(Row(what, form.format(value)))
        else:
            self.rows.append(Row(what, form.format(value), f"≤ {form.format(at_most)}", value <= at_most))

    def add_floor(self, what: str, value: float, form: str, *, at_least: float) -> None:
        """A figure, and the least that it may be."""
        self.rows.append(Row(what, form.format(value), f"≥ {form.format(at_least)}", value >= at_least))

    def text(self) -> str:
        """As Markdown."""
        verdicts = {None: "", True: "met", False: "**missed**"}
        lines = [f"| {row.what} | {row.value} | {row.target} | {verdicts[row.met]} |" for row in self.rows]
        table = "\n".join(["| | measured | target | |", "| --- | --- | --- | --- |", *lines])
        return f"## {self.title}\n\n{self.about}\n\n{table}\n"


_PAGE = """# Performance

What the exporter promises about speed and size, and what was measured. Made by `python -m benchmarks --write`.

Each benchmark runs what it compares in one process, on the same input, by turns, and takes CPU time, best of three.
Times differ from machine to machine and from run to run; ratios much less. *Spread* says how much slower the worst run
was than the best one. A target that was missed says so.

To measure on your machine:

```
make bench                             # everything; a quarter of an hour, 1 GB in the temporary directory
python -m benchmarks P1 P3 --quick     # some of it, on less input
python -m benchmarks --write           # everything, and this page anew
```

The input is invented traffic in the shape of CPA 7.2 with response headers, see `benchmarks/records.py`. Nothing
leaves the machine.

{measured}
{sections}
{misses}"""


def page(sections: Sequence[Section], *, command: str, load: float) -> str:
    """The whole page. ``load`` is how busy the machine was before."""
    return _PAGE.format(
        measured=circumstances(command=command, load=load),
        sections="\n".join(map(Section.text, sections)),
        misses=Path(__file__).with_name("misses.md").read_text(encoding="utf-8"),
    )


def circumstances(*, command: str, load: float) -> str:
    """Where, when and with what it was measured."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("msgspec", "prometheus-client", "genai-prices"))
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} by `{command}`: {_processor()}, {os.cpu_count()} cores, load"
        f" {load:.1f} before the start; Python {platform.python_version()}, SQLite {sqlite3.sqlite_version},"
        f" {packages}.\n"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
