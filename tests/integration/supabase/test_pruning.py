"""Old records leave Supabase; their sums stay, and so do the predecessor's rows."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr

from exporter.errors import HistoryError
from exporter.history.pruning import prune_task
from exporter.history.supabase_client import Remote
from exporter.ledger.ledger import Ledger
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.booking import GOOD, intake_of, open_ledger, take
from tests.benches.history import Start
from tests.benches.program import running, settings_for
from tests.fakes.guarding import TurnableClock
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack.running import ledger_file
from tests.stack.supabase.api import SupabaseApi
from tests.stack.supabase.comparison import records
from tests.stack.supabase.gate import Gate
from tests.stack.supabase.postgres import Database
from tests.stack.supabase.records import OWNER, Row, record
from tests.stack.waiting import wait_until

_NOW = datetime(2026, 11, 24, 15, 50, tzinfo=UTC)
_SUMS = ("usage_rollups", "usage_totals", "daily_stats")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger whose proxy was used at ``_NOW``."""
    opened = open_ledger(tmp_path)
    take(intake_of(opened, clock=TurnableClock(_NOW.timestamp())), [{**GOOD, "timestamp": _NOW.isoformat()}])
    yield opened
    opened.close()


@pytest.fixture
def remote(supabase_api: SupabaseApi) -> Iterator[Remote]:
    made = Remote(supabase_api.url, supabase_api.secret_key)
    yield made
    made.close()


def _prune(remote: Remote, ledger: Ledger, *, years_ahead: int = 0, stops_after: int = 1000, zone: str = "UTC") -> None:
    """Run the task for the proxy home until it is done, or this number of times."""
    clock = TurnableClock((_NOW + timedelta(days=365 * years_ahead)).timestamp())
    task = prune_task(remote, ledger, clock, zone=ZoneInfo(zone), days=365)
    while task.run(OWNER, ["home"]) and stops_after > 1:
        stops_after -= 1


def _at(days: float) -> Row:
    """A record of this many days ago."""
    moment = _NOW - timedelta(days=days)
    return record(ts_ms=round(moment.timestamp() * 1000), day=moment.date().isoformat())


def _book(database: Database, rows: list[Row], proxy: str = "home", owner: str = OWNER) -> dict[str, int]:
    database.call("exporter_claim", proxy=proxy, owner=owner)
    answer: dict[str, int] = database.call("exporter_book", proxy=proxy, owner=owner, rows=rows)
    return answer


def _days_left(database: Database, proxy: str = "home") -> list[str]:
    rows = database.rows(f"select distinct day from usage_records where proxy = '{proxy}' order by 1")
    return [row["day"] for row in rows]


def _sums(database: Database) -> list[Any]:
    return [database.rows(f"select * from {table} order by 1, 2, 3") for table in _SUMS]


def test_old_records_go_and_their_sums_stay(supabase_api: SupabaseApi, remote: Remote, ledger: Ledger) -> None:
    database = supabase_api.database
    _book(database, [_at(days) for days in (400, 366, 365, 0)])
    _book(database, [_at(400)], proxy="other", owner="another")
    before = _sums(database)

    _prune(remote, ledger)

    assert _days_left(database) == ["2025-11-24", "2026-11-24"]
    assert _days_left(database, "other") == ["2025-10-20"], "another exporter's records are its own business"
    assert _sums(database) == before

    # A late record for such a day would become its whole sum.
    assert _book(database, [_at(366.1), _at(399.5)]) == {"inserted": 0, "known": 0, "refused": 2, "frozen": 0}
    assert _sums(database) == before


def test_old_records_of_a_proxy_that_left_the_settings_go_too(
    supabase_api: SupabaseApi, remote: Remote, ledger: Ledger
) -> None:
    database = supabase_api.database
    _book(database, [_at(days) for days in (400, 0)], proxy="renamed")
    database.call("exporter_release", proxy="renamed", owner=OWNER)
    _book(database, [_at(0)])

    _prune(remote, ledger)

    assert _days_left(database, "renamed") == ["2026-11-24"]
    assert database.value("(select given_back from exporter_proxies where name = 'renamed')")


def test_a_name_is_given_back_even_if_an_answer_gets_lost_while_it_is_pruned(
    supabase_api: SupabaseApi, gate: Gate, ledger: Ledger
) -> None:
    database = supabase_api.database
    _book(database, [_at(400)], proxy="renamed")
    database.call("exporter_release", proxy="renamed", owner=OWNER)
    _book(database, [_at(0)])
    remote = Remote(gate.url, supabase_api.secret_key)
    gate.fault_of = lambda path, body: "answer_lost" if "prune" in path and b"renamed" in body else ""
    with pytest.raises(HistoryError):
        _prune(remote, ledger)
    gate.fault_of = lambda _path, _body: ""

    _prune(remote, ledger)

    assert _days_left(database, "renamed") == []
    assert database.value("(select given_back from exporter_proxies where name = 'renamed')")
    remote.close()


