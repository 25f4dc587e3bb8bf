"""A proxy with random traffic, restarts, imports and faults: the ledger holds each detail that polls showed, once."""

import random
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import exporter.ingest.snapshot
from exporter.errors import BadAnswerError, LedgerError
from exporter.ledger.database import FILE_NAME
from tests.benches.booking import PSEUDONYMS, check_sums, flow_of, open_ledger
from tests.benches.refusing import refusing_after
from tests.benches.snapshots import snapshot_intake, totals_add_up
from tests.fakes.guarding import TurnableClock
from tests.fakes.legacy import Detail, Export, LegacyProxy

_CLIENTS = ("sk-a", "sk-b", "sk-c")
_MODELS = ("gpt-5", "claude-sonnet-4-5")
_CREDENTIALS = ("", "a1", "b22")
_BACKFILL_MS = 300_000


class _Life:
    """A proxy, an exporter, and those of the proxy's details that the exporter has seen."""

    def __init__(self, folder: Path, *, seed: int, twins: bool, numbered: bool, cap: int | None) -> None:
        self.folder = folder
        self.some = random.Random(seed)
        self.twins = twins
        self.numbered = numbered
        self.proxy = LegacyProxy(cap=cap, numbered=numbered)
        self.clock = TurnableClock()
        self.ahead_s = 0.0
        self.exports: list[Export] = []
        self.ledger = open_ledger(folder, clock=self.clock)
        self.ledger.register("p")
        self.intake = snapshot_intake(self.ledger, clock=self.clock)
        self.shown: Counter[tuple[Any, ...]] = Counter()
        self.last_taken_ms: int | None = None
        self.pruned_before_ms = 0
        self.backfilled = 0
        self.ends = 0
        self.seen: dict[int, list[int]] = {}
        self.order = 0

    # --- what happens ---------------------------------------------------------------------------------------------

    def request(self) -> None:
        for _ in range(self.some.randint(1, 4)):
            self.clock.advance(self.some.choice((0.0, 0.5, 20.0)))
            self.order += 1
            latency = self.some.randint(0, 3000)
            self.proxy.record(
                self.some.choice(_CLIENTS),
                self.some.choice(_MODELS),
                Detail(
                    ts_ms=self._proxy_ms() - latency,
                    latency_ms=latency,
                    auth_index=self.some.choice(_CREDENTIALS),
                    tokens=(self.some.choice((0, 100, 7_000)), self.some.randint(0, 50)),
                    failed=self.some.random() < 0.1,
                    nanoseconds=self.order,
                ),
            )

    def twin(self) -> None:
        """A request that equals another one, of the same client or another, except for its duration."""
        if not self.twins or not self.proxy.series:
            return self.request()
        (client, model), series = self.some.choice(list(self.proxy.series.items()))
        if series.details:
            self.proxy.record(self.some.choice((client, "sk-c")), model, self.some.choice(series.details))
        return None

    def time_passes(self) -> None:
        self.clock.advance(self.some.choice((60.0, 400.0, 90_000.0)))

    def restart(self) -> None:
        self.proxy.restart()
        self.ends += 1

    def export(self) -> None:
        self.exports.append(self.proxy.export())

    def import_(self) -> None:
        for _ in range(self.some.randint(1, 2)):
            if self.exports:
                self.proxy.import_(self.some.choice(self.exports))
        self.proxy.zone = self.some.randint(0, 2)

    def reorder(self) -> None:
        for series in self.proxy.series.values():
            self.some.shuffle(series.details)
        items = list(self.proxy.series.items())
        self.some.shuffle(items)
        self.proxy.series = dict(items)

    def vanish(self) -> None:
        if self.proxy.series:
            del self.proxy.series[self.some.choice(list(self.proxy.series))]
            self.ends += 1

    def proxy_clock_jumps(self) -> None:
        self.ahead_s = self.some.choice((0.0, 7200.0, -7200.0, 90_000.0))

    def exporter_clock_jumps(self) -> None:
        jump = self.some.choice((3600.0, -3600.0))
        self.clock.jump(jump)
        self.ahead_s -= jump

    def exporter_restarts(self) -> None:
        self.ledger.close()
        self.ledger = open_ledger(self.folder, clock=self.clock)
        self.intake = snapshot_intake(self.ledger, clock=self.clock)

    def prune(self) -> None:
        before_ms = int(self.clock.now() * 1000) - self.some.choice((60_000, 3_600_000))
        entries, _ = self.ledger.retention.prune(
            entries_before_ms=before_ms, rejected_before_ms=0, stopping=lambda: False
        )
        if entries:
            self.pruned_before_ms = max(self.pruned_before_ms, before_ms)
        for identity in [each for each in self.shown if each[0] < before_ms]:
            del self.shown[identity]

    # --- polls ----------------------------------------------------------------------------------------------------

    def poll(self) -> None:
        taken_ms = self._taken_ms()
        self.intake.take(self.proxy.body(), taken_ms=taken_ms)
        expected = self.shown | self._identities()
        self._count_backfill(expected - self.shown)
        self.shown = expected
        self.last_taken_ms = taken_ms
        self.check()

    def poll_that_breaks_off(self) -> None:
        body = self.proxy.body()
        with pytest.raises(BadAnswerError):
            self.intake.take(body[: self.some.randrange(len(body))], taken_ms=self._taken_ms())
        self.check()

    def poll_that_the_ledger_refuses(self) -> None:
        """The ledger fails between two transactions: what was booked before stays, and is not booked again."""
        refuse = refusing_after(self.some.randint(0, 3))
        taken_ms, possible = self._taken_ms(), self.shown | self._identities()
        with pytest.MonkeyPatch.context() as patch:
            for method in ("book_details", "close"):
                patch.setattr(self.ledger.snapshots, method, refuse(getattr(self.ledger.snapshots, method)))
            try:
                self.intake.take(self.proxy.body(), taken_ms=taken_ms)
            except LedgerError:
                booked = self._booked()
            else:
                self._count_backfill(possible - self.shown)
                self.shown, self.last_taken_ms = possible, taken_ms
                return self.check()
        # From outside nobody can tell which of several equal ones were booked, and nobody needs to.
        left = booked - Counter(map(self._projected, self.shown.elements()))
        new: Counter[tuple[Any, ...]] = Counter()
        for identity in (possible - self.shown).elements():
            if left[self._projected(identity)] > 0:
                left[self._projected(identity)] -= 1
                new[identity] += 1
        assert not +left, "something was booked that no poll showed"
        self._count_backfill(new)
        self.shown += new
        self.check()
        return None

    # --- what is true ---------------------------------------------------------------------------------------------

    def _proxy_ms(self) -> int:
        return int((self.clock.now() + self.ahead_s) * 1000)

    def _taken_ms(self) -> int:
        return self._proxy_ms() // 1000 * 1000

    def _identities(self) -> Counter[tuple[Any, ...]]:
        return Counter(
            (
                each.ts_ms,
                model,
                each.failed,
                *each.tokens,
                *(() if self.twins else (PSEUDONYMS.of(client), each.latency_ms)),
                each.latency_ms if self.twins else 0,
                each.nanoseconds,
                "" if self.numbered else each.auth_index,
            )
            for (client, model), series in self.proxy.series.items()
            for each in series.details
            if each.ts_ms >= self.pruned_before_ms
        )

    def _projected(self, identity: tuple[Any, ...]) -> tuple[Any, ...]:
        return identity[:5] if self.twins else identity[:7]

    def _count_backfill(self, new: Counter[tuple[Any, ...]]) -> None:
        for identity, number in new.items():
            ended_ms = identity[0] + (identity[5] if self.twins else identity[6])
            taken_ms = self._taken_ms()
            if self.last_taken_ms is None or ended_ms < min(self.last_taken_ms, taken_ms) - _BACKFILL_MS:
                self.backfilled += number

    def _booked(self) -> Counter[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.folder / FILE_NAME)) as connection:
            rows = connection.execute(
                "select e.ts_ms, r.model, e.code <> '', e.uncached, e.output, c.pseudonym, e.latency_ms from entry e"
                " join series s on s.id = e.series join route r on r.id = s.route join client c on c.id = s.client"
            ).fetchall()
        return Counter(row[:5] if self.twins else row for row in rows)

    def check(self) -> None:
        assert self._booked() == Counter(map(self._projected, self.shown.elements()))
        flow = flow_of(self.ledger)
        assert totals_add_up(self.ledger)
        assert not flow.rejected
        assert flow.backfilled == self.backfilled
        assert flow.restarts <= self.ends
        if self.proxy.cap is None:
            assert flow.missed == 0
        live = {series: list(numbers) for series, numbers in self.ledger.totals.series.items()}
        assert sum(numbers[0] for numbers in live.values()) + flow.backfilled == flow.booked
        for series, numbers in self.seen.items():
            assert all(now >= earlier for now, earlier in zip(live[series], numbers, strict=True)), "a counter fell"
        self.seen = live


