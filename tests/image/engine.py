"""Podman for the tests: its commands, what runs in a container, and Docker Compose over its service."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.stack.compose import compose
from tests.stack.waiting import wait_until

IMAGE = "docker.io/library/cliproxy-exporter:latest"
"""Its full name, by which Compose knows it."""
PYTHON = "docker.io/library/python:3.13-slim-trixie"

_FETCH = "import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"


class Engine:
    """Podman, set up by ``scripts/test-image``; ``notes`` are measurements to show at the end."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "podman.sock"
        self._log = folder / "service.log"
        self.notes: list[str] = []

    def try_podman(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False, timeout=300)

    def podman(self, *arguments: str) -> str:
        """The output of the command. Raises AssertionError if it fails."""
        done = self.try_podman(*arguments)
        assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout.strip()

    def exec(self, container: str, *command: str) -> subprocess.CompletedProcess[str]:
        return self.try_podman("exec", container, *command)

    def fetch(self, container: str, url: str) -> str:
        """What a program in this container reads from ``url``; the container needs a Python."""
        return self.podman("exec", container, "python", "-c", _FETCH, url)

    def is_healthy(self, container: str) -> bool:
        """The result of the container's own health check, run now (without systemd podman runs none by itself)."""
        return self.try_podman("healthcheck", "run", container).returncode == 0

    def logs(self, container: str) -> str:
        done = self.try_podman("logs", container)
        return done.stdout + done.stderr

    def exit_code(self, container: str) -> int:
        return int(self.podman("inspect", "--format", "{{.State.ExitCode}}", container))

    def compose(self, *arguments: str, env_file: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run Docker Compose with podman as its engine. Raises AssertionError if it fails."""
        done = compose(
            *arguments,
            env_file=env_file,
            DOCKER_HOST=f"unix://{self._socket}",
            DOCKER_BUILDKIT="0",  # podman's service has no other builder
            **variables,
        )
        assert done.returncode == 0, f"docker compose {' '.join(arguments)}: {done.stderr[-4000:]}"
        return done

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Docker's interface on a socket, as Compose needs it."""
        self._socket.unlink(missing_ok=True)
        command = ["podman", "system", "service", "--time=0", f"unix://{self._socket}"]
        with self._log.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log, env=os.environ) as process:
            try:
                wait_until(self._socket.exists)
                yield
            finally:
                process.terminate()

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.notes.append(f"{what}: {time.monotonic() - started:.1f} s")
