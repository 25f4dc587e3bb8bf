"""Whenever the program is killed, no record is lost or counted twice, and no counter falls or begins above 0.

A kill is a copy of the ledger's files, made before a random statement of the work under way: what the next process
finds after ``kill -9``. The killed process runs on to its end, on files that nobody reads again.
"""

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from exporter.errors import LedgerFullError
from exporter.ingest.queue import QueueIngest
from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.ledger.views.totals import Flow, read_flow
from exporter.metrics.usage import LedgerText
from exporter.normalize.inventory import read_auth_files
from exporter.settings.proxies import Aliases
from tests.benches.booking import PSEUDONYMS, adds_up, check_sums, flow_of, intake_of, know_credentials, open_ledger
from tests.fakes.guarding import TurnableClock
from tests.fakes.steered.traffic import Attempt, Traffic

_REVEAL_SECONDS = 60
_LABEL_SETS = 30
"""Few enough that the ledger folds some of the traffic."""
_PROXIES: dict[str, Literal["7.1", "7.2"]] = {"one": "7.2", "two": "7.1"}
_ACCOUNTS = ("alice@example.com", "bob@example.com")
_BAD = (
    b'"text"',
    b"17",
    b"null",
    b"[1, 2]",
    b"{}",
    b'{"timestamp": "yesterday"}',
    b'{"timestamp": "2026-11-01T12:00:00Z", "latency_ms": [1]}',
    b'{"timestamp": "2026-11-01T12:00:00Z", "executor_type": "home-result"}',
    b'{"timestamp": "2026-11-01T12:00:00Z", "tokens": {"output_tokens": 100000000000}}',
)
_SUMMED = ("uncached", "cache_read", "cache_write", "output", "reasoning", "unclassified", "counted", "nano_usd")
_Key = tuple[str, ...]
"""auth_index, client, model, and the name of the sum."""


@dataclass(frozen=True)
class _Pop:
    """A popped body and the truth about it."""

    body: bytes
    good: list[Attempt]
    bad: int

    @property
    def received(self) -> int:
        return len(self.good) + self.bad


@dataclass
class _Truth:
    """What really happened at one proxy."""

    received: int = 0
    replayed: int = 0
    bad: int = 0
    good: list[Attempt] = field(default_factory=list)
    sums: Counter[_Key] = field(default_factory=Counter)
    held: list[_Pop] = field(default_factory=list)
    """Pops of a full disk: they are in the memory of the process, and nowhere else."""
    counts: dict[str, int] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)

    def stored(self, pop: _Pop) -> None:
        self.received += pop.received
        self.bad += pop.bad
        self.good += pop.good
        for attempt in pop.good:
            key = (attempt.auth_index, PSEUDONYMS.of(attempt.record["api_key"]), attempt.record["model"])
            for bucket, number in msgspec.structs.asdict(attempt.tokens).items():
                self.sums[(*key, bucket)] += min(number, attempt.tokens.output) if bucket == "reasoning" else number
            self.sums[(*key, "entries")] += 1
            self.sums[(*key, "counted")] += _requests(attempt)
            self.sums[(*key, "nano_usd")] += _nano_usd(attempt)


@dataclass
class _Process:
    """The exporter from one start to the next."""

    ledger: Ledger
    intakes: dict[str, QueueIngest]
    text: LedgerText

    @classmethod
    def start(cls, folder: Path, clock: TurnableClock) -> "_Process":
        ledger = open_ledger(folder, clock=clock, max_label_sets=_LABEL_SETS)
        for proxy in _PROXIES:
            ledger.register(proxy)
        intakes = {proxy: intake_of(ledger, proxy, clock=clock) for proxy in _PROXIES}
        shown_names = ShownNames(ledger.name_store, Aliases(), PSEUDONYMS.of)
        return cls(ledger, intakes, LedgerText(ledger, shown_names))

    def counters(self, *, for_prometheus: bool) -> dict[str, float]:
        """The counters of a scrape. Afterwards Prometheus knows them."""
        text, young = self.text.render(openmetrics=False, for_prometheus=for_prometheus)
        if for_prometheus:
            self.ledger.births.told(young, "a scraper")
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in lines}


def _requests(attempt: Attempt) -> int:
    # A prewarm and the image tool's extra record are not a user's requests.
    return int(attempt.record.get("generate", True) and attempt.model != "gpt-image-2")


def _nano_usd(attempt: Attempt) -> int:
    """The cost at the default price, 0.15 and 0.60 USD per million, whatever the service tier."""
    return 150 * attempt.tokens.prompt + 600 * attempt.tokens.output


