"""What the predecessor's front end reads before, on and after the day of the switch, with its own queries.

It reads as ``anon``, so its user has run the optional file. The tests repeat its rules for derived figures: deltas of
cumulative counters, and cards and charts from ``daily_stats``.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from supabase import Client

from tests.benches.booking import PSEUDONYMS
from tests.benches.history import HistoryBench
from tests.fakes.guarding import TurnableClock
from tests.stack.supabase import eras
from tests.stack.supabase.api import SupabaseApi
from tests.stack.supabase.eras import RAW_KEY
from tests.stack.supabase.postgres import CHECKOUT, Postgres

_ANON_READ = (CHECKOUT / "supabase" / "optional" / "anon_read.sql").read_text(encoding="utf-8")
_DAY, _HOUR = 86_400, 3600
_SWITCH = datetime(2026, 11, 1, 10, 20, tzinfo=UTC).timestamp()
"""Five minutes after the last poll of the predecessor."""

Row = dict[str, Any]


@pytest.fixture(scope="module")
def front_end(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The front end's client, on a project that was switched and then used for two more days."""
    with postgres.database("old_project") as database:
        eras.make(database, "B with the summary of credentials", filled=True)
        database.migrate()
        database.run(_ANON_READ)
        api = SupabaseApi(database)
        try:
            _use(tmp_path_factory.mktemp("exporter"), api)
            with api.client(api.publishable_key) as client:
                yield client
        finally:
            api.kill()


def _use(folder: Path, api: SupabaseApi) -> None:
    """Requests on the day before the switch (read late), on its day, and on the two days after it."""
    clock = TurnableClock(now=_SWITCH)
    bench = HistoryBench(folder, url=api.url, key=api.secret_key, clock=clock)
    try:
        bench.book(6, model="gpt-4o", timestamp="2026-10-31T12:00:00Z")
        bench.book(4, model="gpt-4o", api_key=RAW_KEY)
        assert bench.work() == "ok"
        bench.book(2, model="claude-opus-4-6", failed=True, fail={"status_code": 500})
        assert bench.work(_HOUR) == "ok"
        for day in (1, 2):
            clock.advance(_DAY - clock.now() % _DAY + 9 * _HOUR)
            for _ in range(3):
                bench.book(day, model="gpt-4o", api_key=RAW_KEY)
                bench.book(1, model="claude-opus-4-6")
                assert bench.work(_HOUR) == "ok"
    finally:
        bench.close()


def _rows(query: Any) -> list[Row]:
    rows: list[Row] = query.execute().data
    return rows


def _days(client: Client, start: str, end: str | None = None) -> dict[str, Row]:
    """Query 4: the cards, the daily chart, and all charts by model and key."""
    query = client.table("daily_stats").select(
        "stat_date, total_requests, success_count, failure_count, total_tokens, estimated_cost_usd, breakdown"
    )
    query = query.gte("stat_date", start)
    if end is not None:
        query = query.lt("stat_date", end)
    return {row["stat_date"]: row for row in _rows(query)}


def _snapshots(client: Client, start: str, end: str) -> list[Row]:
    """Queries 2 and 3: the snapshots of a span, and the last one before it."""
    columns = "id, collected_at, total_requests, success_count, failure_count, total_tokens"
    embedded = f"{columns}, model_usage(model_name, request_count, total_tokens, estimated_cost_usd)"
    table = client.table("usage_snapshots")
    inside = table.select(embedded).gte("collected_at", start).lt("collected_at", end).order("collected_at")
    before = table.select(embedded).lt("collected_at", start).order("collected_at", desc=True).limit(1)
    return [*_rows(before), *_rows(inside)]


def _hourly(rows: list[Row]) -> tuple[Counter[int], Counter[str]]:
    """Requests by hour, and by model, by the front end's rules for deltas."""
    hours: Counter[int] = Counter()
    models: Counter[str] = Counter()
    for previous, current in pairwise(rows):
        hour = datetime.fromisoformat(current["collected_at"]).hour
        hours[hour] += max(0, current["total_requests"] - previous["total_requests"])
        earlier = {each["model_name"]: each["request_count"] for each in previous["model_usage"]}
        for each in current["model_usage"]:
            before = earlier.get(each["model_name"], 0)
            count = each["request_count"]
            models[each["model_name"]] += count - before if count >= before else count
    return hours, models


