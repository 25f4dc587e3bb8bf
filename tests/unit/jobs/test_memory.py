"""Memory that is free goes back to the system, seen as the system counts it, in a process of its own."""

import subprocess
import sys

_MEASURED = """
from pathlib import Path
from exporter.jobs.memory import give_back, use_one_heap

def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

use_one_heap()
before = resident_mib()
texts = [bytes(2000) for _ in range(20_000)]
last = texts[-1]
del texts
freed = resident_mib()
give_back()
print(freed - before, resident_mib() - before)
"""


def test_what_is_free_below_something_in_use_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", _MEASURED], check=True, capture_output=True, text=True)
    kept, given_back = map(float, done.stdout.split())
    assert kept > 30  # without the call it stays: what is in use lies above it
    assert given_back < 5
