"""Promises 1 to 3 over random lives: nothing lost silently, nothing counted twice, no counter falls.

In a life, a ledger receives a stream of random bodies (traffic with known truth, and rubbish). Its process may end
between any two steps, its disk may fill, and its rejected records may be replayed.
"""

import json
import random
from collections import Counter
from datetime import UTC
from pathlib import Path

import pytest

from exporter.errors import LedgerFullError
from exporter.ingest.queue import QueueIngest
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.ledger.views.totals import read_flow
from exporter.metrics.usage import LedgerText
from exporter.normalize.batch import read_batch
from exporter.records import Tokens
from exporter.settings.proxies import Aliases
from tests.benches.booking import PSEUDONYMS, adds_up, check_sums, flow_of, intake_of, know_credentials, open_ledger
from tests.fakes.guarding import TurnableClock
from tests.fakes.steered.traffic import Attempt, Traffic
from tests.fakes.steered.truth import Truth

_RUBBISH = (b'"text"', b"5", b"null", b'{"timestamp": 5}', b'{"timestamp": "never"}', b'{"tokens": [1]}', b"{}")


class Life:
    """A ledger in a folder, and what it must hold."""

    def __init__(self, folder: Path, seed: int, *, known: bool) -> None:
        self.chance = random.Random(seed)
        self.folder = folder
        self.clock = TurnableClock(1_795_540_000.0)
        self.traffic = Traffic(seed=seed, zone=UTC)
        self.on_disk = 0
        self.truth = Truth()
        self.rubbish = 0
        self.counters: Counter[str] = Counter()
        self.shown: dict[bool, set[str]] = {False: set(), True: set()}
        self.start()
        if known:
            know_credentials(self.ledger)

    def start(self) -> None:
        """Start a process; only the files of the one before are left."""
        before = getattr(self, "ledger", None)
        self.ledger: Ledger = open_ledger(self.folder, clock=self.clock, max_label_sets=40)
        if before is not None:
            before.close()
        self.intake: QueueIngest = intake_of(self.ledger, clock=self.clock)
        self.ledger.register("p")
        self.text = LedgerText(self.ledger, ShownNames(self.ledger.name_store, Aliases(), PSEUDONYMS.of))

    def body(self) -> tuple[bytes, list[Attempt], int]:
        """A body, the attempts in it, and how many of its elements are rubbish."""
        attempts = self.traffic.batch(self.chance.randint(0, 40), ending=self.clock.now(), span_seconds=7200)
        if attempts and self.chance.random() < 0.3:
            attempts.append(self.chance.choice(attempts))  # an equal record, and then another one
        elements = [json.dumps(attempt.record).encode() for attempt in attempts]
        rubbish = [self.chance.choice(_RUBBISH) for _ in range(self.chance.choice([0, 0, 1, 3]))]
        for piece in rubbish:
            elements.insert(self.chance.randint(0, len(elements)), piece)
        return b"[" + b",".join(elements) + b"]", attempts, len(rubbish)

    def take(self) -> None:
        body, attempts, rubbish = self.body()
        self.intake.take(body)
        self.stored(attempts, rubbish)

    def stored(self, attempts: list[Attempt], rubbish: int) -> None:
        self.on_disk += len(attempts)
        for attempt in attempts:
            self.truth.add(attempt)
        self.rubbish += rubbish

    def die_before_storing(self) -> None:
        self.body()
        self.start()

    def die_before_booking(self) -> None:
        body, attempts, rubbish = self.body()
        batch = read_batch(body, pseudonym=PSEUDONYMS.of)
        self.ledger.store("p", batch, received_ms=int(self.clock.now() * 1000))
        self.stored(attempts, rubbish)
        self.start()

    def die_after_booking(self) -> None:
        self.take()
        self.start()

    def fill_the_disk(self) -> None:
        with self.ledger._database.transaction() as connection:
            (pages,) = connection.execute("pragma page_count").fetchone()
            connection.execute(f"pragma max_page_count = {pages + self.chance.randint(0, 3)}")
        body, attempts, rubbish = self.body()
        try:
            self.intake.take(body)
        except LedgerFullError:
            self.check_equation()
        with self.ledger._database.transaction() as connection:
            connection.execute("pragma max_page_count = 1000000")
        self.intake.work_off()  # what was held in memory, or stored and not booked
        self.stored(attempts, rubbish)

    def replay(self) -> None:
        self.ledger.queue_rejected(reason=None, now_ms=int(self.clock.now() * 1000))
        if self.chance.random() < 0.5:
            self.start()

    def reveal(self) -> None:
        self.ledger.births.told(list(self.ledger.births.pending), "a scraper")
        self.clock.advance(61)
        self.ledger.births.publish(after_seconds=60)

    def check_equation(self) -> None:
        flow = flow_of(self.ledger)
        assert adds_up(flow)
        with self.ledger.reading() as connection:
            assert read_flow(connection, self.ledger.name_store.proxies["p"]) == flow, "memory and file agree"

    def check(self) -> None:
        self.check_equation()
        self.intake.work_off()
        self.check_equation()
        flow = flow_of(self.ledger)
        assert flow.booked == self.on_disk
        assert flow.received == self.on_disk + self.rubbish
        check_sums(self.ledger)
        assert self.booked_tokens() == self.truth.total()
        for prometheus in (False, True):
            self.check_that_no_counter_falls(prometheus=prometheus)

    def booked_tokens(self) -> Tokens:
        with self.ledger.reading() as connection:
            columns = ", ".join(f"sum({bucket})" for bucket in Tokens.__struct_fields__)
            row = connection.execute(f"select {columns} from entry").fetchone()
        return Tokens(*(number or 0 for number in row))

    def check_that_no_counter_falls(self, *, prometheus: bool) -> None:
        text, _ = self.text.render(openmetrics=True, for_prometheus=prometheus)
        lines = {line for line in text.splitlines() if not line.startswith("#")}
        for line in lines - self.shown[prometheus]:
            name, _, value = line.rpartition(" ")
            key = f"{prometheus} {name}"
            assert float(value) >= self.counters[key], name
            self.counters[key] = float(value)  # type: ignore[assignment] # sums of cost are no integers
        self.shown[prometheus] = lines


@pytest.mark.parametrize("known", [False, True], ids=["unknown credentials", "known credentials"])
@pytest.mark.parametrize("seed", range(12))
def test_random_lives_keep_the_promises(tmp_path: Path, seed: int, known: bool) -> None:
    life = Life(tmp_path, seed, known=known)
    steps = [
        life.take,
        life.take,
        life.take,
        life.die_before_storing,
        life.die_before_booking,
        life.die_after_booking,
        life.fill_the_disk,
        life.replay,
        life.reveal,
    ]
    happened: Counter[str] = Counter()
    for _ in range(40):
        step = life.chance.choice(steps)
        happened[step.__name__] += 1
        step()
        life.clock.advance(life.chance.uniform(0, 600))
        life.check()
    assert len(happened) >= 5
    assert life.on_disk > 200
    life.ledger.close()
