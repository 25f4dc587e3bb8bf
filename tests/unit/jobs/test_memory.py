"""The exporter takes little memory and returns what is free, as a separate process shows."""

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

_LOADED = """
import sys
from exporter.jobs.memory import load_less

load_less()
import httpx
from exporter.pricing.genai_prices import load_genai_rows

httpx.Client()
assert load_genai_rows()["anthropic"]
print(*[name for name in sys.modules if name.startswith(("hpack", "h2.", "httpx2."))])
"""


def test_libraries_work_without_loading_what_the_exporter_does_not_use() -> None:
    done = subprocess.run([sys.executable, "-c", _LOADED], check=True, capture_output=True, text=True)
    assert not done.stdout.split()


def test_free_memory_below_memory_in_use_is_returned() -> None:
    done = subprocess.run([sys.executable, "-c", _MEASURED], check=True, capture_output=True, text=True)
    kept, given_back = map(float, done.stdout.split())
    assert kept > 30  # without the call it stays, because memory in use lies above it
    assert given_back < 5
