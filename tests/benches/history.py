"""A ledger that tests book into, and its history in Supabase, which works when the test says so."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from exporter.history.history import History, Task
from exporter.history.predecessor.usage_snapshots import snapshot_task
from exporter.history.pruning import prune_task
from exporter.history.sender import Ends
from exporter.history.supabase_client import Remote
from exporter.ledger.shown_names import ShownNames
from exporter.normalize.pseudonyms import Pseudonym
from exporter.settings.proxies import Aliases
from tests.benches.booking import GOOD, PSEUDONYMS, intake_of, open_ledger, take
from tests.fakes.guarding import TurnableClock

_DAY_MS = 86_400_000


class HistoryBench:
    """One exporter's ledger in ``folder``/data and its history. Time passes only when a test moves ``clock``."""

    def __init__(
        self,
        folder: Path,
        *,
        url: str,
        key: str,
        proxy: str = "default",
        clock: TurnableClock | None = None,
        aliases: Aliases | None = None,
        polled: Collection[str] = (),
        tasks: Sequence[Task] = (),
        history_days: int = 0,
        pseudonym: Pseudonym = PSEUDONYMS.of,
        sign: str = "the same proxy",
    ) -> None:
        self.data_dir = folder / "data"
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.clock = clock or TurnableClock()
        self.ledger = open_ledger(self.data_dir, clock=self.clock)
        self.ledger.register(proxy)
        self.shown_names = ShownNames(self.ledger.name_store, aliases or Aliases(), pseudonym)
        self.remote = Remote(url, key)
        prune = partial(prune_task, self.remote, self.ledger, self.clock, zone=UTC)
        pruning = [prune(days=history_days)] if history_days else []
        self.history = History(
            Ends(
                remote=self.remote,
                ledger=self.ledger,
                shown_names=self.shown_names,
                pseudonym=pseudonym,
                clock=self.clock,
            ),
            retention_ms=90 * _DAY_MS,
            signs=dict.fromkeys(polled or (proxy, "home", "mine", "office", "laptop", "other"), sign),
            tasks=[snapshot_task(self.remote, self.clock), *tasks, *pruning],
        )
        self._number = 0

    def book(self, number: int = 1, *, proxy: str = "default", **changes: Any) -> None:
        """Book this many requests that happen now, each a little different."""
        records = [self._record(changes) for _ in range(number)]
        take(intake_of(self.ledger, proxy, clock=self.clock), records)

    def _record(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        self._number += 1
        moment = datetime.fromtimestamp(self.clock.now() + self._number / 1000, UTC).isoformat()
        return {**GOOD, "timestamp": moment, "latency_ms": self._number, **changes}

    def work(self, seconds: float = 0.0) -> str:
        """Let this much time pass, and work; return the state afterwards."""
        self.clock.advance(seconds)
        self.history.work()
        return self.history.status.state

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """In the ``with`` block, give up calls that are not answered within two seconds."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.remote._http, "timeout", httpx.Timeout(2.0))
            yield

    def close(self) -> None:
        self.history.stop()
        self.ledger.close()
        self.remote.close()


Start = Callable[..., HistoryBench]
"""Starts an exporter on the test's API, or at another ``url``; the first argument names its folder."""
