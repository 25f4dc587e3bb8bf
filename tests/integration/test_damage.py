"""A damaged ledger is refused, shows exactly what was booked, or is repaired with a message."""

import random
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from exporter.errors import LedgerCorruptError
from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.ledger.store import verification
from exporter.limits.board import LimitBoard
from exporter.metrics.exposition import Exposition
from exporter.normalize.inventory import Account
from exporter.pricing.pricer import open_prices
from exporter.records import Billing, CredentialFacts
from exporter.settings.proxies import Aliases
from exporter.sources.proxy_status import ProxyStatus
from tests.benches.booking import intake_of
from tests.benches.snapshots import SnapshotBench
from tests.fakes.guarding import TurnableClock
from tests.fakes.steered.traffic import Traffic

_PROMETHEUS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
_LEDGERS = 40
_FILES = (FILE_NAME, FILE_NAME + "-wal", FILE_NAME + "-end")


def _open(folder: Path, *, alone: bool = True) -> Ledger:
    return Ledger(folder / FILE_NAME, clock=TurnableClock(), zone=UTC, alone=alone)


def _use(ledger: Ledger, chance: random.Random, *, bodies: int) -> None:
    clock = TurnableClock()
    traffic = Traffic(seed=chance.randrange(1000), zone=UTC)
    for _ in range(bodies):
        attempts = traffic.batch(40, ending=clock.now() - chance.uniform(0, 86_400), span_seconds=3 * 86_400)
        body = b"[" + b",".join(msgspec.json.encode(attempt.record) for attempt in attempts) + b"]"
        intake_of(ledger).take(body)


def _end(folder: Path, seed: int, *, clean: bool) -> Path:
    """The files left on disk after a ledger was used; for every second seed it was also pruned."""
    chance = random.Random(seed)
    used, left = folder / "used", folder / "left"
    for each in (used, left):
        each.mkdir(parents=True)
    ledger = _open(used)
    _use(ledger, chance, bodies=4)
    if seed % 2:
        day_ms = int(TurnableClock().now() - 86_400) * 1000
        ledger.retention.prune(entries_before_ms=day_ms, rejected_before_ms=day_ms, stopping=lambda: False)
    if chance.random() < 0.5:
        ledger.births.told(list(ledger.births.pending), "a scraper")
        ledger.births.publish(after_seconds=0)
    with closing(sqlite3.connect(used / FILE_NAME)) as connection, connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    if clean:
        ledger.close()
    else:
        _use(ledger, chance, bodies=chance.randrange(2))
    for name in _FILES:
        if (used / name).exists():
            shutil.copy(used / name, left / name)
    ledger.close()
    return left


def _shown(ledger: Ledger) -> list[str]:
    """All series, for people and for Prometheus, except those about the process and the file."""
    ledger.periods.refresh()
    clock = TurnableClock()
    shown_names = ShownNames(ledger.name_store, Aliases(), lambda text: text)
    exposition = Exposition(
        ledger=ledger,
        shown_names=shown_names,
        statuses=lambda: [ProxyStatus(name="p")],
        limits=LimitBoard(ledger=ledger, shown_names=shown_names, clock=clock),
        prices=open_prices(file=None, feed_url=None, store=ledger.price_feed, clock=clock),
        clock=clock,
        registry=CollectorRegistry(),
    )
    return [
        line
        for accept in ("*/*", _PROMETHEUS)
        for line in exposition.scrape(accept=accept, accept_encoding="", scraper="a scraper").body.decode().splitlines()
        if not line.startswith(("process_", "cliproxy_exporter_ledger_bytes"))
    ]


def _account(number: int, *, success: int) -> Account:
    facts = CredentialFacts(provider="claude", billing=Billing.SUBSCRIPTION)
    return Account(facts=facts, identity=None, auth_index=f"{number:016}", auth_type="oauth", success=success, failed=0)


