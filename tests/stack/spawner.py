"""A process that has the whole program loaded and forks for each start: ``spawner.py SOCKET``.

No test can tell a fork from ``python -m exporter``: it has the directory, the environment and the pipes that the test
sends, and it ends when its threads have. Only two things differ: all forks share the seed for hashes of strings, and
none unloads the shared modules at its end, because that takes longer than most starts.
"""

import atexit
import gc
import json
import os
import pkgutil
import runpy
import select
import socket
import sys
import threading
import time
from contextlib import suppress
from importlib import import_module

import exporter
from exporter.pricing.catalogue import load_catalogue
from tests.stack.forks import die_with_parent

_LONGEST_QUESTION = 2**18
_LATER = ("encodings.idna", "httpcore", "jinja2.ext", "supabase", "tests.benches.program", "tests.stack.running")
"""Modules that some starts import when they need them."""


def _load() -> None:
    """Load everything that depends neither on the environment, nor on settings, nor on the time."""
    names = [each.name for each in pkgutil.walk_packages(exporter.__path__, "exporter.")]
    for name in (*names, *_LATER):
        if not name.endswith("__main__"):
            import_module(name)
    load_catalogue()
    gc.freeze()  # otherwise a fork copies pages that it only reads
    assert len(os.listdir("/proc/self/task")) == 1, "a fork takes along one thread only"


def _serve(asker: socket.socket) -> str:
    """Fork for each question; report the process, and later how it ended.

    Returns only in the forks: the module that each one runs. The process itself ends when nobody can ask any more.
    """
    this, events, running = os.getpid(), select.poll(), dict[int, tuple[int, int]]()
    events.register(asker, select.POLLIN)
    while True:
        for ready, _ in events.poll():
            if ready in running:
                pid, report = running.pop(ready)
                events.unregister(ready)
                _tell(report, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                _close(ready, report)
                continue
            question, files, _, _ = socket.recv_fds(asker, _LONGEST_QUESTION, 3)
            if not question:
                sys.exit()
            if (pid := os.fork()) == 0:
                die_with_parent(this)
                asker.close()
                _connect(*files[:2])
                return _become(*json.loads(question))
            out, err, report = files
            _tell(report, pid)
            _close(out, err)
            handle = os.pidfd_open(pid)  # becomes readable when the fork has ended
            events.register(handle, select.POLLIN)
            running[handle] = pid, report


def _connect(out: int, err: int) -> None:
    """In a fork: use these files for output and errors, and close all others."""
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    old = sys.stdout  # which still believes that it can seek
    sys.stdout = os.fdopen(1, "w", encoding=old.encoding, errors=old.errors, closefd=False)


def _become(module: str, arguments: list[str], cwd: str, env: dict[str, str]) -> str:
    """Behave as a new interpreter that runs this module."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.path[0], sys.argv[1:] = cwd, arguments
    return module


def _run(module: str) -> None:
    """Run the module as a program, to its end."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
        threading._shutdown()  # type: ignore[attr-defined] # waits for them
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code)


def _tell(report: int, number: int) -> None:
    with suppress(BrokenPipeError):  # the caller has ended
        os.write(report, f"{number}\n".encode())


def _close(*files: int) -> None:
    for file in files:
        os.close(file)


if __name__ == "__main__":
    _load()
    _run(_serve(socket.socket(fileno=int(sys.argv[1]))))
