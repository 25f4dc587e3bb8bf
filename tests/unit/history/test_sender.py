"""What is sent to the history: at any moment only what the ledger holds, and only what the project keeps."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.errors import HistoryDataError
from exporter.history.sender import Ends, Sender, names_to_send
from exporter.history.supabase_client import Remote
from exporter.ledger.labels import Route
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.quotas.reading import Reading
from exporter.settings.proxies import Aliases
from tests.benches.booking import GOOD, intake_of, open_ledger, take
from tests.fakes.guarding import TurnableClock

_LONG = 300.0
"""Longer than a heartbeat may be late."""


class _Project(Remote):
    """Notes what it is asked to do; refuses what ``refuses`` names."""

    def __init__(self) -> None:
        super().__init__("http://project.example", "key")
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.refuses = ""

    def call(self, function: str, **parameters: object) -> Any:
        self.calls.append((function, parameters))
        if function == self.refuses:
            raise HistoryDataError("refused", reason="bad_data")
        return {"refused": 0, "frozen": 0}


class _Bench:
    """A ledger with one record, and the sender of its proxy."""

    def __init__(self, folder: Path) -> None:
        self.clock = TurnableClock()
        self.ledger: Ledger = open_ledger(folder, clock=self.clock)
        take(intake_of(self.ledger), [GOOD])
        self.project = _Project()
        shown_names = ShownNames(self.ledger.name_store, Aliases(), str)
        ends = Ends(remote=self.project, ledger=self.ledger, shown_names=shown_names, pseudonym=str, clock=self.clock)
        self._sender = Sender(ends, "p", "p", "owner")

    def send(self) -> list[str]:
        """Send until nothing waits. Returns the functions that were called."""
        self.project.calls.clear()
        while self._sender.send():
            pass
        return [function for function, _ in self.project.calls]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[_Bench]:
    made = _Bench(tmp_path)
    yield made
    made.ledger.close()
    made.project.close()


def test_a_name_that_may_be_rolled_back_is_not_sent(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    take(intake_of(ledger), [GOOD])
    shown_names = ShownNames(ledger.name_store, Aliases(), str)
    before = names_to_send(ledger, shown_names, "p")
    with suppress(RuntimeError), ledger._changes.changing("p") as change:
        client = change.name_store.client_id(change.connection, "another")
        change.name_store.series_with(change.connection, Route("p", "provider", "model"), 1, client)
        assert names_to_send(ledger, shown_names, "p") == before
        raise RuntimeError
    assert names_to_send(ledger, shown_names, "p") == before
    assert {kind for kind, _ in before} == {"client", "credential"}


def test_only_what_the_project_keeps_of_a_providers_window_is_sent(bench: _Bench) -> None:
    """The project's table has no column for what an account has spent, so that stays in the ledger."""
    (credential,) = bench.ledger.name_store.credentials.values()
    reading = Reading(
        window="month",
        scope="extra",
        window_seconds=None,
        used_ratio=0.25,
        resets_ms=None,
        status="allowed",
        observed_ms=bench.clock.now_ms(),
        inferred=False,
        source="active",
        used_nano_usd=5_000_000_000,
        limit_nano_usd=20_000_000_000,
    )
    with bench.ledger._changes.changing("p") as change:
        change.quotas.update(
            bench.ledger.quotas.note(change.connection, [(credential.id, reading)], now_ms=reading.observed_ms)
        )

    assert bench.send() == ["exporter_book", "exporter_save_quotas"]

    assert bench.project.calls[-1][1]["p_rows"] == [
        {
            "credential": credential.long_name,
            "quota": "month",
            "scope": "extra",
            "window_seconds": None,
            "used_ratio": 0.25,
            "resets_ms": None,
            "status": "allowed",
            "observed_ms": reading.observed_ms,
            "source": "active",
            "inferred": False,
            "early_resets": 0,
        }
    ]
    assert bench.send() == []


def test_a_heartbeat_that_is_refused_is_logged(bench: _Bench) -> None:
    bench.send()
    bench.clock.advance(_LONG)
    bench.project.refuses = "exporter_book"

    with capture_logs() as logs:
        bench.send()

    assert [(log["event"], log["call"]) for log in logs] == [("history_refused", "exporter_book")]
