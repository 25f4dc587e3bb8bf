"""Pruning takes records, never figures."""

import random
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest

from exporter.clock import Clock
from exporter.ingest.parts import IngestParts
from exporter.ingest.queue import QueueIngest
from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.ledger.store import retention
from exporter.normalize.pseudonyms import Pseudonyms
from exporter.pricing.catalogue import load_catalogue
from exporter.pricing.pricer import Pricer
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.booking import GOOD, take
from tests.benches.program import running, settings_for
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic

_DAY = 86_400


class TurnedClock(Clock):
    """A clock that moves only when a test sets it."""

    def __init__(self, now: float) -> None:
        self.at = now

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


def _open(path: Path, clock: Clock) -> Ledger:
    return Ledger(path / FILE_NAME, clock=clock, zone=ZoneInfo("Europe/Berlin"))


def _intake(ledger: Ledger, clock: Clock) -> QueueIngest:
    pricer = Pricer(load_catalogue())
    return QueueIngest("p", IngestParts(ledger=ledger, pricer=pricer, pseudonym=Pseudonyms(b"k").of, clock=clock))


def _prune(ledger: Ledger, *, before: float) -> int:
    entries, _ = ledger.retention.prune(
        entries_before_ms=int(before * 1000), rejected_before_ms=int(before * 1000), stopping=lambda: False
    )
    return entries


def _figures(ledger: Ledger) -> tuple[object, ...]:
    ledger.periods.refresh()
    totals = ledger.totals
    with ledger.reading() as connection:
        rollup = connection.execute("select * from rollup order by 1, 2, 3, 4").fetchall()
    return (
        rollup,
        totals.series,
        totals.costs,
        totals.failed,
        totals.unpriced,
        totals.latency,
        totals.ttft,
        ledger.periods.current.routes,
    )


@pytest.mark.parametrize("seed", range(4))
def test_pruning_leaves_totals_roll_up_and_periods_unchanged(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    clock = TurnedClock(1_793_000_000.0)
    pruned, whole = _open(tmp_path / "pruned", clock), _open(tmp_path / "whole", clock)
    intakes = [_intake(pruned, clock), _intake(whole, clock)]
    traffic = Traffic(seed=seed, zone=UTC)
    gone = 0
    for _ in range(25):
        clock.at += chance.uniform(0.1, 3) * _DAY
        body = (
            b"["
            + b",".join(
                msgspec.json.encode(attempt.record)
                for attempt in traffic.batch(chance.randint(1, 60), ending=clock.at, span_seconds=2 * _DAY)
            )
            + b"]"
        )
        for intake in intakes:
            intake.take(body)
        if chance.random() < 0.5:
            gone += _prune(pruned, before=clock.at - chance.uniform(0, 9) * _DAY)
        assert _figures(pruned) == _figures(whole)
    assert gone > 0
    assert pruned.totals.entries == whole.totals.entries - gone

    pruned.close()
    reopened = _open(tmp_path / "pruned", clock)
    assert _figures(reopened) == _figures(whole)
    assert reopened.totals.entries == whole.totals.entries - gone


def test_pruning_shrinks_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_SLACK_PAGES", 200)  # so that a small file shrinks like a large one
    clock = TurnedClock(1_793_000_000.0)
    ledger = _open(tmp_path, clock)
    intake = _intake(ledger, clock)
    traffic = Traffic(seed=1, zone=UTC)
    attempts = traffic.batch(1000, ending=clock.at)
    for repeat in range(30):
        bodies = (msgspec.json.encode(a.record | {"request_id": f"{repeat:08x}"}) for a in attempts)
        intake.take(b"[" + b",".join(bodies) + b"]")
    ledger.close()
    full = (tmp_path / FILE_NAME).stat().st_size
    ledger = _open(tmp_path, clock)

    _prune(ledger, before=clock.at + _DAY)

    ledger.close()
    assert (tmp_path / FILE_NAME).stat().st_size < full / 2
    assert _open(tmp_path, clock).totals.entries == 0


def test_an_identity_is_not_used_again_after_pruning(tmp_path: Path) -> None:
    """The backlog is a cursor over ids: a reused id below it would never be sent."""
    clock = TurnedClock(1_793_000_000.0)
    ledger = _open(tmp_path, clock)
    body = b"[" + msgspec.json.encode(Traffic(seed=1, zone=UTC).batch(1, ending=clock.at)[0].record) + b"]"

    def last_id() -> int:
        _intake(ledger, clock).take(body)
        with ledger.reading() as connection:
            return int(connection.execute("select max(id) from entry").fetchone()[0])

    first = last_id()
    _prune(ledger, before=clock.at + _DAY)
    assert last_id() > first


class _SetClock(Clock):
    """Its time is that which a test sets; it measures like the machine's."""

    at = 1_793_000_000.0

    def now(self) -> float:
        return self.at


@pytest.mark.parametrize(
    ("limit", "left"),
    [
        ("strategy: rolling, window_minutes: 4320", 60),
        ("strategy: monthly, reset_anchor_timestamp: 2026-10-23T07:33:20Z", 61),
    ],
)
def test_entries_stay_as_long_as_the_window_of_a_limit_needs_them(
    server: SteeredServer, tmp_path: Path, limit: str, left: int
) -> None:
    file, clock = tmp_path / "limits.yaml", _SetClock()
    file.write_text(f"limits: [{{id: of-test, requests: 1000, {limit}}}]")
    settings = settings_for(
        tmp_path / "data",
        proxy_url=server.url,
        key=MANAGEMENT_KEY,
        exporter_limits_file=file,
        exporter_retention_days=1,
    )
    minutes = [*range(3 * 1440 - 30, 3 * 1440 + 30), 20 * 1440]
    moments = [datetime.fromtimestamp(clock.at - 60 * each - 30, UTC).isoformat() for each in minutes]
    with running(settings, clock=clock) as exporter:
        take(QueueIngest("default", exporter.parts.ingest), [GOOD | {"timestamp": moment} for moment in moments])
        for second in range(2):
            clock.at += second
            exporter.parts.limits.refresh()
            (window,) = exporter.parts.limits.current.windows
            assert window.used == 30
            exporter._prune()
        assert exporter.parts.ledger.totals.entries == left


def test_rejected_records_go_also_where_none_was_ever_booked(server: SteeredServer, tmp_path: Path) -> None:
    settings, clock = settings_for(tmp_path / "data", proxy_url=server.url, key=MANAGEMENT_KEY), _SetClock()
    with running(settings, clock=clock) as exporter:
        ledger, intake = exporter.parts.ledger, QueueIngest("default", exporter.parts.ingest)
        for days in (0, 29, 2):
            clock.at += days * _DAY
            take(intake, [GOOD | {"timestamp": "yesterday"}])
            exporter._prune()
            with ledger.reading() as connection:
                kept = [ms // 1000 for (ms,) in connection.execute("select received_ms from rejected order by 1")]
        assert kept == [int(clock.at) - 2 * _DAY, int(clock.at)]
        assert ledger.totals.entries == 0
