"""Exporters that can be killed by the hundred: each is forked from a process that has everything loaded.

Run as a program, this file is the process that forks: ``forks.py DATA_DIR SETTING=VALUE ...``.
"""

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from signal import SIGKILL
from typing import Any

from pydantic import SecretStr

from exporter.app import Exporter
from exporter.logs import configure_logging
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.program import settings_for
from tests.stack.running import environment
from tests.stack.waiting import PATIENCE_SECONDS

_PAUSE_SECONDS = 0.005
_ROUNDS_PER_POLL = 20
_SECRETS = ("supabase_secret_key",)


class Forks:
    """Starts exporters of one data directory quickly, one after the other, and kills them."""

    def __init__(self, proxy_url: str, data_dir: Path, **settings: str) -> None:
        """``settings`` are further fields of ``Settings`` that hold a text."""
        given = [f"{name}={value}" for name, value in settings.items()]
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.stack.forks", proxy_url, str(data_dir), *given],
            env=environment({}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._to, self._from = self._parent.stdin, self._parent.stdout
        self._pid = 0

    def start(self) -> None:
        self._pid = int(self._tell("fork"))

    def kill(self) -> None:
        os.kill(self._pid, SIGKILL)
        self._pid = 0
        assert self._tell("reap") == f"ended by {SIGKILL.value}"

    def end(self) -> None:
        if self._pid:
            self.kill()
        self._to.close()
        self._parent.wait(PATIENCE_SECONDS)
        self._from.close()

    def _tell(self, word: str) -> str:
        print(word, file=self._to, flush=True)
        return self._from.readline().strip()


def _serve(proxy_url: str, data_dir: Path, settings: Mapping[str, str]) -> None:
    configure_logging("error", "logfmt", stream=sys.stderr)
    if settings:
        import supabase  # noqa: F401, PLC0415 - loaded before the forks, as everything else
    pid = 0
    for line in sys.stdin:
        if line.strip() == "reap":
            print(f"ended by {-os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}", flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            _poll_for_ever(proxy_url, data_dir, settings)
        print(pid, flush=True)


def _poll_for_ever(proxy_url: str, data_dir: Path, settings: Mapping[str, str]) -> None:
    """The program without its command line, asked for one poll after the other.

    With a history it is that which is asked without a pause, and polls are rarer.
    """
    more: dict[str, Any] = {name: SecretStr(text) if name in _SECRETS else text for name, text in settings.items()}
    exporter = Exporter(settings_for(data_dir, proxy_url=proxy_url, key=MANAGEMENT_KEY, **more))
    threading.Thread(target=exporter.run, args=(threading.Event(),)).start()
    for round_ in itertools.count():
        if exporter._history is None or round_ % _ROUNDS_PER_POLL == 0:
            exporter.trigger()
        else:
            exporter._history.ask()  # whatever pause it has made for itself
            exporter._historians[0].ask()
        time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    _serve(sys.argv[1], Path(sys.argv[2]), dict(pair.split("=", 1) for pair in sys.argv[3:]))
