"""Single requests: the last failed ones and the most expensive ones of a span, from a plain scan of all entries."""

import random
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exporter.ledger.database import FILE_NAME
from exporter.ledger.schema import RESTORED
from exporter.ledger.store.checksums import number_of_row
from exporter.ledger.views.usage import read_requests
from tests.benches.usage import UsageBench, usage_bench

_NOW_MS = int(datetime(2026, 11, 24, 12, 0, tzinfo=UTC).timestamp() * 1000)
_DAY_MS = 86_400_000


@pytest.fixture
def bench(tmp_path: Path) -> UsageBench:
    draw = random.Random(1)
    bench = usage_bench(tmp_path, now=_NOW_MS / 1000, zone=UTC)
    bench.book(*(bench.record(_NOW_MS - draw.randrange(20 * _DAY_MS), draw) for _ in range(500)))
    return bench


@pytest.mark.parametrize("days", [1, 7, 30])
@pytest.mark.parametrize("pruned", ["nothing", "old ones", "old ones that were sent"])
def test_requests_equal_those_of_the_entries(bench: UsageBench, tmp_path: Path, days: int, pruned: str) -> None:
    since_ms = _NOW_MS - days * _DAY_MS
    if pruned != "nothing":
        with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection, connection:
            connection.create_function("number_of_row", -1, number_of_row, deterministic=True)
            connection.execute(f"update proxy set history_sent = 250, history_stage = {RESTORED}")
        bench.ledger.retention.prune(
            entries_before_ms=_NOW_MS - 5 * _DAY_MS - 400_000,
            rejected_before_ms=0,
            stopping=lambda: False,
            sent_only=pruned == "old ones that were sent",
        )
    some = [id_ for id_ in bench.ledger.name_store.series if id_ % 3]
    with bench.ledger.reading() as connection:
        failed, dearest = read_requests(connection, dict.fromkeys(some, 0), since_ms, _NOW_MS, most=10)
        entries = connection.execute(
            "select ts_ms, series, code, nano_usd from entry where ts_ms >= ? and ts_ms < ? and counted",
            (since_ms, _NOW_MS),
        ).fetchall()

    of_some = [entry for entry in entries if entry[1] in some]
    last = sorted((entry for entry in of_some if entry[2]), reverse=True)[:10]
    assert [(each.ts_ms, each.code) for each in failed] == [(ts_ms, code) for ts_ms, _, code, _ in last]
    assert [each.nano_usd for each in dearest] == sorted((entry[3] for entry in of_some), reverse=True)[:10]


def test_without_series_there_are_no_requests(bench: UsageBench) -> None:
    with bench.ledger.reading() as connection:
        assert read_requests(connection, {}, 0, _NOW_MS, most=10) == ([], [])


def test_failures_are_found_by_their_index(bench: UsageBench) -> None:
    with bench.ledger.reading() as connection:
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        read_requests(connection, {1: 0}, 0, _NOW_MS, most=10)
        connection.set_trace_callback(None)
        (failed,) = [text for text in statements if "code <> ''" in text]
        plan = " ".join(str(row) for row in connection.execute(f"explain query plan {failed}"))

    assert "entry_failed" in plan