def test_days_follow_the_exporters_time_zone(supabase_api: SupabaseApi, remote: Remote, ledger: Ledger) -> None:
    _book(supabase_api.database, [_at(365)])

    _prune(remote, ledger, zone="Asia/Tokyo")  # it is the 25th there

    assert _days_left(supabase_api.database) == []


def test_old_snapshots_go_except_those_of_the_predecessor(
    supabase_api: SupabaseApi, remote: Remote, ledger: Ledger
) -> None:
    database = supabase_api.database
    database.run(
        "insert into usage_snapshots (collected_at, total_requests) values ('2025-01-01 00:00Z', 5);"
        "insert into model_usage (snapshot_id, api_endpoint, model_name) select id, 'k', 'm' from usage_snapshots;"
    )
    _book(database, [_at(100)])
    for days in (91, 89.9, 0):
        moment = (_NOW - timedelta(days=days)).isoformat()
        assert database.call("exporter_snapshot", proxy="home", owner=OWNER, at=moment)

    _prune(remote, ledger)

    snapshots = database.rows("select collected_at::date as day, slot from usage_snapshots order by 1")
    assert [row["day"] for row in snapshots] == ["2025-01-01", "2026-08-26", "2026-11-24"]
    assert snapshots[0]["slot"] is None
    assert database.value("(select count(distinct snapshot_id) from model_usage)") == 3


def test_a_wrong_clock_deletes_nothing(supabase_api: SupabaseApi, remote: Remote, ledger: Ledger) -> None:
    database = supabase_api.database
    _book(database, [_at(300), _at(0)])
    assert database.call("exporter_snapshot", proxy="home", owner=OWNER, at=_NOW.isoformat())

    _prune(remote, ledger, years_ahead=10)

    assert len(_days_left(database)) == 2
    assert database.value("(select count(*) from usage_snapshots)") == 1


def test_pruning_continues_until_all_are_gone_unless_it_is_stopped(
    supabase_api: SupabaseApi, remote: Remote, ledger: Ledger
) -> None:
    database = supabase_api.database
    _book(database, [_at(400)])
    columns = (
        "day, provider, model, credential, client, price, basis, billing, live, requests, code, unpriced, latency_ms,"
        " ttft_ms, uncached, cache_read, cache_write, output, reasoning, unclassified, nano_usd"
    )
    database.run(
        f"insert into usage_records (proxy, ts, fingerprint, {columns})"
        f" select proxy, ts + n * interval '1 ms', n, {columns} from usage_records, generate_series(1, 6000) n"
    )

    def left() -> int:
        number: int = database.value("(select count(*) from usage_records)")
        return number

    _prune(remote, ledger, stops_after=1)
    assert 0 < left() < 6001
    _prune(remote, ledger)
    assert left() == 0


def test_the_exporter_prunes_by_its_setting(supabase_api: SupabaseApi, tmp_path: Path) -> None:
    database = supabase_api.database
    with SteeredServer(SteeredProxy(key=MANAGEMENT_KEY)) as server:
        proxy = server.proxy
        now = proxy.clock.now()
        for ending in (now - 5 * 86_400, now):
            proxy.publish(Traffic(seed=int(ending), zone=proxy.zone, shape=proxy.shape).batch(20, ending=ending))
        settings = settings_for(
            tmp_path / "data",
            proxy_url=server.url,
            key=MANAGEMENT_KEY,
            supabase_url=supabase_api.url,
            supabase_secret_key=SecretStr(supabase_api.secret_key),
        )
        before = (datetime.fromtimestamp(now, UTC) - timedelta(days=2)).date().isoformat()
        all_records = "(select count(*) from usage_records)"
        with running(settings):
            wait_until(lambda: database.value(all_records), lambda number: number == 40)
        with running(settings.model_copy(update={"exporter_history_days": 2})):
            wait_until(lambda: database.value(all_records), lambda number: number == 20)

    assert database.value(f"(select count(*) from usage_records where day < '{before}')") == 0
    assert database.value(f"(select count(*) from daily_stats where stat_date < '{before}')") > 0


def test_a_restored_ledger_has_the_sums_of_a_day_that_was_deleted_by_an_exporter_far_in_the_west(
    start: Start, supabase_api: SupabaseApi
) -> None:
    """There, the morning of a day in UTC belongs to the day before."""
    database = supabase_api.database
    lost = start()
    lost.book(3)
    assert lost.work() == "ok"
    moment = datetime.fromtimestamp(lost.clock.now(), UTC)
    assert moment.hour < 12
    database.run("update usage_records set day = day - 1")
    owner = database.value("(select owner from exporter_proxies)")
    database.call("exporter_prune", proxy="default", owner=owner, before=moment.date().isoformat())
    assert records(database) == set()
    lost.close()
    database.run("update exporter_proxies set seen_at = now() - interval '16 minutes'")

    restored = start("two", clock=lost.clock)
    assert restored.work(10) == "ok"

    with ledger_file(restored.data_dir) as connection:
        assert connection.execute("select sum(requests) from rollup").fetchone() == (3,)