_STEPS = (
    *[_Life.request] * 5,
    *[_Life.poll] * 5,
    *[_Life.twin] * 2,
    _Life.time_passes,
    *[_Life.restart] * 2,
    _Life.export,
    *[_Life.import_] * 2,
    _Life.reorder,
    _Life.vanish,
    _Life.proxy_clock_jumps,
    _Life.exporter_clock_jumps,
    _Life.exporter_restarts,
    _Life.prune,
    _Life.poll_that_breaks_off,
    *[_Life.poll_that_the_ledger_refuses] * 2,
)


@settings(max_examples=40)
@given(
    steps=st.lists(st.sampled_from(_STEPS), min_size=5, max_size=40),
    seed=st.integers(0, 2**32),
    twins=st.booleans(),
    numbered=st.booleans(),
    cap=st.sampled_from((None, None, 3)),
)
# The twin of another client's request, which once looked like a restart of the proxy.
@example(steps=[*[_Life.request] * 4, _Life.poll, _Life.twin], seed=350, twins=True, numbered=False, cap=None)
def test_with_details_the_ledger_is_the_truth(
    steps: list[Any], seed: int, twins: bool, numbered: bool, cap: int | None
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter.ingest.snapshot, "_PER_TRANSACTION", 3)
        life = _Life(Path(folder), seed=seed, twins=twins, numbered=numbered, cap=cap)
        for step in (*steps, _Life.poll, _Life.poll):
            step(life)
        if not life.pruned_before_ms:
            check_sums(life.ledger)
        with suppress(LedgerError):
            life.ledger.close()
