"""How the benchmarks measure: CPU time by turns, bytes handed to the system, resident memory.

They use CPU time, not wall time, because cores are shared. They run by turns, because a machine is slower in one minute
than in the next; ratios of figures from the same minute survive that.
"""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Timing:
    """The best and the worst of several runs, in CPU seconds."""

    best: float
    worst: float

    @property
    def spread(self) -> float:
        """How much slower the worst run was: 0.1 is 10 %."""
        return self.worst / self.best - 1


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of this process while ``work`` runs, including all threads and the kernel's part.

    Existing objects are hidden from the garbage collector; otherwise ``json.loads`` would pay for the exporter's price
    lists, and a comparison with it would flatter the exporter.
    """
    gc.collect()
    gc.freeze()
    started = time.process_time()
    try:
        work()
        return time.process_time() - started
    finally:
        gc.unfreeze()


def by_turns(contenders: Mapping[str, Callable[[], float]], *, rounds: int = 3) -> dict[str, Timing]:
    """Run all contenders ``rounds`` times, one after the other. Each returns the CPU seconds of one run."""
    runs: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            runs[name].append(run())
    return {name: Timing(min(seconds), max(seconds)) for name, seconds in runs.items()}


def written_bytes() -> int:
    """What this process has handed to write calls since its start: ``wchar`` of /proc/self/io. Linux only."""
    return _number(Path("/proc/self/io"), "wchar")


def resident_mib(pid: int) -> float:
    """Present resident memory of a process, in MiB. Linux only."""
    return _number(Path(f"/proc/{pid}/status"), "VmRSS") / 1024


def peak_mib(pid: int) -> float:
    """The highest resident memory that a process had since it last forgot its peak, in MiB. Linux only."""
    return _number(Path(f"/proc/{pid}/status"), "VmHWM") / 1024


def forget_peak() -> None:
    """Let the peak of this process begin anew at its present resident memory. Linux only."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _number(file: Path, name: str) -> int:
    for line in file.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise ValueError(f"{file} has no {name}")