def test_the_newest_snapshot_shows_when_it_was_updated(front_end: Client) -> None:
    table = front_end.table("usage_snapshots")
    (newest,) = _rows(table.select("*").order("collected_at", desc=True).limit(1))

    assert newest["collected_at"].startswith("2026-11-03T12:00")
    assert newest["raw_data"].keys() == {"usage"}


def test_days_before_the_switch_stay_unchanged(front_end: Client) -> None:
    (day,) = _days(front_end, "2026-10-31", "2026-11-01").values()

    assert (day["total_requests"], day["success_count"], day["failure_count"]) == (10, 9, 1)
    assert (day["total_tokens"], day["estimated_cost_usd"]) == (1000, 1.5)


def test_the_day_of_the_switch_adds_up_both_programs(front_end: Client) -> None:
    (day,) = _days(front_end, "2026-11-01", "2026-11-02").values()

    assert (day["total_requests"], day["success_count"], day["failure_count"]) == (20 + 6, 18 + 4, 2 + 2)
    models = {name: each["requests"] for name, each in day["breakdown"]["models"].items()}
    assert models == {"gpt-4o": 20 + 4, "claude-opus-4-6": 2}
    hours, by_model = _hourly(_snapshots(front_end, "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"))
    assert hours == {10: 3 + 4, 11: 2}
    assert by_model == {"gpt-4o": 4, "claude-opus-4-6": 2}


def test_days_after_the_switch_are_the_exporters(front_end: Client) -> None:
    days = _days(front_end, "2026-11-02")

    assert {name: day["total_requests"] for name, day in days.items()} == {"2026-11-02": 6, "2026-11-03": 9}
    last = days["2026-11-03"]
    models = {name: (each["requests"], each["tokens"]) for name, each in last["breakdown"]["models"].items()}
    assert models == {"gpt-4o": (6, 660), "claude-opus-4-6": (3, 330)}
    cost = sum(each["cost"] for each in last["breakdown"]["models"].values())
    assert cost == pytest.approx(last["estimated_cost_usd"])
    assert cost > 0
    keys = {name: each["requests"] for name, each in last["breakdown"]["endpoints"].items()}
    masked = f"client-{PSEUDONYMS.of(RAW_KEY)[:10]}"
    assert keys[masked] == 6
    assert all("/" not in name for name in keys), "the front end shows what follows the last slash"
    hours, by_model = _hourly(_snapshots(front_end, "2026-11-03T00:00:00Z", "2026-11-04T00:00:00Z"))
    assert hours == {10: 3, 11: 3, 12: 3}
    assert by_model == {"gpt-4o": 6, "claude-opus-4-6": 3}


def test_cards_of_a_month_add_up_over_the_switch(front_end: Client) -> None:
    days = _days(front_end, "2026-10-04").values()

    assert sum(day["total_requests"] for day in days) == 10 + 26 + 6 + 9
    assert sum(day["total_tokens"] for day in days) == 1000 + (2000 + 6 * 110) + 6 * 110 + 9 * 110


def test_without_a_breakdown_it_falls_back_to_the_rows_of_snapshots(front_end: Client) -> None:
    last = _snapshots(front_end, "2026-11-03T00:00:00Z", "2026-11-04T00:00:00Z")[-1]
    columns = "snapshot_id, model_name, api_endpoint, request_count, input_tokens, output_tokens, total_tokens"
    rows = _rows(front_end.table("model_usage").select(columns).in_("snapshot_id", [last["id"]]).limit(100_000))

    counts = {(row["api_endpoint"], row["model_name"]): row["request_count"] for row in rows}
    masked = f"client-{PSEUDONYMS.of(RAW_KEY)[:10]}"
    assert counts[masked, "gpt-4o"] == 7 + 4 + 3 + 6, "goes on from the predecessor's count of this key"
    assert all(row["total_tokens"] >= row["input_tokens"] + row["output_tokens"] for row in rows)


def test_the_diagnosis_page_counts_its_tables(front_end: Client) -> None:
    for table in ("usage_snapshots", "model_usage", "daily_stats", "model_pricing"):
        counted = front_end.table(table).select("*", count="exact", head=True).execute()  # type: ignore[arg-type]
        assert counted.count, table
