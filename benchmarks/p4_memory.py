"""P4: the memory of the whole program, run as its users run it."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx

from benchmarks.grown import fill
from benchmarks.measure import peak_mib, resident_mib
from benchmarks.p3_render import SERIES_PER_LABEL_SET
from benchmarks.report import Section
from exporter.simulator.world import MANAGEMENT_KEY

_CHECKOUT = Path(__file__).resolve().parent.parent
_LABEL_SETS = 10_000 // SERIES_PER_LABEL_SET
_SCRAPES = 20
_RECORDS = 1_000_000
_UPKEEP_SECONDS = 6.0
"""The exporter returns free memory to the system every 5 s."""
_POLLS = 3
_SECONDS = 60.0
_AS_USERS_HAVE_IT = """
import sys
sys.modules.update(dict.fromkeys(("greenlet", "rich")))  # test tools, which httpx and structlog load where they are
from exporter.cli import main
main()
"""
_ACCEPT = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


def measure(directory: Path, full: bool) -> Section:  # noqa: ARG001 - the target is for this size
    """Run the benchmark with a ledger below ``directory``."""
    fill(directory / "data", _RECORDS, _LABEL_SETS, with_totals=True)
    section = Section(
        "P4: memory",
        f"`cliproxy-exporter run` without Supabase, with a ledger of {_RECORDS:,} entries in {_LABEL_SETS:,} label sets"
        " (10,000 series). Resident memory in MiB after the first scrape, then"
        f" after {_POLLS} polls, {_SCRAPES} scrapes, one status page and {_UPKEEP_SECONDS:.0f} s.",
    )
    with _started(["-m", "exporter.simulator", "--port", "0"], directory, {}) as demo:
        settings = {
            "CLIPROXY_URL": _line(demo).partition(" at ")[2].partition(",")[0],
            "CLIPROXY_MANAGEMENT_KEY": MANAGEMENT_KEY,
            "EXPORTER_DATA_DIR": str(directory / "data"),
            "EXPORTER_PORT": "0",
            "EXPORTER_PRICES_REFRESH": "false",
            "LOG_LEVEL": "error",
        }
        with _started(["-c", _AS_USERS_HAVE_IT], directory, settings) as exporter:
            url = _line(exporter).split()[1].rstrip("/")
            _measure_process(section, exporter.pid, url)
    return section


def _measure_process(section: Section, pid: int, url: str) -> None:
    with httpx.Client(base_url=url, trust_env=False, timeout=_SECONDS, headers={"Accept": _ACCEPT}) as client:

        def polls() -> float:
            lines = client.get("/metrics").text.splitlines()
            return sum(float(line.split()[1]) for line in lines if line.startswith("cliproxy_exporter_polls_total{"))

        def more_than(made: float) -> bool:
            return polls() > made

        _wait(partial(more_than, 0))
        section.add("after the first scrape", resident_mib(pid), "{:.0f}")
        while (made := polls()) < _POLLS:
            client.post("/api/collector/trigger").raise_for_status()
            _wait(partial(more_than, made))
        for _ in range(_SCRAPES):
            client.get("/metrics").raise_for_status()
        client.get("/").raise_for_status()
        time.sleep(_UPKEEP_SECONDS)
        section.add("after polls, scrapes and the status page", resident_mib(pid), "{:.0f}", at_most=75)
        section.add("the most it ever had", peak_mib(pid), "{:.0f}")


@contextmanager
def _started(arguments: list[str], directory: Path, settings: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Start a Python process of the checkout without other settings; it ends with the block."""
    process = subprocess.Popen(  # noqa: S603 - fixed commands
        [sys.executable, *arguments],
        cwd=directory,
        env={"PYTHONPATH": str(_CHECKOUT), **settings},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=_SECONDS)


def _line(process: subprocess.Popen[str]) -> str:
    """The next line of the process. Raises RuntimeError if the process ends instead."""
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise RuntimeError("a process of the benchmark ended at its start")
    return line.strip()


def _wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not until():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the exporter made no poll within {_SECONDS:.0f} s")
        time.sleep(0.2)