def _flip(file: Path, chance: random.Random) -> None:
    content = bytearray(file.read_bytes())
    page = chance.randrange(len(content) // 4096) * 4096
    used = [place for place in range(page, page + 4096) if content[place]]  # free space shows nothing
    for place in chance.sample(used, min(len(used), chance.choice((1, 2, 16)))):
        content[place] ^= chance.randrange(1, 256)
    file.write_bytes(content)


@pytest.mark.parametrize("clean", [True, False])
def test_a_damaged_ledger_never_shows_wrong_series(tmp_path: Path, clean: bool) -> None:
    outcomes: Counter[str] = Counter()
    for seed in range(_LEDGERS):
        left = _end(tmp_path / str(seed), seed, clean=clean)
        truth = tmp_path / str(seed) / "truth"
        shutil.copytree(left, truth)
        _flip(left / FILE_NAME, random.Random(seed))
        refusal, ledger = None, None
        with capture_logs() as logs:
            try:
                ledger = _open(left)
            except LedgerCorruptError as exc:
                refusal = str(exc)
        if ledger is None:
            assert refusal
            assert "damaged" in refusal
            assert "restore a backup" in refusal
            outcomes["refused"] += 1
            continue
        right = _open(truth)
        assert _shown(ledger) == _shown(right), f"ledger {seed} shows what was not booked"
        outcomes["mended" if any(log["event"] == "ledger_rebuilt" for log in logs) else "right"] += 1
        ledger.close()
        right.close()
    assert outcomes["refused"] > _LEDGERS / 4, outcomes


def test_damaged_totals_are_recomputed_and_the_log_says_so(tmp_path: Path) -> None:
    left = _end(tmp_path, 2, clean=False)
    truth = tmp_path / "truth"
    shutil.copytree(left, truth)
    sound = _open(truth)
    expected = _shown(sound)
    sound.close()
    connection = sqlite3.connect(left / FILE_NAME)
    connection.execute("update total set requests = requests + 7 where series = (select min(series) from total)")
    connection.commit()
    connection.close()
    with capture_logs() as logs:
        ledger = _open(left)
    assert [log["event"] for log in logs] == ["ledger_checked", "ledger_rebuilt"]
    assert _shown(ledger) == expected
    ledger.close()


@pytest.mark.parametrize(
    ("damage", "table"),
    [
        ("update total set requests = requests + 7 where series = (select min(series) from total)", "total"),
        # No requests can have made such a histogram.
        ("update ttft_histogram set le_1000 = le_1000 - 85", "ttft_histogram"),
        # It would hide a series for ever.
        ("insert into birth (key) values ('[\"s\",9999]')", "birth"),
    ],
    ids=["total", "ttft_histogram", "birth"],
)
def test_damaged_totals_of_a_large_ledger_are_refused(
    tmp_path: Path, damage: str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "LARGEST_SUMMED_BYTES", 0)
    left = _end(tmp_path, 2, clean=False)
    with closing(sqlite3.connect(left / FILE_NAME)) as connection, connection:
        connection.execute(damage)
    with pytest.raises(LedgerCorruptError, match=f"damaged: what the tables {table} hold"):
        _open(left)


@pytest.mark.parametrize("largest", [0, verification.LARGEST_SUMMED_BYTES], ids=["large", "small"])
@pytest.mark.parametrize("seed", range(4))
def test_a_sound_ledger_starts_after_any_end(
    tmp_path: Path, seed: int, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "LARGEST_SUMMED_BYTES", largest)
    for clean in (True, False):
        left = _end(tmp_path / str(clean), seed, clean=clean)
        with capture_logs() as logs:
            _open(left).close()
        assert [log["event"] for log in logs] == [] if clean else ["ledger_checked"]


def test_a_ledger_starts_after_a_kill_while_a_new_account_still_has_to_be_seen_at_0(tmp_path: Path) -> None:
    used, left = tmp_path / "used", tmp_path / "left"
    for each in (used, left):
        each.mkdir()
    ledger = _open(used)
    ledger.take_inventory("p", [_account(1, success=5)])
    ledger.take_inventory("p", [_account(1, success=5), _account(2, success=1)])
    pending = set(ledger.births.pending)
    assert [key[0] for key in pending] == ["a"]
    for file in used.iterdir():
        shutil.copy(file, left)
    ledger.close()
    after = _open(left)
    assert set(after.births.pending) == pending
    after.close()


def test_a_total_that_fell_is_noticed_in_a_ledger_that_also_holds_a_past(tmp_path: Path) -> None:
    """The roll-up sums the past, too, so a total below it may be right: only the entries tell."""
    bench = SnapshotBench(tmp_path)
    bench.request(hours_ago=1)
    bench.poll()
    bench.request()
    bench.poll()
    bench.ledger.close()
    _open(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection, connection:
        assert connection.execute("update total set uncached = uncached - 1 where uncached > 0").rowcount
    with pytest.raises(LedgerCorruptError, match="damaged: what the tables total hold"):
        _open(tmp_path)


def test_an_index_that_does_not_match_its_table_is_noticed(tmp_path: Path) -> None:
    """The usage page would show other failed requests than there are, without any error."""
    left = _end(tmp_path, 2, clean=False)
    with closing(sqlite3.connect(left / FILE_NAME)) as connection, connection:
        connection.execute("pragma writable_schema = on")
        damage = "update sqlite_master set sql = replace(sql, 'code <> ', 'code = ') where name = 'entry_failed'"
        assert connection.execute(damage).rowcount
    with pytest.raises(LedgerCorruptError, match="damaged"):
        _open(left)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param("update quota_window set source = cast(x'35ff' as text)", id="a text that is none"),
        pytest.param("update quota_window set inferred = 65", id="a value that was never stored"),
    ],
)
def test_damaged_windows_are_refused_at_the_start(tmp_path: Path, damage: str) -> None:
    left = _end(tmp_path, 2, clean=True)
    with closing(sqlite3.connect(left / FILE_NAME)) as connection, connection:
        assert connection.execute(damage).rowcount
    with pytest.raises(LedgerCorruptError, match="damaged"):
        _open(left)
