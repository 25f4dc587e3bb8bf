"""What the ledger remembers about losses: over restarts, once, and only where counts are comparable."""

import json
from pathlib import Path
from typing import Any

import pytest

from exporter.ledger.ledger import Ledger
from exporter.ledger.store import losses
from exporter.normalize.inventory import Account, read_auth_files
from exporter.sources.loss_detection import SILENT_LOOKS, LossDetector
from tests.benches.booking import GOOD, PSEUDONYMS, flow_of, intake_of, open_ledger, take
from tests.fakes.guarding import TurnableClock

_IMAGE = {"provider": "codex", "executor_type": "CodexExecutor", "model": "gpt-image-2", "alias": "gpt-5"}


def _accounts(*counts: int | None) -> list[Account]:
    """One account for each number of attempts; None: a version without counts."""
    files = [
        {
            "name": f"claude-{number}.json",
            "provider": "claude",
            "auth_index": f"{number}" * 16,
            "status": "active",
            **({} if attempts is None else {"success": attempts, "failed": 0}),
        }
        for number, attempts in enumerate(counts)
    ]
    return read_auth_files(json.dumps({"files": files}).encode(), PSEUDONYMS.of, received_ms=0).accounts


class _Proxy:
    """A proxy and its ledger: attempts, records and comparisons."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, TurnableClock()
        self.ledger = open_ledger(folder, clock=self.clock)
        self.ledger.register("p")
        self._serial = 0

    def reopen(self) -> None:
        self.ledger.close()
        self.ledger = open_ledger(self.folder, clock=self.clock)

    def records(self, number: int, **more: Any) -> None:
        if number:
            self._serial += number
            records = [
                GOOD | {"auth_index": "0" * 16, "request_id": f"{self._serial - n:08x}"} | more for n in range(number)
            ]
            take(intake_of(self.ledger), records)

    def look(
        self,
        *attempts: int | None,
        records: int = 0,
        whole: bool = True,
        may_have_lost: bool = False,
        publishing: bool = True,
    ) -> LossDetector | None:
        self.ledger.take_inventory("p", _accounts(*attempts), whole=whole)
        self.records(records)
        return self.ledger.losses.compare("p", may_have_lost=may_have_lost, publishing=publishing)

    @property
    def missed(self) -> int:
        return flow_of(self.ledger).missed


@pytest.fixture
def proxy(tmp_path: Path) -> _Proxy:
    return _Proxy(tmp_path)


def test_a_suspicion_and_the_estimate_survive_restarts(proxy: _Proxy) -> None:
    proxy.look(7000)
    for minute in range(1, SILENT_LOOKS + 1):
        proxy.reopen()
        watch = proxy.look(7000 + 10 * minute)
    assert watch is not None
    assert watch.suspicion == "silence"
    assert proxy.missed == 10 * SILENT_LOOKS
    proxy.reopen()
    assert proxy.missed == 10 * SILENT_LOOKS
    watch = proxy.look(7000 + 10 * SILENT_LOOKS)
    assert watch is not None
    assert watch.suspicion == "silence"
    assert proxy.missed == 10 * SILENT_LOOKS, "nothing new, nothing counted again"
    assert flow_of(proxy.ledger).missed_ms == proxy.clock.now_ms()


def test_what_another_proxy_lost_is_not_missed_here(proxy: _Proxy) -> None:
    proxy.ledger.register("q")
    proxy.ledger.take_inventory("q", _accounts(100))
    proxy.look(100)
    proxy.ledger.take_inventory("q", _accounts(200))
    proxy.look(110, records=10, may_have_lost=True)
    assert proxy.missed == 0


def test_two_proxies_are_watched_apart(proxy: _Proxy) -> None:
    """The one that the ledger met second is not taken for the first one, which restarts meanwhile."""
    proxy.ledger.register("q")
    for kind, name in (("queue", "p"), ("snapshot", "q")):
        assert proxy.ledger.note_source(name, kind) is None
    proxy.look(1000)
    proxy.ledger.take_inventory("q", _accounts(100))
    proxy.ledger.losses.compare("q", may_have_lost=False, publishing=True)
    proxy.look(30, records=30)
    proxy.records(3, timestamp="yesterday")
    proxy.reopen()
    assert proxy.ledger.note_source("q", "snapshot") == "snapshot"
    proxy.ledger.take_inventory("q", _accounts(120))
    proxy.ledger.losses.compare("q", may_have_lost=True, publishing=True)
    flow = flow_of(proxy.ledger, "q")
    assert (flow.missed, flow.restarts, flow.rejected) == (20, 0, {})


def test_a_comparison_that_breaks_off_counts_nothing(proxy: _Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy.look(100)
    monkeypatch.setattr(losses, "compare", _fail)
    with pytest.raises(RuntimeError):
        proxy.look(200, may_have_lost=True)
    monkeypatch.undo()
    assert proxy.missed == 0
    proxy.look(200, may_have_lost=True)
    assert proxy.missed == 100
    proxy.look(200, may_have_lost=True)
    assert proxy.missed == 100


def _fail(*_: object, **__: object) -> None:
    raise RuntimeError


def test_without_counts_nothing_is_known(proxy: _Proxy) -> None:
    for _ in range(10):
        assert proxy.look(None, records=3) is None
    assert proxy.missed == 0


def test_an_incomplete_inventory_is_not_compared(proxy: _Proxy) -> None:
    proxy.look(100, 500)
    proxy.look(100, whole=False)
    proxy.look(900, 500, may_have_lost=True, whole=False)
    assert proxy.missed == 0


def test_an_account_that_was_removed_and_added_again_starts_at_its_new_counts(proxy: _Proxy) -> None:
    proxy.look(100, 500)
    proxy.look(100, may_have_lost=True)
    watch = proxy.look(110, 0, records=10, may_have_lost=True)
    assert watch is not None
    assert (proxy.missed, flow_of(proxy.ledger).restarts) == (0, 0)
    proxy.look(120, 10, records=10, may_have_lost=True)
    assert proxy.missed == 10, "ten of the twenty are missing"
    counted = sorted(count.success for count in proxy.ledger.totals.attempts.values())
    assert counted == [120, 510], "no counter falls"


@pytest.mark.parametrize(
    ("before", "after", "restarts"),
    [
        pytest.param([100, 500], [0, 0], 1, id="all at 0"),
        pytest.param([100, 500], [3, 40], 1, id="all fell"),
        pytest.param([100, 500, 0], [3, 40, 2], 1, id="all that had counted fell"),
        pytest.param([100, 500, 4], [3, 40, 6], 1, id="a small one has counted as many again"),
        pytest.param([100, 500], [3, 500], 0, id="one of two fell: it was added again"),
        pytest.param([100, 500], [110, 40], 0, id="the larger of two fell"),
        pytest.param([100, 500], [100, 500], 0, id="nothing changed"),
        pytest.param([100, 500], [110, 510], 0, id="both rose"),
        pytest.param([0, 0], [0, 0], 0, id="never used"),
    ],
)
def test_a_fall_of_all_counts_is_a_restart(proxy: _Proxy, before: list[int], after: list[int], restarts: int) -> None:
    proxy.look(*before)
    proxy.look(*after)
    proxy.look(*after)
    assert flow_of(proxy.ledger).restarts == restarts
    proxy.reopen()
    assert flow_of(proxy.ledger).restarts == restarts


def test_after_a_restart_every_count_is_new(proxy: _Proxy) -> None:
    proxy.look(100, 4)
    proxy.look(3, 6)
    counted = sorted(count.success for count in proxy.ledger.totals.attempts.values())
    assert counted == [10, 103]


def test_records_queued_when_the_proxy_restarted_are_not_guessed(proxy: _Proxy) -> None:
    proxy.look(100)
    proxy.look(60, may_have_lost=True)
    assert proxy.missed == 0
    proxy.look(80, may_have_lost=True)
    assert proxy.missed == 20


def test_a_restart_that_another_source_reports_is_not_counted_here(proxy: _Proxy) -> None:
    proxy.look(100)
    proxy.ledger.take_inventory("p", _accounts(1), counts_restarts=False)
    assert flow_of(proxy.ledger).restarts == 0


def test_the_image_tools_extra_record_stands_for_no_attempt(proxy: _Proxy) -> None:
    proxy.look(100)
    proxy.records(30, **_IMAGE)
    proxy.look(130, may_have_lost=True)
    assert proxy.missed == 30


def test_prewarms_and_rejected_records_stand_for_attempts(proxy: _Proxy) -> None:
    proxy.look(100)
    proxy.records(20, generate=False)
    proxy.records(20, timestamp="yesterday")
    proxy.look(140, may_have_lost=True)
    assert flow_of(proxy.ledger).rejected == {"bad_timestamp": 20}
    assert proxy.missed == 0


def test_a_replay_brings_no_missing_record(proxy: _Proxy) -> None:
    proxy.look(100)
    proxy.records(20, timestamp="yesterday")
    proxy.look(120)
    proxy.ledger.queue_rejected(reason=None, now_ms=proxy.clock.now_ms())
    proxy.look(140, may_have_lost=True)
    assert proxy.missed == 20


def test_a_pop_that_a_kill_cut_is_counted_once_and_for_its_proxy(proxy: _Proxy) -> None:
    proxy.ledger.register("q")
    proxy.ledger.losses.mark_pop("p", at_ms=5)
    proxy.reopen()
    assert [proxy.ledger.losses.settle_pop_mark(name) for name in ("q", "p", "p")] == [False, True, False]
    flow = flow_of(proxy.ledger)
    assert (flow.retention_gaps, flow.gap_ms, flow_of(proxy.ledger, "q").retention_gaps) == (1, 5, 0)


def test_gaps_are_counted_and_the_last_one_is_remembered(proxy: _Proxy) -> None:
    proxy.ledger.losses.note_gap("p", seconds=100)
    proxy.clock.advance(5)
    proxy.ledger.losses.note_gap("p", seconds=200)
    proxy.reopen()
    flow = flow_of(proxy.ledger)
    assert (flow.retention_gaps, flow.gap_ms, flow.gap_seconds) == (2, proxy.clock.now_ms(), 200)


def test_a_watch_of_another_version_starts_over(proxy: _Proxy) -> None:
    proxy.look(100)
    _write_losses(proxy.ledger, '{"something": "else"}')
    assert proxy.look(500, may_have_lost=True) is not None
    assert proxy.missed == 0
    proxy.look(520, may_have_lost=True)
    assert proxy.missed == 20


def _write_losses(ledger: Ledger, text: str) -> None:
    with ledger._database.transaction() as connection:
        connection.execute("update proxy set watch = ?", (text,))


def test_two_logins_of_one_account_are_compared_as_one(proxy: _Proxy) -> None:
    """Its records belong to the account, while the proxy counts the attempts of each file."""

    def look(free: int, pro: int, *, records: int = 0) -> LossDetector:
        files = [{"provider": "claude", "email": "dev@example.com", "status": "active", "failed": 0}] * 2
        told = [
            file | {"name": f"{n}.json", "auth_index": str(n) * 16, "success": attempts}
            for n, (file, attempts) in enumerate(zip(files, (free, pro), strict=True))
        ]
        accounts = read_auth_files(json.dumps({"files": told}).encode(), PSEUDONYMS.of, received_ms=0).accounts
        proxy.ledger.take_inventory("p", accounts)
        proxy.records(records, auth_index="1" * 16)
        watch = proxy.ledger.losses.compare("p", may_have_lost=False, publishing=True)
        assert watch is not None
        return watch

    look(5, 0)
    watch = look(5, 10, records=10)
    assert list(watch.last.credentials.values()) == [(15, 10)]
    assert list(watch.bundles[0].credentials.values()) == [(10, 10)]
    assert flow_of(proxy.ledger).missed == 0
