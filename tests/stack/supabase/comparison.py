"""Whether a ledger and its history agree, record by record and day by day."""

import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

from exporter.ledger.columns import OF_COST, OF_RECORD, OF_TOKENS
from exporter.records import Basis, Billing
from tests.stack.running import ledger_file
from tests.stack.supabase.postgres import Database

_PLACE = {name: place for place, name in enumerate((*OF_RECORD[2:], *OF_TOKENS, *OF_COST), start=11)}
"""Where the columns that both have under one name are in the rows that are compared."""


def _listed(table: str) -> str:
    return ", ".join(f"{table}.{name}" for name in _PLACE)


_ENTRIES = f"""
    select e.ts_ms, e.fingerprint, r.provider, r.model, coalesce(m.label, k.label), c.label, p.price, e.basis,
           e.billing, e.live, e.counted, {_listed("e")}
    from entry e join price p on p.id = e.price join series s on s.id = e.series join route r on r.id = s.route
    join proxy x on x.id = r.proxy join client c on c.id = s.client join credential k on k.id = s.credential
    left join credential m on m.id = k.merged_into
    where x.name = ?
"""
_RECORDS = f"""
    select (extract(epoch from r.ts) * 1000)::bigint as ts_ms, r.fingerprint::text, r.provider, r.model, r.credential,
           r.client, p.price, r.basis, r.billing, r.live, r.requests, {_listed("r")}
    from usage_records r join usage_prices p on p.id = r.price
    where r.proxy = '{{proxy}}'
"""


def entries(data_dir: Path, *, proxy: str = "default") -> set[tuple[Any, ...]]:
    """The ledger's entries of a proxy, in the form that ``usage_records`` must have."""
    with ledger_file(data_dir) as connection:
        rows = connection.execute(_ENTRIES, (proxy,)).fetchall()
    return {_as_sent(row) for row in rows}


def records(database: Database, *, proxy: str = "default") -> set[tuple[Any, ...]]:
    """The content of ``usage_records``."""
    rows = database.rows(_RECORDS.format(proxy=proxy))
    found = [(row["ts_ms"], int(row["fingerprint"]), *list(row.values())[2:]) for row in rows]
    assert len(found) == len(set(found))
    return set(found)


def assert_equal(data_dir: Path, database: Database, *, proxy: str = "default") -> int:
    """Raises AssertionError unless records, days and sums equal those of the ledger. Returns the number of records."""
    booked, there = entries(data_dir, proxy=proxy), records(database, proxy=proxy)
    missing, strange = booked - there, there - booked
    assert (len(missing), len(strange)) == (0, 0), f"{sorted(missing)[:2]} {sorted(strange)[:2]}"
    days = _days(booked)
    assert {row["stat_date"]: _day_row(row) for row in database.rows("select * from daily_stats")} == days
    assert _sums(database, "usage_rollups") == _sums(database, "usage_totals") == _totals(booked)
    return len(booked)


def waiting(data_dir: Path, *, proxy: str = "default") -> int:
    """The number of a proxy's entries that the history lacks, as the ledger's file says."""
    statement = (
        "select count(*) from entry e join series s on s.id = e.series join route r on r.id = s.route"
        " join proxy x on x.id = r.proxy where x.name = ? and e.id > x.history_sent"
    )
    with ledger_file(data_dir) as connection:
        number: int = connection.execute(statement, (proxy,)).fetchone()[0]
    return number


def _as_sent(row: tuple[Any, ...]) -> tuple[Any, ...]:
    values = list(row)
    values[7], values[8], values[9] = Basis(row[7]).word, Billing(row[8]).word, bool(row[9])
    return tuple(values)


def _tokens(row: tuple[Any, ...]) -> int:
    return sum(row[_PLACE[name]] for name in ("uncached", "cache_read", "cache_write", "output", "unclassified"))


def _days(booked: set[tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    """Days in UTC: requests, failed, tokens, nano-USD, and the same (without failed) by model."""
    days: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    models: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0, 0]))
    with closing(sqlite3.connect(":memory:")) as calendar:
        for row in booked:
            (day,) = calendar.execute("select date(? / 1000, 'unixepoch')", (row[0],)).fetchone()
            requests, tokens, nano_usd = row[10], _tokens(row), row[_PLACE["nano_usd"]]
            for place, value in enumerate((requests, requests if row[_PLACE["code"]] else 0, tokens, nano_usd)):
                days[day][place] += value
            for place, value in enumerate((requests, tokens, nano_usd)):
                models[day][row[3]][place] += value
    return {day: (*sums, {model: tuple(each) for model, each in models[day].items()}) for day, sums in days.items()}


def _day_row(row: dict[str, Any]) -> tuple[Any, ...]:
    models = {
        name: (each["requests"], each["tokens"], round(each["cost"] * 1e9))
        for name, each in row["breakdown"]["models"].items()
    }
    nano_usd = round(row["estimated_cost_usd"] * 1e9)
    assert row["success_count"] + row["failure_count"] == row["total_requests"]
    return row["total_requests"], row["failure_count"], row["total_tokens"], nano_usd, models


def _sums(database: Database, table: str) -> tuple[int, int, int]:
    (row,) = database.rows(
        f"select coalesce(sum(requests), 0)::bigint as requests, coalesce(sum(failed), 0)::bigint as failed,"
        f" coalesce(sum(nano_usd), 0)::bigint as nano_usd from {table}"
    )
    return row["requests"], row["failed"], row["nano_usd"]


def _totals(booked: set[tuple[Any, ...]]) -> tuple[int, int, int]:
    failed = sum(row[10] for row in booked if row[_PLACE["code"]])
    return sum(row[10] for row in booked), failed, sum(row[_PLACE["nano_usd"]] for row in booked)
