"""A proxy without a queue whose details come and go, its exporter, and what the exporter must have booked."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from exporter.errors import LedgerError
from exporter.ledger.database import FILE_NAME
from tests.benches.booking import flow_of, open_ledger
from tests.benches.refusing import refusing_after
from tests.benches.snapshots import snapshot_intake, totals_add_up
from tests.fakes.guarding import TurnableClock
from tests.fakes.legacy import Detail, LegacyProxy

LONGER_THAN_A_DATE_IS_OFF = 3.0


class StrippingLife:
    """A proxy, an exporter, and the numbers of the requests that the exporter must have by now."""

    def __init__(self, folder: Path, *, seed: int) -> None:
        self.folder = folder
        self.some = random.Random(seed)
        self.proxy = LegacyProxy()
        self.clock = TurnableClock()
        self.requests = 0
        self.starts = 0
        self.had: dict[int, int] = {}
        self.baseline: set[int] = set()
        self.is_known = False
        self.polled_at = 0.0
        self.ledger = open_ledger(folder, clock=self.clock)
        self.ledger.register("p")
        self.intake = snapshot_intake(self.ledger, clock=self.clock, usd=1e9)
        self._request("sk-0")

    # --- what happens ---------------------------------------------------------------------------------------------

    def request(self) -> None:
        for _ in range(self.some.randint(1, 4)):
            self.clock.advance(self.some.choice((0.0, 0.1, 0.4)))
            self._request(self.some.choice(("sk-a", "sk-b")))

    def _request(self, client: str) -> None:
        self.requests += 1
        latency = self.some.choice((0, 300, 90_000))
        detail = Detail(
            ts_ms=int(self.clock.now() * 1000) - latency,
            latency_ms=latency,
            auth_index="a1",
            tokens=(self.some.randint(0, 50), self.some.randint(0, 50)),
            nanoseconds=self.requests,
        )
        self.proxy.record(client, self.some.choice(("m", "n")), detail)

    def time_passes(self) -> None:
        self.clock.advance(self.some.choice((0.3, LONGER_THAN_A_DATE_IS_OFF, 60.0)))

    def strips(self) -> None:
        self.proxy.stripped = self.some.choice(("absent", "empty", "null"))

    def shows(self) -> None:
        self.proxy.stripped = ""

    def restart(self) -> None:
        """Restart slowly and visibly: each life has its own client."""
        self.proxy.restart()
        self.starts += 1
        self.clock.advance(LONGER_THAN_A_DATE_IS_OFF)
        self._request(f"sk-{self.starts}")

    def exporter_restarts(self) -> None:
        self.ledger.close()
        self.ledger = open_ledger(self.folder, clock=self.clock)
        self.intake = snapshot_intake(self.ledger, clock=self.clock, usd=1e9)

    # --- polls ----------------------------------------------------------------------------------------------------

    def poll(self) -> None:
        self._take()
        now = {
            detail.nanoseconds: sum(detail.tokens) for series in self.proxy.series.values() for detail in series.details
        }
        if not self.is_known and self.proxy.stripped:
            self.baseline = set(now)
            self.clock.advance(LONGER_THAN_A_DATE_IS_OFF)
        self.is_known = True
        self.had |= {number: tokens for number, tokens in now.items() if self._is_reported(number)}
        self.check()

    def _is_reported(self, number: int) -> bool:
        """Whether this poll reports the request: a baseline reports none of its requests, but later details may."""
        return not self.proxy.stripped or number not in self.baseline

    def poll_that_the_ledger_refuses(self) -> None:
        """The ledger fails between two transactions; the next poll continues from there."""
        if not self.is_known:
            return
        refuse = refusing_after(self.some.randint(0, 2))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.ledger.snapshots, "book_details", refuse(self.ledger.snapshots.book_details))
            patch.setattr(self.ledger.snapshots, "close", refusing_after(0)(self.ledger.snapshots.close))
            with pytest.raises(LedgerError):
                self._take()
        self.poll()

    def _take(self) -> None:
        self.clock.advance(max(0.0, self.polled_at + LONGER_THAN_A_DATE_IS_OFF - self.clock.now()))
        if self.is_known:
            self.request()
        else:
            # If a request ends right before a baseline, nobody can tell later whether the baseline includes it.
            self.clock.advance(LONGER_THAN_A_DATE_IS_OFF)
        self.polled_at = self.clock.now()
        written_at = self.clock.now() + self.some.choice((0.0, 0.2))
        self.intake.take(self.proxy.body(), taken_ms=int(written_at) * 1000)

    def check(self) -> None:
        with closing(sqlite3.connect(self.folder / FILE_NAME)) as connection:
            booked = connection.execute(
                "select coalesce(sum(counted), 0), coalesce(sum(uncached + output + unclassified), 0) from entry"
            ).fetchone()
        assert booked == (len(self.had), sum(self.had.values()))
        flow = flow_of(self.ledger)
        assert totals_add_up(self.ledger)
        assert flow.missed == 0
        assert flow.restarts <= self.starts