class _Life:
    """Two proxies, one exporter, and everything that can happen to it. ``happened`` counts the events."""

    def __init__(self, root: Path, seed: int, *, known: bool) -> None:
        self.happened: Counter[str] = Counter()
        self._root = root
        self._chance = random.Random(seed)
        self._starts = 0
        self._clock = TurnableClock()
        self._traffic = {
            proxy: Traffic(seed=seed + number, zone=UTC, shape=shape)
            for number, (proxy, shape) in enumerate(_PROXIES.items())
        }
        self._truths = {proxy: _Truth() for proxy in _PROXIES}
        self._for_people: dict[str, float] = {}
        self._for_prometheus: dict[str, float] = {}
        self._process = _Process.start(self._folder(), self._clock)
        if known:
            for proxy in _PROXIES:
                know_credentials(self._process.ledger, proxy)

    # --- what happens -------------------------------------------------------------------------------------------------

    def step(self) -> None:
        chance = self._chance
        proxy = chance.choice(sorted(_PROXIES))
        match chance.choice(
            ["poll"] * 6
            + ["killed poll"] * 3
            + ["scrape"] * 2
            + ["reveal", "inventory", "replay"] * 2
            + ["full", "room", "restart"]
        ):
            case "poll":
                self._poll(proxy)
            case "killed poll":
                self._poll_and_be_killed(proxy, chance.choice([chance.randrange(8), chance.randrange(100), 500]))
            case "scrape":
                self._prometheus_scrapes()
            case "reveal":
                self._time_passes(chance.choice([None, chance.randrange(12)]))
            case "inventory":
                self._take_inventory(proxy, chance.choice([None, chance.randrange(12)]))
            case "replay":
                self._replay(chance.choice([None, chance.randrange(30)]))
            case "full":
                self._disk_fills()
                self._poll(proxy)
            case "room":
                self._disk_has_room()
            case "restart":
                self._process.ledger.close()
                self._start_anew()
        self._check()

    def _poll(self, proxy: str) -> None:
        pop = self._pop(proxy)
        queued, ledger = [*self._truths[proxy].held], self._process.ledger
        if self._work_off_then_take(self._process, proxy, pop):
            queued.append(pop)
        self._truths[proxy].held = self._note_stored(ledger, proxy, queued)
        if self._truths[proxy].held:
            self.happened["held in memory"] += 1
        elif flow_of(ledger, proxy).pending:
            self.happened["stored and not booked"] += 1

    def _poll_and_be_killed(self, proxy: str, statement: int) -> None:
        pop = self._pop(proxy)
        queued = [*self._truths[proxy].held, pop]

        def poll(process: _Process) -> None:
            self._work_off_then_take(process, proxy, pop)

        self._killed_in(poll, statement)
        if pop in self._note_stored(self._process.ledger, proxy, queued):  # it was lost with its process
            self.happened["killed before it was stored"] += 1
        elif flow_of(self._process.ledger, proxy).pending:
            self.happened["killed before it was booked"] += 1
        else:
            self.happened["killed after it was booked"] += 1

    def _replay(self, statement: int | None) -> None:
        """Queue the rejected records for another try."""
        with self._process.ledger.reading() as connection:
            kept = dict(
                connection.execute(
                    "select p.name, count(*) from rejected r join proxy p on p.id = r.proxy"
                    " where r.line is not null group by 1"
                )
            )
        before = {proxy: truth.replayed for proxy, truth in self._truths.items()}
        after = {proxy: number + kept.get(proxy, 0) for proxy, number in before.items()}
        self._do(lambda process: process.ledger.queue_rejected(reason=None, now_ms=self._now_ms()), statement)
        found = {proxy: self._file_flow(proxy).replayed for proxy in _PROXIES}
        assert found in (before, after), "all of them or none"
        for proxy, truth in self._truths.items():
            truth.replayed = found[proxy]

    def _take_inventory(self, proxy: str, statement: int | None) -> None:
        """Read the proxy's own counts, which start at 0 with it."""
        truth, more, proxy_restarted = self._truths[proxy], self._chance.randrange(6), self._chance.random() < 0.3
        before = truth.attempts, truth.counts
        counts, attempts = {}, {}
        for account in _ACCOUNTS:
            seen = truth.counts.get(account, 0)
            restarted = proxy_restarted and seen > 0
            counts[account] = seen - 1 if restarted else seen + more
            attempts[account] = truth.attempts.get(account, 0) + (seen - 1 if restarted else more)
        files = [
            {"name": f"claude-{name}.json", "email": name, "provider": "claude", "success": number, "failed": 0}
            for name, number in counts.items()
        ]
        accounts = read_auth_files(json.dumps({"files": files}).encode(), PSEUDONYMS.of, received_ms=0).accounts
        self._do(lambda process: process.ledger.take_inventory(proxy, accounts), statement)
        found = self._attempts(proxy)
        assert found in (before, (attempts, counts)), "all of them or none"
        truth.attempts, truth.counts = found

    def _time_passes(self, statement: int | None) -> None:
        self._clock.advance(self._chance.choice([1, _REVEAL_SECONDS + 1]))
        self._do(lambda process: process.ledger.births.publish(after_seconds=_REVEAL_SECONDS), statement)

    def _prometheus_scrapes(self) -> None:
        shown = self._process.counters(for_prometheus=True)
        born = {name: value for name, value in shown.items() if value and name not in self._for_prometheus}
        assert not born, "increase() counts from the first value that it sees, which must be 0"
        self._for_prometheus = _never_fell(self._for_prometheus, shown)

    def _disk_fills(self) -> None:
        spare_pages = self._chance.choice([0, 0, 2, 8])
        with self._process.ledger._database.transaction() as connection:
            connection.execute("pragma incremental_vacuum").fetchall()  # else the next records fill gaps in the file
            (pages,) = connection.execute("pragma page_count").fetchone()
            connection.execute(f"pragma max_page_count = {pages + spare_pages}")

    def _disk_has_room(self) -> None:
        with self._process.ledger._database.transaction() as connection:
            connection.execute("pragma max_page_count = 1000000")
        for proxy, truth in self._truths.items():
            self._process.intakes[proxy].work_off()
            truth.held = self._note_stored(self._process.ledger, proxy, truth.held)
            assert not truth.held
            assert flow_of(self._process.ledger, proxy).pending == 0

    # --- what holds at every moment -----------------------------------------------------------------------------------

    def _check(self) -> None:
        self._check_that_every_record_is_accounted_for()
        self._check_that_sums_are_true()
        self._for_people = _never_fell(self._for_people, self._process.counters(for_prometheus=False))

    def _check_that_every_record_is_accounted_for(self) -> None:
        for proxy, truth in self._truths.items():
            flow = flow_of(self._process.ledger, proxy)
            assert flow == self._file_flow(proxy), "memory is what the file says"
            assert adds_up(flow)
            assert (flow.received, flow.replayed, flow.duplicate) == (truth.received, truth.replayed, 0)
            assert self._attempts(proxy) == (truth.attempts, truth.counts)
            with self._process.ledger.reading() as connection:
                entries, rejected = connection.execute(
                    "select (select count(*) from entry e join series s on s.id = e.series join route r"
                    " on r.id = s.route where r.proxy = p.id), (select count(*) from rejected where proxy = p.id)"
                    " from proxy p where name = ?",
                    (proxy,),
                ).fetchone()
            assert flow.booked == entries
            assert sum(flow.rejected.values()) - flow.replayed == rejected, "each is kept, or was tried again"
            if not flow.pending:
                assert flow.booked == len(truth.good)
                assert sum(flow.rejected.values()) == truth.bad + truth.replayed

    def _check_that_sums_are_true(self) -> None:
        check_sums(self._process.ledger)
        if any(flow_of(self._process.ledger, proxy).pending for proxy in _PROXIES):
            return
        booked: dict[str, Counter[_Key]] = {proxy: Counter() for proxy in _PROXIES}
        with self._process.ledger.reading() as connection:
            for row in connection.execute(
                "select p.name, k.value, c.pseudonym, r.model, count(*),"
                f" {', '.join(f'sum({name})' for name in _SUMMED)}"
                " from entry e join series s on s.id = e.series join client c on c.id = s.client"
                " join route r on r.id = s.route join proxy p on p.id = r.proxy"
                " join credential_key k on k.credential = s.credential and k.kind = 'auth_index'"
                " group by 1, 2, 3, 4"
            ):
                for name, number in zip(("entries", *_SUMMED), row[4:], strict=True):
                    booked[row[0]][(*row[1:4], name)] += number
        assert booked == {proxy: truth.sums for proxy, truth in self._truths.items()}

    # --- helpers ------------------------------------------------------------------------------------------------------

    def _pop(self, proxy: str) -> _Pop:
        """Random attempts, some repeated or already known, some late, with elements in between that are not records."""
        chance = self._chance
        ending = self._clock.now() - chance.choice([0, 0, 0, 1, 40]) * 86_400
        good = self._traffic[proxy].batch(chance.randint(0, 40), ending=ending)
        again = chance.choice([0, 0, 1, 3])
        good += self._truths[proxy].good[:again] + good[:again]
        elements = [json.dumps(attempt.record).encode() for attempt in good]
        bad = chance.choices(_BAD, k=chance.choice([0, 1, 3]))
        for element in bad:
            elements.insert(chance.randint(0, len(elements)), element)
        if broken_off := chance.random() < 0.2:
            elements.append(b'{"timestamp": "2026-11')
        body = b"[" + b",".join(elements) + (b"" if broken_off else b"]")
        return _Pop(body, good, len(bad) + broken_off)

    @staticmethod
    def _work_off_then_take(process: _Process, proxy: str, pop: _Pop) -> bool:
        """Do what a poll does. Returns whether it popped, which it does only when no work is left."""
        try:
            process.intakes[proxy].work_off()
        except LedgerFullError:
            return False
        with suppress(LedgerFullError):
            process.intakes[proxy].take(pop.body)
        return True

    def _note_stored(self, ledger: Ledger, proxy: str, queued: list[_Pop]) -> list[_Pop]:
        """Bodies reach the disk whole and in order: add those on disk to the truth, and return the others."""
        truth = self._truths[proxy]
        new = flow_of(ledger, proxy).received - truth.received
        left = [*queued]
        while left and left[0].received <= new:
            new -= left[0].received
            truth.stored(left.pop(0))
        assert new == 0
        return left

    def _do(self, what: Callable[[_Process], object], statement: int | None) -> None:
        if statement is not None:
            self._killed_in(what, statement)
            return
        with suppress(LedgerFullError):
            what(self._process)

    def _killed_in(self, what: Callable[[_Process], object], statement: int) -> None:
        """Do this in a process that is killed before this statement, or after the last one; then start a new one."""
        old, left = self._folder(), statement
        self._starts += 1
        new = self._folder()

        def copy_files() -> None:
            for name in (FILE_NAME, f"{FILE_NAME}-wal"):
                shutil.copyfile(old / name, new / name)

        def before_statement(_: str) -> None:
            nonlocal left
            if left == 0:
                copy_files()
            left -= 1

        connection = self._process.ledger._database._connection
        connection.set_trace_callback(before_statement)
        with suppress(LedgerFullError):
            what(self._process)
        connection.set_trace_callback(None)
        if left >= 0:
            copy_files()
        self._process.ledger.close()
        self._start_anew()

    def _start_anew(self) -> None:
        for truth in self._truths.values():
            truth.held = []  # what never reached the disk was lost with its process
        self._process = _Process.start(self._folder(), self._clock)

    def _folder(self) -> Path:
        folder = self._root / str(self._starts)
        folder.mkdir(exist_ok=True)
        return folder

    def _file_flow(self, proxy: str) -> Flow:
        with self._process.ledger.reading() as connection:
            return read_flow(connection, self._process.ledger.name_store.proxies[proxy])

    def _attempts(self, proxy: str) -> tuple[dict[str, int], dict[str, int]]:
        """The exported attempts of each account, and the proxy's own count at the last read."""
        ledger, shown, seen = self._process.ledger, {}, {}
        with ledger.reading() as connection:
            for account in _ACCOUNTS:
                file = PSEUDONYMS.of(f"claude-{account}.json")
                credential = ledger.name_store.find_credential(ledger.name_store.proxies[proxy], "file", file)
                if credential is None:
                    continue
                shown[account] = ledger.totals.attempts[credential.id].success
                (seen[account],) = connection.execute(
                    "select success_seen from credential where id = ?", (credential.id,)
                ).fetchone()
        return shown, seen

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)


def _never_fell(before: dict[str, float], now: dict[str, float]) -> dict[str, float]:
    fell = {name: (value, now.get(name)) for name, value in before.items() if now.get(name, -1.0) < value}
    assert not fell
    return now


@pytest.mark.parametrize(("seed", "known"), [(0, False), (1, False), (2, False), (3, True), (6, True)])
def test_a_life_with_kills_full_disks_and_restarts_keeps_the_promises(tmp_path: Path, seed: int, known: bool) -> None:
    life = _Life(tmp_path, seed, known=known)
    for _ in range(100):
        life.step()
    assert {
        "killed before it was stored",
        "killed before it was booked",
        "killed after it was booked",
    } <= life.happened.keys()
