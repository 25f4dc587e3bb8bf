"""The whole program on a thread of the test, except the command line and the signals."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from exporter.app import Exporter
from exporter.clock import Clock
from exporter.jobs.scheduler import Worker
from exporter.settings.model import Settings
from exporter.settings.proxies import ProxySettings
from tests.stack import loopback
from tests.stack.waiting import PATIENCE_SECONDS

HASH_KEY = "planted-hash-key-0123456789"
_NEVER_SECONDS = 1e9


def settings_for(
    data_dir: Path,
    *,
    proxy_url: str,
    key: str,
    name: str = "default",
    **more: Any,
) -> Settings:
    """Settings of an exporter of one proxy on a free port.

    ``more`` are further fields of ``Settings``, and the proxy's ``source``.
    """
    source = more.pop("source", "queue")
    data_dir.mkdir(exist_ok=True)
    return Settings(
        proxies=(ProxySettings(name=name, url=proxy_url, management_key=SecretStr(key), source=source),),
        exporter_data_dir=data_dir,
        exporter_port=0,
        exporter_hash_key=SecretStr(HASH_KEY),
        **{"exporter_prices_refresh": False, **more},  # no test queries the web
    )


class Polls:
    """Counts the polls of an exporter, so that a test can wait for the end of one."""

    def __init__(self) -> None:
        self._ended = 0
        self._more = threading.Condition()

    def watch(self, worker: Worker) -> None:
        worker._job = partial(self._poll, worker._job)

    def _poll(self, poll: Callable[[], object]) -> None:
        poll()
        with self._more:
            self._ended += 1
            self._more.notify_all()

    def wait_for(self, number: int) -> int:
        """Wait until this many polls have ended; return how many have."""
        with self._more:
            assert self._more.wait_for(lambda: self._ended >= number, PATIENCE_SECONDS), f"{self._ended} polls ended"
            return self._ended


@contextmanager
def running(
    settings: Settings, *, clock: Clock | None = None, only_triggered: bool = False, polls: Polls | None = None
) -> Iterator[Exporter]:
    """Run an exporter until the end of the ``with`` block, then stop it as SIGTERM does.

    With ``only_triggered`` or ``polls``, it polls after its first poll only when the test says so. ``polls`` counts the
    polls.
    """
    exporter = Exporter(settings, clock=clock)
    for worker in exporter._poll_workers:
        if only_triggered or polls:
            worker.interval_seconds = lambda: _NEVER_SECONDS
        if polls:
            polls.watch(worker)
    stop = threading.Event()
    thread = threading.Thread(target=exporter.run, args=(stop,))
    thread.start()
    try:
        yield exporter
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive(), "the exporter does not stop"


def metrics_of(exporter: Exporter, *, accept: str = "*/*") -> str:
    """What a script reads from ``/metrics``."""
    answer = loopback.get(f"{exporter.web.url}/metrics", headers={"Accept": accept}, timeout=PATIENCE_SECONDS)
    assert answer.status_code == 200, answer.text
    return answer.text


def polls_of(exporter: Exporter) -> float:
    """The polls that have ended, as ``/metrics`` shows them, without the work of a scrape."""
    observer: Any = exporter._pollers[0]._observer  # that of all proxies
    samples = [sample for family in observer._duration.collect() for sample in family.samples]
    return float(sum(sample.value for sample in samples if sample.name.endswith("_count")))
