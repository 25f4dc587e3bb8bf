"""A fork whose details come and go, and whose exporter loses its ledger: each request counts once after the restore."""

import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import exporter.ingest.snapshot
from exporter.ledger.history.checkpoint import CLIENTS, ExportedLimits, ProxyState
from exporter.ledger.schema import RESTORED
from tests.benches.booking import check_sums, open_ledger
from tests.benches.snapshots import snapshot_intake
from tests.benches.stripping import LONGER_THAN_A_DATE_IS_OFF, StrippingLife


class _Life(StrippingLife):
    """What Supabase has is in ``sent``, by identity, and in ``state``."""

    def __init__(self, folder: Path, *, seed: int) -> None:
        self.sent: dict[tuple[int, str], Any] = {}
        self.state: ProxyState | None = None
        self.had_there: dict[int, int] = {}
        self.losses = 0
        self.has_looked = True
        super().__init__(folder, seed=seed)
        self.restore()

    def _is_restored(self) -> bool:
        return self.ledger.backlog.stage("p") == RESTORED

    def request(self) -> None:
        # Nobody can tell later whether a look counted what ended right after it.
        self.clock.advance(max(0.0, self.polled_at + LONGER_THAN_A_DATE_IS_OFF - self.clock.now()))
        super().request()

    def send(self) -> None:
        if not self._is_restored() or not self.is_known:
            return
        outgoing = self.ledger.backlog.read("p", limit=10_000)
        for _, text in outgoing.entries:
            row = msgspec.json.decode(text)
            self.sent.setdefault((row["ts_ms"], row["fingerprint"]), row)
        self.ledger.backlog.sent("p", outgoing.until)
        self.state, self.had_there = outgoing.state, dict(self.had)

    def lose(self) -> None:
        if self.state is None:
            return
        self.ledger.close()
        self.losses += 1
        self.folder = self.folder.with_name(str(self.losses))
        self.ledger = open_ledger(self.folder, clock=self.clock)
        self.ledger.register("p")
        self.intake = snapshot_intake(self.ledger, clock=self.clock, usd=1e9)
        self.had = dict(self.had_there)
        self.has_looked = False

    def restore(self) -> None:
        if self._is_restored():
            return
        restoring = self.ledger.restoring("p")
        if self.state is not None:
            known = self.state.documents
            clients = [each for kind, part in known.items() if kind.startswith(CLIENTS) for each in part]
            restoring.take_names(
                credentials=known["credentials"], clients=[(client, client.pseudonym) for client in clients]
            )
            progress = restoring.begin(
                since_ms=0, newest_ms=None, deleted_before_ms=None, snapshots=known["snapshots"], marks=self.state.marks
            )
            restoring.add_records(list(self.sent.values()), msgspec.structs.replace(progress, rollups=None))
        restoring.finish(ExportedLimits())

    def _take(self) -> None:
        """The first look after a loss is a baseline again."""
        is_known, self.is_known = self.is_known, self.is_known and self.has_looked
        super()._take()
        if not self.has_looked:
            self.clock.advance(LONGER_THAN_A_DATE_IS_OFF)
        self.is_known, self.has_looked = is_known, True

    def check(self) -> None:
        if self._is_restored():
            super().check()


_STEPS = (
    *[_Life.request] * 4,
    *[_Life.poll] * 5,
    *[_Life.time_passes] * 2,
    *[_Life.strips] * 2,
    *[_Life.shows] * 2,
    _Life.exporter_restarts,
    *[_Life.send] * 3,
    *[_Life.lose] * 2,
    *[_Life.restore] * 2,
)


def _live(steps: list[Any], seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter.ingest.snapshot, "_PER_TRANSACTION", 2)
        life = _Life(Path(folder) / "0", seed=seed)
        for step in (*steps, _Life.restore, _Life.poll, _Life.shows, _Life.poll, _Life.strips, _Life.poll):
            step(life)
        check_sums(life.ledger)
        life.ledger.close()


@settings(max_examples=40)
@given(steps=st.lists(st.sampled_from(_STEPS), min_size=5, max_size=40), seed=st.integers(0, 2**32))
def test_each_request_counts_once_after_any_losses(steps: list[Any], seed: int) -> None:
    _live(steps, seed)


_COUNTED = (_Life.strips, _Life.poll, _Life.poll, _Life.send, _Life.lose, _Life.request)


@pytest.mark.parametrize(
    "after",
    [
        pytest.param((_Life.shows, _Life.poll), id="details before the restore"),
        pytest.param((_Life.poll, _Life.shows, _Life.poll), id="counts, then details, before the restore"),
        pytest.param((_Life.poll, _Life.restore, _Life.shows), id="counts before the restore, details after it"),
        pytest.param((_Life.poll, _Life.restore, _Life.send, _Life.lose), id="a second loss before the next look"),
        pytest.param((_Life.poll, _Life.poll, _Life.restore, _Life.send, _Life.lose), id="a second loss, later"),
    ],
)
def test_what_a_lost_ledger_counted_is_counted_once(after: tuple[Any, ...]) -> None:
    for seed in range(3):
        _live([*_COUNTED, *after], seed)


@pytest.mark.parametrize(
    "after",
    [
        pytest.param((), id="one loss"),
        pytest.param((_Life.restore, _Life.send, _Life.lose), id="a second loss before the next look"),
        pytest.param(
            (_Life.restore, _Life.send, _Life.lose, _Life.restore, _Life.shows),
            id="details right after a second loss",
        ),
    ],
)
def test_what_was_counted_after_details_and_a_loss_is_counted_once(after: tuple[Any, ...]) -> None:
    began = (_Life.poll, _Life.send, _Life.lose, _Life.request, _Life.strips, _Life.poll, _Life.poll)
    for seed in range(3):
        _live([*began, *after], seed)
