"""A proxy without details, with random traffic, restarts and faults, against the documented arithmetic."""

import random
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import BadAnswerError, LedgerError
from exporter.ledger.database import FILE_NAME
from exporter.pricing.lookup import NO_PRICES
from exporter.pricing.pricer import Pricer
from tests.benches.booking import PSEUDONYMS, check_sums, flow_of, open_ledger
from tests.benches.snapshots import snapshot_intake, totals_add_up
from tests.fakes.guarding import TurnableClock
from tests.fakes.legacy import Detail, LegacyProxy, SeriesName

_BELIEVED_TOKENS = 5_000
_USD = float(Pricer(NO_PRICES).current("unknown", "m", at_ms=0)["input"]) * _BELIEVED_TOKENS / 1e6
"""The tokens that cost exactly the bound of a first value; one more is a false start."""
_SIZES = (0, 1, 300, _BELIEVED_TOKENS, _BELIEVED_TOKENS + 1, 70_000)


class _Life:
    def __init__(self, folder: Path, *, seed: int) -> None:
        self.folder = folder
        self.some = random.Random(seed)
        self.proxy = LegacyProxy()
        self.proxy.stripped = "absent"
        self.clock = TurnableClock()
        self.ledger = open_ledger(folder, clock=self.clock)
        self.ledger.register("p")
        self.intake = snapshot_intake(self.ledger, clock=self.clock, usd=_USD)
        self.last: dict[SeriesName, tuple[int, int]] | None = None
        self.requests: Counter[SeriesName] = Counter()
        self.tokens: Counter[SeriesName] = Counter()
        self.false_starts: list[tuple[str, int, int]] = []
        self.restarts = 0

    # --- what happens ---------------------------------------------------------------------------------------------

    def request(self) -> None:
        for _ in range(self.some.randint(1, 3)):
            detail = Detail(ts_ms=0, latency_ms=0, auth_index="", tokens=(self.some.choice(_SIZES), 0))
            self.proxy.record(self.some.choice(("sk-a", "sk-b")), self.some.choice(("m", "n")), detail)

    def restart(self) -> None:
        self.proxy.restart()

    def vanish(self) -> None:
        if self.proxy.series:
            del self.proxy.series[self.some.choice(list(self.proxy.series))]

    def strips_otherwise(self) -> None:
        self.proxy.stripped = self.some.choice(("absent", "empty", "null"))

    def time_passes(self) -> None:
        self.clock.advance(self.some.choice((0.0, 60.0, 4000.0)))
        self.clock.jump(self.some.choice((0.0, -3600.0)))

    def exporter_restarts(self) -> None:
        self.ledger.close()
        self.ledger = open_ledger(self.folder, clock=self.clock)
        self.intake = snapshot_intake(self.ledger, clock=self.clock, usd=_USD)

    # --- polls ----------------------------------------------------------------------------------------------------

    def poll(self) -> None:
        self.intake.take(self.proxy.body(), taken_ms=int(self.clock.now() * 1000))
        self._reckon(self.proxy.counts())
        self.check()

    def poll_that_fails(self) -> None:
        body = self.proxy.body()
        with pytest.raises(BadAnswerError):
            self.intake.take(body[:-1], taken_ms=int(self.clock.now() * 1000))

        def refuse(*_args: object, **_kwargs: object) -> None:
            raise LedgerError("no space")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.ledger.snapshots, "close", refuse)
            with pytest.raises(LedgerError):
                self.intake.take(body, taken_ms=int(self.clock.now() * 1000))
        self.check()

    def _reckon(self, now: dict[SeriesName, tuple[int, int]]) -> None:
        last, self.last = self.last, now
        if last is None:
            return
        restarted = any(name not in now or now[name][0] < old[0] or now[name][1] < old[1] for name, old in last.items())
        self.restarts += restarted
        for name, (requests, tokens) in now.items():
            if name not in last and not restarted and tokens > _BELIEVED_TOKENS:
                self.false_starts.append((name[1], requests, tokens))
                continue
            requests_before, tokens_before = (0, 0) if restarted else last.get(name, (0, 0))
            self.requests[name] += requests - requests_before
            self.tokens[name] += tokens - tokens_before

    def check(self) -> None:
        with closing(sqlite3.connect(self.folder / FILE_NAME)) as connection:
            rows = connection.execute(
                "select c.pseudonym, r.model, sum(e.counted), sum(e.unclassified), min(e.counted), min(e.unclassified)"
                " from entry e join series s on s.id = e.series join route r on r.id = s.route"
                " join client c on c.id = s.client group by 1, 2"
            ).fetchall()
        assert all(row[4] >= 0 and row[5] >= 0 for row in rows), "a negative delta"
        booked = {(client, model): (requests, tokens) for client, model, requests, tokens, *_ in rows}
        expected = {
            (PSEUDONYMS.of(client), model): (self.requests[client, model], self.tokens[client, model])
            for client, model in self.requests
            if self.requests[client, model] or self.tokens[client, model]
        }
        assert booked == expected
        flow = flow_of(self.ledger)
        assert totals_add_up(self.ledger)
        assert (flow.restarts, flow.false_starts, flow.missed) == (self.restarts, len(self.false_starts), 0)
        assert flow.backfilled == 0
        listed = [(each.model, each.requests, each.tokens) for *_, each in self.ledger.snapshots.false_starts()]
        assert Counter(listed) == Counter(self.false_starts)


_STEPS = (
    *[_Life.request] * 4,
    *[_Life.poll] * 5,
    _Life.restart,
    _Life.vanish,
    _Life.strips_otherwise,
    _Life.time_passes,
    _Life.exporter_restarts,
    _Life.poll_that_fails,
)


@settings(max_examples=40)
@given(steps=st.lists(st.sampled_from(_STEPS), min_size=5, max_size=30), seed=st.integers(0, 2**32))
def test_without_details_the_ledger_has_what_the_documented_arithmetic_gives(steps: list[Any], seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        life = _Life(Path(folder), seed=seed)
        for step in (*steps, _Life.poll):
            step(life)
        check_sums(life.ledger)
        life.ledger.close()
