"""Snapshots with many mutated details: untouched details are booked once, whatever is beside them."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from exporter.ledger.store.snapshots import Identity
from exporter.normalize.snapshot import read_details, read_snapshot, snapshot_fingerprint
from exporter.normalize.usage_record import milliseconds
from exporter.normalize.wire_record import Wire
from tests.benches.booking import PSEUDONYMS, open_ledger
from tests.benches.snapshots import snapshot_intake, totals_add_up
from tests.fakes.guarding import TurnableClock
from tests.fakes.legacy import Detail
from tests.stack.running import ledger_file

_CONTROL, _OTHERS = "sk-control", ("sk-a", "sk-z")
_MODEL = "gpt-5"
_JUNK: tuple[Any, ...] = (None, "", "x", -1, 2**70, 1.5, True, [], {}, [1], "a\0b", "9" * 400)


def _mutated(some: random.Random, wire: dict[str, Any]) -> Any:
    """A detail with one field that is missing, odd, or in another notation; or something that is not a detail."""
    name = some.choice(list(wire))
    kind = some.randrange(5)
    if kind == 0:
        return some.choice(_JUNK)
    if kind == 1:
        return {key: value for key, value in wire.items() if key != name}
    if kind == 2:
        return wire | {"tokens": wire["tokens"] | {some.choice(list(wire["tokens"])): some.choice(_JUNK)}}
    if kind == 3:
        return wire | {name: some.choice(_JUNK)}
    return wire | {"latency_ms": wire["latency_ms"] + some.choice((0, 1)), "source": "someone@example.com"}


class _Proxy:
    """The details of a proxy, which grow, with its clients in changing order."""

    def __init__(self, some: random.Random) -> None:
        self.some = some
        self.details: dict[str, list[Any]] = {_CONTROL: []} | {client: [] for client in _OTHERS}
        self.control: list[dict[str, Any]] = []
        self._number = 0

    def request(self, now_ms: int) -> None:
        self._number += 1
        # Two requests in a millisecond differ in the digits below it, unless an old server has cut those.
        detail = Detail(
            ts_ms=now_ms - self._number % 7,
            latency_ms=self.some.randint(1, 3000),
            auth_index="a1",
            tokens=(self.some.choice((10, 20)), 5),
            nanoseconds=self._number if self.some.random() < 0.5 else 0,
        )
        wire = detail.wire(zone=self._number % 3, index="a1")
        if self.some.random() < 0.5:
            self.details[_CONTROL].append(wire)
            self.control.append(wire)
        else:
            # Often beside one of the control client, which it may equal except for its duration.
            near = self.some.choice(self.control) if self.control and self.some.random() < 0.3 else wire
            detail_of = _mutated(self.some, near) if self.some.random() < 0.6 else near
            self.details[self.some.choice(_OTHERS)].append(detail_of)

    def touch(self) -> None:
        """Change some details of the other clients that have already been shown."""
        for client in _OTHERS:
            for place, detail in enumerate(self.details[client]):
                if isinstance(detail, dict) and "tokens" in detail and self.some.random() < 0.02:
                    near = self.some.choice(self.control)
                    self.details[client][place] = _mutated(self.some, near)

    def body(self) -> bytes:
        clients = list(self.details)
        self.some.shuffle(clients)
        apis = {
            client: {"models": {_MODEL: {"total_requests": len(details), "total_tokens": 0, "details": details}}}
            for client in clients
            if (details := self.details[client])
        }
        return json.dumps({"usage": {"apis": apis}}).encode()


def _shown(body: bytes) -> tuple[Counter[Identity], Counter[Identity]]:
    """How often a body has each detail with a time, whatever its client; and the details of the control client."""
    every: Counter[Identity] = Counter()
    control: Counter[Identity] = Counter()
    for series in read_snapshot(body, PSEUDONYMS.of):
        assert series.details is not None
        for wire in read_details(series.details, series, PSEUDONYMS.of):
            if isinstance(wire, Wire) and isinstance(ts_ms := milliseconds(wire.timestamp), int):
                identity = (ts_ms, snapshot_fingerprint("p", wire))
                every[identity] += 1
                control[identity] += series.client == PSEUDONYMS.of(_CONTROL)
    return every, control


def _booked(folder: Path) -> set[Identity]:
    with ledger_file(folder) as connection:
        return set(connection.execute("select ts_ms, fingerprint from entry"))


@pytest.mark.parametrize("seed", range(12))
def test_no_detail_is_booked_twice_beside_mutated_ones(seed: int, tmp_path: Path) -> None:
    """Equal details get as many entries as one body ever showed, and no more.

    A mutated detail may equal one of the control client; nobody can tell which of the two gets which name.
    """
    some = random.Random(seed)
    clock = TurnableClock()
    ledger = open_ledger(tmp_path, clock=clock)
    ledger.register("p")
    intake = snapshot_intake(ledger, clock=clock)
    proxy = _Proxy(some)
    most: Counter[Identity] = Counter()
    for _ in range(8):
        clock.advance(60)
        if proxy.control:
            proxy.touch()
        for _ in range(some.randint(0, 60)):
            proxy.request(int(clock.now() * 1000))
        for _ in range(2):  # the second time in another order
            body = proxy.body()
            every, control = _shown(body)
            most |= every
            intake.take(body, taken_ms=int(clock.now() * 1000))
            assert totals_add_up(ledger)
            allowed = {(ts_ms, fingerprint + n) for (ts_ms, fingerprint), times in most.items() for n in range(times)}
            entries = _booked(tmp_path)
            assert entries <= allowed
            untouched = {
                (ts_ms, fingerprint + n) for ts_ms, fingerprint in +control for n in range(most[ts_ms, fingerprint])
            }
            assert untouched <= entries
    ledger.close()
