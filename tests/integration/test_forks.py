"""To a test, a fork of the loaded program equals a start of it."""

import json
import select
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.stack import running
from tests.stack.forks import Fork, Spawner
from tests.stack.running import PYTHON, Process, environment
from tests.stack.waiting import PATIENCE_SECONDS

_PROBE = """
import atexit, os, random, resource, signal, sys, threading, time

found = {
    "main": (__name__, sys.argv, sys.path, sys.warnoptions, str(sys.flags)),
    "place": (os.getcwd(), dict(os.environ), time.tzname, os.getpgrp(), os.getsid(0), os.umask(0o77)),
    "signals": [str(signal.getsignal(number)) for number in signal.valid_signals()],
    "blocked": list(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "limits": {name: resource.getrlimit(vars(resource)[name]) for name in dir(resource) if name.startswith("RLIMIT")},
    "files": [os.path.exists(f"/proc/self/fd/{number}") for number in range(50)],
    "input": os.readlink("/proc/self/fd/0"),
    "streams": [(each.encoding, each.errors, each.line_buffering, each.isatty()) for each in (sys.stdout, sys.stderr)],
    "threads": (threading.active_count(), threading.current_thread() is threading.main_thread()),
}
atexit.register(print, "the end")
import json
print(json.dumps([random.random(), found]), flush=True)
threading.Thread(target=lambda: (time.sleep(0.1), print("a thread", flush=True))).start()
print("an error", file=sys.stderr)
sys.exit(3)
"""


def _probed(folder: Path) -> tuple[float, dict[str, Any]]:
    """A random number of the process, and what a program sees of its surroundings."""
    settings = {"TZ": "Asia/Kolkata", "EXPORTER_X": "é\n"}
    done = Process(["a", "--b c"], cwd=folder, settings=settings, module="probe").finished()
    assert (done.returncode, done.stderr) == (3, "an error\n")
    line, *rest = done.stdout.splitlines()
    assert rest == ["a thread", "the end"]
    chance, found = json.loads(line)
    return chance, found


def test_a_fork_sees_what_a_start_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "probe.py").write_text(_PROBE, encoding="utf-8")
    one, other = _probed(tmp_path), _probed(tmp_path)
    monkeypatch.setattr(running, "FORKS", False)
    started = _probed(tmp_path)
    assert one[1] == other[1] == started[1]
    assert one[0] != other[0]


def test_forks_end_with_an_error_when_the_forking_process_ends(tmp_path: Path) -> None:
    (tmp_path / "sleeping.py").write_text("import time\ntime.sleep(600)\n", encoding="utf-8")
    env = environment({})
    spawner = Spawner(PYTHON, env)
    killed, left = (Fork(spawner, "sleeping", [], cwd=tmp_path, env=env) for _ in range(2))
    with killed.stdout, killed.stderr, left.stdout, left.stderr:
        killed.kill()
        assert killed.wait(PATIENCE_SECONDS) == -signal.SIGKILL
        spawner._process.kill()
        with pytest.raises(AssertionError, match="the process that forks has ended with -9"):
            left.wait(PATIENCE_SECONDS)
        assert select.select([left.stdout], [], [], PATIENCE_SECONDS)[0], "it still runs"
