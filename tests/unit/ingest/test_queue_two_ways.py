"""Booked at once or after being stored first, the same bodies with the same faults make the same ledger."""

import json
import random
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import LedgerFullError
from exporter.ingest.queue import QueueIngest
from exporter.ledger.ledger import Ledger
from tests.benches.booking import adds_up, check_sums, flow_of, intake_of, know_credentials, open_ledger
from tests.fakes.full_disk import FullDisk
from tests.fakes.guarding import TurnableClock
from tests.fakes.steered.traffic import Traffic

_RECORDS = 2000
_RUBBISH = (
    b'"text"',
    b"5",
    b"{}",
    b'{"timestamp": "never"}',
    b'{"timestamp": "2026-11-01T12:00:00Z", "latency_ms": [1]}',
)
_DIFFER = {"installation", "checksum", "sqlite_sequence"}
"""Tables that identify the ledger, hash the others, or count the batches."""


class _Way:
    """A ledger in a folder that takes one of the two ways."""

    def __init__(self, folder: Path, clock: TurnableClock) -> None:
        folder.mkdir()
        self._folder, self._clock = folder, clock
        self.start()
        know_credentials(self.ledger)

    def start(self) -> None:
        self.ledger: Ledger = open_ledger(self._folder, clock=self._clock, max_label_sets=60)
        self.intake: QueueIngest = intake_of(self.ledger, clock=self._clock)
        self.ledger.register("p")

    def start_again(self) -> None:
        self.ledger.close()
        self.start()

    def take(self, body: bytes, *, full_at: int | None) -> None:
        """Take a body on a disk that is full from this statement on, and then try again on a disk that is not."""
        real = self.ledger._database._connection
        if full_at is not None:
            self.ledger._database._connection = FullDisk(real, full_at, lasting=True)  # type: ignore[assignment]
        with suppress(LedgerFullError):
            self.intake.take(body)
        self.ledger._database._connection = real
        self.intake.work_off()

    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        with self.ledger.reading() as connection:
            names = {row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")}
            return {name: connection.execute(f"select * from {name}").fetchall() for name in names - _DIFFER}


def _bodies(seed: int, records: int, clock: TurnableClock) -> Iterator[tuple[bytes, int | None]]:
    """Bodies of all sizes, each with the statement at which the disk is full, or None."""
    chance, traffic = random.Random(seed), Traffic(seed=seed, zone=UTC)
    left = records
    while left > 0:
        attempts = traffic.batch(chance.choice([1, 5, 30, 300]), ending=clock.now(), span_seconds=3600)
        left -= len(attempts)
        elements = [json.dumps(attempt.record).encode() for attempt in attempts]
        if chance.random() < 0.2:
            elements.append(chance.choice(elements))  # an equal record
        if chance.random() < 0.2:
            elements.insert(chance.randrange(len(elements)), chance.choice(_RUBBISH))
        end = b"" if chance.random() < 0.05 else b"]"
        yield b"[" + b",".join(elements) + end, chance.randrange(40) if chance.random() < 0.2 else None
        clock.advance(chance.uniform(0, 60))


@pytest.mark.parametrize("seed", range(2))
def test_both_ways_lead_to_the_same_ledger(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = TurnableClock(1_795_540_000.0)
    at_once, stored_first = _Way(tmp_path / "at once", clock), _Way(tmp_path / "stored first", clock)
    for number, (body, full_at) in enumerate(_bodies(seed, _RECORDS, clock)):
        at_once.take(body, full_at=full_at)
        with monkeypatch.context() as patch:
            patch.setattr(QueueIngest, "_understood", lambda *_: None)
            stored_first.take(body, full_at=full_at)
        if number % 50 == 49:
            at_once.start_again()
            stored_first.start_again()
    one, other = at_once.tables(), stored_first.tables()
    assert one.keys() == other.keys()
    for name, rows in one.items():
        assert rows == other[name], name
    assert len(one["entry"]) >= _RECORDS
    assert one["birth"]
    assert one["rejected"]
    for way in (at_once, stored_first):
        check_sums(way.ledger)
        assert adds_up(flow_of(way.ledger))
        assert flow_of(way.ledger).pending == 0
    backlogs = [way.ledger.backlog.read("p", limit=2 * _RECORDS) for way in (at_once, stored_first)]
    assert backlogs[0].entries == backlogs[1].entries
    assert len(backlogs[0].entries) == len(one["entry"])
