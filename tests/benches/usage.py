"""A ledger with random usage, and its sums computed record by record, the slow way."""

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import NamedTuple

from exporter.ledger.database import FILE_NAME
from exporter.ledger.labels import SeriesLabels
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.ledger.store.batches import Interpreted
from exporter.ledger.views.usage import Usage
from exporter.normalize.batch import read_batch
from exporter.records import Basis, Billing, Cost, Tokens, UsageRecord
from exporter.settings.proxies import Aliases
from exporter.usage.question import Questions
from exporter.usage.report import Report, answer
from tests.fakes.guarding import TurnableClock

MODELS = ("opus", "sonnet", "gpt-5", "=cmd|' /C calc'!A0")
CLIENTS = ("alice", "bob", "+carol")


class Entry(NamedTuple):
    """An entry of the ledger with its labels."""

    ts_ms: int
    labels: SeriesLabels
    billing: int
    requests: int
    failed: int
    input: int
    cache_read: int
    cache_write: int
    output: int
    unclassified: int
    nano_usd: int


@dataclass
class UsageBench:
    """A ledger of two proxies whose clock the test moves."""

    ledger: Ledger
    clock: TurnableClock
    zone: tzinfo
    shown_names: ShownNames = field(init=False)
    questions: Questions = field(init=False)
    _fingerprint: int = 0

    def __post_init__(self) -> None:
        self.shown_names = ShownNames(self.ledger.name_store, Aliases(), lambda text: text)
        self.questions = Questions(ledger=self.ledger, shown_names=self.shown_names, clock=self.clock, zone=self.zone)

    def answer(self, parameters: Mapping[str, str]) -> Report:
        return answer(self.questions, parameters)

    def record(self, ts_ms: int, draw: random.Random | None = None) -> tuple[UsageRecord, Cost]:
        """A record of random labels, tokens and cost; without ``draw`` they are always the same."""
        draw = draw or random.Random(1)
        self._fingerprint += 1
        billing = draw.choice(list(Billing))
        record = UsageRecord(
            ts_ms=ts_ms,
            fingerprint=self._fingerprint,
            provider=draw.choice(("claude", "codex")),
            model=draw.choice(MODELS),
            alias="",
            auth_index=f"account-{draw.randrange(3)}",
            source="",
            client=draw.choice(CLIENTS),
            billing=billing,
            tokens=Tokens(
                uncached=draw.randrange(1000),
                cache_read=draw.randrange(1000),
                cache_write=draw.randrange(1000),
                output=draw.randrange(1000),
                unclassified=draw.randrange(50),
            ),
            latency_ms=draw.randrange(10_000),
            code=draw.choice(("", "", "", "429", "500")),
            counted=draw.choice((1, 1, 1, 0, 3)),
        )
        return record, Cost(nano_usd=draw.randrange(10**10), basis=draw.choice(list(Basis)), price="a price")

    def book(self, *records: tuple[UsageRecord, Cost], proxy: str = "p") -> None:
        body = b"[" + b",".join([b"{}"] * len(records)) + b"]"
        batch = self.ledger.store(
            proxy, read_batch(body, pseudonym=lambda text: text), received_ms=int(self.clock.now() * 1000)
        )
        assert batch is not None
        self.ledger.book(batch, Interpreted(records=list(records)))

    def entries(self) -> list[Entry]:
        """All entries at present, in order of time."""
        with self.ledger.reading() as connection:
            rows = connection.execute(
                "select e.ts_ms, coalesce(s.shown, s.id), e.billing, e.counted, e.counted * (e.code <> ''),"
                " e.uncached + e.cache_read + e.cache_write, e.cache_read, e.cache_write, e.output, e.unclassified,"
                " e.nano_usd from entry e join series s on s.id = e.series order by e.ts_ms"
            ).fetchall()
        return [Entry(ts_ms, self.shown_names.series(series), *rest) for ts_ms, series, *rest in rows]


_NUMBERS = Entry._fields[3:]


def plain_sums(
    entries: Sequence[Entry], span: tuple[int, int], filters: Mapping[str, str], by: str | None = None
) -> dict[str, dict[int, dict[str, int]]]:
    """name → billing → number → sum, over the entries that pass the filters; one name without ``by``."""
    sums: dict[str, dict[int, Counter[str]]] = {}
    first, last = (bisect_left(entries, edge, key=lambda entry: entry.ts_ms) for edge in span)
    for entry in entries[first:last]:
        if all(getattr(entry.labels, name) == value for name, value in filters.items()):
            name = getattr(entry.labels, by) if by else ""
            of_billing = sums.setdefault(name, {}).setdefault(entry.billing, Counter())
            of_billing.update(dict(zip(_NUMBERS, entry[3:], strict=True)))
    plain = {name: _used(by_billing) for name, by_billing in sums.items()}
    return {name: by_billing for name, by_billing in plain.items() if by_billing}


def _used(by_billing: Mapping[int, Counter[str]]) -> dict[int, dict[str, int]]:
    return {billing: dict(+numbers) for billing, numbers in by_billing.items() if +numbers}


def plain(usage: Usage) -> dict[int, dict[str, int]]:
    """The sums of a report in the form of ``plain_sums``."""
    return _used({billing: Counter(amounts._asdict()) for billing, amounts in usage.items()})


def usage_bench(folder: Path, *, now: float, zone: tzinfo, max_label_sets: int = 5000) -> UsageBench:
    clock = TurnableClock(now)
    ledger = Ledger(folder / FILE_NAME, clock=clock, zone=zone, max_label_sets=max_label_sets)
    for proxy in ("p", "q"):
        ledger.register(proxy)
    return UsageBench(ledger, clock, zone)
