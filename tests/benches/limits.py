"""A ledger that tests book plain facts into, and the board of limits over it, as in an exporter."""

import textwrap
from dataclasses import dataclass
from datetime import UTC, tzinfo
from itertools import count
from pathlib import Path

from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.ledger.store.batches import Interpreted
from exporter.limits.board import LimitBoard
from exporter.limits.limit_file import read_limit_file, watch_limit_file
from exporter.limits.model import Limit, LimitWindow
from exporter.limits.strategies import Strategy
from exporter.normalize.batch import read_batch
from exporter.quotas.reading import Reading
from exporter.records import Basis, Billing, Cost, Tokens, UsageRecord
from exporter.settings.proxies import Aliases
from tests.fakes.guarding import TurnableClock

_TOKENS = Tokens(uncached=100, output=10)


@dataclass(frozen=True)
class Use:
    """One record: its time, its owner and its amounts."""

    ts_ms: int
    proxy: str = "p"
    provider: str = "claude"
    model: str = "claude-opus-4-6"
    account: str = "account-1"
    client: str = "alice"
    tokens: Tokens = _TOKENS
    nano_usd: int = 1_000_000
    counted: bool = True
    code: str = ""
    latency_ms: int = 0
    reading: Reading | None = None
    """The provider's statement in this record about one of its windows."""

    @property
    def token_sum(self) -> int:
        of = self.tokens
        return of.uncached + of.cache_read + of.cache_write + of.output + of.unclassified


class LimitBench:
    """An exporter's limits. ``limits`` is the text of the limits file, empty for none; ``zone`` is the user's."""

    def __init__(
        self,
        folder: Path,
        limits: str = "",
        *,
        clock: TurnableClock | None = None,
        zone: tzinfo = UTC,
        max_label_sets: int = 5000,
    ) -> None:
        self.clock = clock or TurnableClock()
        self.file = folder / "limits.yaml"
        self.aliases = Aliases()
        self._folder = folder
        self._zone = zone
        self._max_label_sets = max_label_sets
        self._fingerprints = count()
        if limits:
            self.file.write_text(textwrap.dedent(limits), encoding="utf-8")
        self._open()

    def _open(self) -> None:
        path, most = self._folder / FILE_NAME, self._max_label_sets
        self.ledger = Ledger(path, clock=self.clock, zone=self._zone, max_label_sets=most)
        user = watch_limit_file(self.file, zone=self._zone) if self.file.exists() else None
        self.board = LimitBoard(
            ledger=self.ledger,
            shown_names=ShownNames(self.ledger.name_store, self.aliases, str),
            clock=self.clock,
            file=user,
            zone=self._zone,
        )

    @property
    def now_ms(self) -> int:
        return int(self.clock.now() * 1000)

    def restart(self) -> None:
        """Stop the exporter and start it again over the same files."""
        self.ledger.close()
        self._open()

    def edit(self, limits: str) -> None:
        """Replace the file as an editor does, and tick until the exporter has noticed."""
        new = self.file.with_name("new")
        new.write_text(textwrap.dedent(limits), encoding="utf-8")
        new.replace(self.file)
        self.tick()

    def tick(self) -> None:
        """Refresh twice: the exporter accepts an edit once the file stays the same."""
        self.board.refresh()
        self.board.refresh()

    def book(self, *uses: Use) -> None:
        """Book one batch for each proxy."""
        for proxy in dict.fromkeys(use.proxy for use in uses):
            own = [use for use in uses if use.proxy == proxy]
            body = b"[" + b",".join([b"{}"] * len(own)) + b"]"
            batch = self.ledger.store(proxy, read_batch(body, pseudonym=str), received_ms=self.now_ms)
            assert batch is not None
            records = [self._record(use) for use in own]
            readings = [
                (record, use.reading) for use, (record, _) in zip(own, records, strict=True) if use.reading is not None
            ]
            self.ledger.book(batch, Interpreted(records=records, readings=readings))

    def _record(self, use: Use) -> tuple[UsageRecord, Cost]:
        record = UsageRecord(
            ts_ms=use.ts_ms,
            fingerprint=next(self._fingerprints),
            provider=use.provider,
            model=use.model,
            alias=use.model,
            auth_index=use.account,
            source="",
            client=use.client,
            billing=Billing.METERED,
            tokens=use.tokens,
            code=use.code,
            latency_ms=use.latency_ms,
            counted=use.counted,
        )
        return record, Cost(nano_usd=use.nano_usd, basis=Basis.EXACT, price="a price")

    def windows(self, limit: str = "") -> list[LimitWindow]:
        """The windows as they are now: all, or those of one limit."""
        self.board.refresh()
        return [window for window in self.board.current.windows if limit in ("", window.limit)]

    def window(self, limit: str) -> LimitWindow:
        """The only window of a limit, as it is now."""
        (window,) = self.windows(limit)
        return window


def limits_of(folder: Path, text: str, *, zone: tzinfo = UTC) -> tuple[Limit, ...]:
    """The limits in a valid file."""
    path = folder / "limits.yaml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return read_limit_file(path, zone=zone).limits


_NAMES = [repr(each.value) for each in Strategy]
STRATEGIES = f"{', '.join(_NAMES[:-1])} or {_NAMES[-1]}"
"""All strategies, as an error lists them."""
