"""Results as tables, and the page ``docs/performance.md`` that they make up."""

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
    """One figure. ``met`` is None if there is no target."""

    what: str
    value: str
    target: str = ""
    met: bool | None = None

    def text(self) -> str:
        """The row of a table in Markdown. A last cell that is empty may be left out."""
        missed = ", **missed**" if self.met is False else ""
        return f"| {self.what} | {self.value} |" + (f" {self.target}{missed} |" if self.target else "")


@dataclass(slots=True)
class Section:
    """The results of one benchmark, with what a reader must know to trust them."""

    title: str
    about: str
    rows: list[Row] = field(default_factory=list)

    def add(self, what: str, value: float, form: str, *, at_most: float | None = None) -> None:
        """Add a figure with its highest allowed value."""
        if at_most is None:
            self.rows.append(Row(what, form.format(value)))
        else:
            self.rows.append(Row(what, form.format(value), f"≤ {form.format(at_most)}", value <= at_most))

    def add_floor(self, what: str, value: float, form: str, *, at_least: float) -> None:
        """Add a figure with its lowest allowed value."""
        self.rows.append(Row(what, form.format(value), f"≥ {form.format(at_least)}", value >= at_least))

    def text(self) -> str:
        """The section as Markdown."""
        table = "\n".join(["| | measured | target |", "| --- | --- | --- |", *map(Row.text, self.rows)])
        return f"## {self.title}\n\n{self.about}\n\n{table}\n"


_PAGE = """# Performance

The targets for speed and size, and what was measured on invented traffic in the shape of CPA 7.2. Each benchmark runs
both sides by turns, on the same input, and takes the best CPU time. Times differ between machines and runs; ratios much
less. *Spread* is how much slower the worst run was than the best.

```
make bench                     # everything; five minutes on two cores, 300 MB in the temporary directory
python -m benchmarks P1 P3     # some of it
python -m benchmarks --full    # up to ten times the input; half an hour, 1 GB
python -m benchmarks --write   # everything, and rewrite this page
```

{measured}
{sections}
{misses}"""


def page(sections: Sequence[Section], *, command: str, load: float) -> str:
    """The whole page. ``load`` is the load of the machine before the benchmarks."""
    return _PAGE.format(
        measured=circumstances(command=command, load=load),
        sections="\n".join(map(Section.text, sections)),
        misses=Path(__file__).with_name("misses.md").read_text(encoding="utf-8"),
    )


def circumstances(*, command: str, load: float) -> str:
    """Where, when and with which versions the benchmarks ran."""
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
