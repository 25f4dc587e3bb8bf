"""Starts the program without the cost of loading it: ``tests/stack/spawner.py`` has it loaded, and forks."""

import atexit
import ctypes
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path


class Spawner:
    """The process that forks. It ends with this one, and everything that it started ends with it."""

    def __init__(self, python: Sequence[str], env: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [*python, "-m", "tests.stack.spawner", str(theirs.fileno())],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self._end)

    def _end(self) -> None:
        with self._process:  # waits for the child
            self._socket.close()

    def ask(self, question: str, files: Sequence[int]) -> None:
        """Send a question, with the open files for the process that it requests."""
        with suppress(BrokenPipeError, ConnectionResetError):  # there will be no answer, and ``failure`` says why
            socket.send_fds(self._socket, [question.encode()], files)

    def failure(self) -> str:
        """Why there is no answer."""
        assert self._process.stderr is not None
        return f"the process that forks has ended with {self._process.wait()}: {self._process.stderr.read()}"


class Fork:
    """A forked process with the interface of ``subprocess.Popen``."""

    def __init__(
        self, spawner: Spawner, module: str, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str]
    ) -> None:
        """Run ``module`` as a program with these arguments."""
        pipes = [os.pipe() for _ in range(3)]
        self.stdout, self.stderr, self._report = (os.fdopen(ours, "rb") for ours, _ in pipes)
        spawner.ask(json.dumps([module, arguments, str(cwd), env]), [theirs for _, theirs in pipes])
        for _, theirs in pipes:
            os.close(theirs)
        self._spawner = spawner
        self.pid = self._reported()
        self.returncode: int | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._await_end, daemon=True).start()

    def _reported(self) -> int:
        line = self._report.readline()
        assert line, self._spawner.failure()
        return int(line)

    def _await_end(self) -> None:
        with self._report:
            line = self._report.readline()
        self.returncode = int(line) if line else None
        self._ended.set()

    def poll(self) -> int | None:
        """The exit code; None while the process runs."""
        return self.wait(0) if self._ended.is_set() else None

    def wait(self, timeout: float | None = None) -> int:
        """The exit code: the negative number of the signal that killed it. Raises ``subprocess.TimeoutExpired``."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        assert self.returncode is not None, self._spawner.failure()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if not self._ended.is_set():
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def die_with_parent(parent: int) -> None:
    """In a new child on Linux: make the kernel kill it when its parent, this process, ends, so that none is left."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != parent:  # which ended before the kernel knew
            os.kill(os.getpid(), signal.SIGKILL)
