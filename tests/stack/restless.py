"""Exporters that poll almost without a pause, so that tests can kill them by the hundred.

As a program, this file runs one of them: ``restless.py PROXY_URL DATA_DIR SETTING=VALUE ...``.
"""

import itertools
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
from tests.stack.running import Process

_POLL_PAUSE_SECONDS = 0.02
"""Shorter than the pause between two arrivals of records at a proxy in use."""
_HISTORY_PAUSE_SECONDS = 0.005
_ROUNDS_PER_POLL = 20
_SECRETS = ("supabase_secret_key",)


class Restless:
    """Starts exporters on one data directory, one after the other, and kills them."""

    def __init__(self, proxy_url: str, data_dir: Path, **settings: str) -> None:
        """``settings`` are further text fields of ``Settings``."""
        self._arguments = [proxy_url, str(data_dir), *(f"{name}={value}" for name, value in settings.items())]
        self._cwd = data_dir.parent
        self._process: Process | None = None

    def start(self) -> None:
        self._process = Process(self._arguments, cwd=self._cwd, settings={}, module="tests.stack.restless")

    def kill(self) -> None:
        assert self._process is not None
        assert self._process.stop(SIGKILL) == -SIGKILL, self._process.log

    def end(self) -> None:
        if self._process is not None:
            self._process.end()


def _poll_for_ever(proxy_url: str, data_dir: Path, settings: Mapping[str, str]) -> None:
    """Run the program without its command line, and ask it for one poll after the other.

    With a history, ask the history to work without a pause instead, and for fewer polls.
    """
    configure_logging("error", "logfmt", stream=sys.stderr)
    more: dict[str, Any] = {name: SecretStr(text) if name in _SECRETS else text for name, text in settings.items()}
    exporter = Exporter(settings_for(data_dir, proxy_url=proxy_url, key=MANAGEMENT_KEY, **more))
    threading.Thread(target=exporter.run, args=(threading.Event(),)).start()
    pause = _POLL_PAUSE_SECONDS if exporter.parts.history is None else _HISTORY_PAUSE_SECONDS
    for round_ in itertools.count():
        if exporter.parts.history is None or round_ % _ROUNDS_PER_POLL == 0:
            exporter.trigger()
        else:
            exporter.parts.history.ask()  # whatever pause it is in
            exporter._historians[0].ask()
        time.sleep(pause)


if __name__ == "__main__":
    _poll_for_ever(sys.argv[1], Path(sys.argv[2]), dict(pair.split("=", 1) for pair in sys.argv[3:]))
