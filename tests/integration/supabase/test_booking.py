"""Records reach Supabase once, however often they are sent; days, roll-ups and totals are their sums."""

import json
import random
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import httpx
import pytest
from postgrest.exceptions import APIError
from supabase import Client

from tests.stack import loopback
from tests.stack.supabase.api import SupabaseApi
from tests.stack.supabase.postgres import Database
from tests.stack.supabase.records import DAY, OWNER, Row, at, record
from tests.stack.supabase.session import SqlError

_SUMMED = "requests, uncached, cache_read, cache_write, output, reasoning, unclassified, nano_usd"


def _claim(database: Database, proxy: str = "home", owner: str = OWNER) -> None:
    assert database.call("exporter_claim", proxy=proxy, owner=owner)["claimed"]


def _book(database: Database, rows: list[Row], proxy: str = "home", owner: str = OWNER, **more: Any) -> dict[str, int]:
    answer: dict[str, int] = database.call("exporter_book", proxy=proxy, owner=owner, rows=rows, **more)
    return answer


def _day(database: Database, day: str = DAY) -> Row:
    (row,) = database.rows(f"select * from daily_stats where stat_date = '{day}'")
    return {name: value for name, value in row.items() if name not in {"id", "stat_date", "updated_at"}}


def _figures(row: Row) -> tuple[int, int, int, int, float]:
    counts = row["total_requests"], row["success_count"], row["failure_count"], row["total_tokens"]
    return (*counts, row["estimated_cost_usd"])


# --- once -------------------------------------------------------------------------------------------------------------


def test_a_day_is_the_sum_of_its_records(database: Database) -> None:
    _claim(database)
    failed = record(2, code="429", uncached=0, cache_read=0, output=0, reasoning=0, nano_usd=0)
    other = record(3, model="o3", client="client-ffff000000", unclassified=5)
    prewarm = record(4, requests=0)

    answer = _book(database, [record(1), failed, other, prewarm])

    assert answer == {"inserted": 4, "known": 0, "refused": 0, "frozen": 0}
    row = _day(database)
    assert _figures(row) == (3, 2, 1, 150 + 0 + 155 + 150, 0.0045)
    gpt = {"requests": 2, "tokens": 300, "cost": 0.003}
    o3 = {"requests": 1, "tokens": 155, "cost": 0.0015}
    assert row["breakdown"] == {
        "models": {
            "gpt-4o": gpt | {"input_tokens": 200, "output_tokens": 100},
            "o3": o3 | {"input_tokens": 100, "output_tokens": 50},
        },
        "endpoints": {
            "client-0a1b2c3d4e": gpt | {"models": {"gpt-4o": gpt}},
            "client-ffff000000": o3 | {"models": {"o3": o3}},
        },
    }


def test_a_batch_that_is_sent_again_changes_nothing(database: Database) -> None:
    _claim(database)
    rows = [record(n) for n in range(5)]
    _book(database, rows)

    def everything() -> list[Any]:
        tables = ("usage_records", "usage_rollups", "usage_totals")
        return [*(database.rows(f"select * from {table} order by 1, 2, 3") for table in tables), _day(database)]

    before = everything()

    assert _book(database, rows) == {"inserted": 0, "known": 5, "refused": 0, "frozen": 0}
    assert everything() == before
    assert _book(database, [*rows[3:], record(9), record(9)]) == {"inserted": 1, "known": 3, "refused": 0, "frozen": 0}
    assert _day(database)["total_requests"] == 6


def test_a_batch_that_arrives_many_times_at_once_is_booked_once(supabase_api: SupabaseApi) -> None:
    _claim(supabase_api.database)
    rows = [record(n) for n in range(200)]

    def send(_: int) -> int:
        with supabase_api.client() as client:
            arguments = {"p_proxy": "home", "p_owner": OWNER, "p_rows": json.dumps(rows)}
            answer: Any = client.rpc("exporter_book", arguments).execute().data
            return int(answer["inserted"])

    with ThreadPoolExecutor(6) as pool:
        inserted = list(pool.map(send, range(12)))

    assert sorted(inserted) == [0] * 11 + [200]
    assert _day(supabase_api.database)["total_requests"] == 200


def test_a_batch_whose_answer_was_lost_is_sent_again_without_harm(supabase_api: SupabaseApi) -> None:
    _claim(supabase_api.database)
    body = {"p_proxy": "home", "p_owner": OWNER, "p_rows": json.dumps([record(n) for n in range(50)])}
    headers = {"apikey": supabase_api.secret_key}
    supabase_api.freeze()
    with loopback.client(timeout=0.2, headers=headers) as impatient, pytest.raises(httpx.ReadTimeout):
        impatient.post(f"{supabase_api.url}/rest/v1/rpc/exporter_book", json=body)
    supabase_api.thaw()  # the server now does what the client has given up

    with supabase_api.client() as client:
        client.rpc("exporter_book", body).execute()

    supabase_api.restart()  # ends everything that is still under way
    assert _day(supabase_api.database)["total_requests"] == 50
    assert supabase_api.database.value("(select sum(requests) from usage_rollups)") == 50


def test_a_batch_killed_in_the_middle_is_there_wholly_or_not_at_all(supabase_api: SupabaseApi) -> None:
    _claim(supabase_api.database)
    database = supabase_api.database

    for n in range(4):
        rows = [record(n * 300 + k) for k in range(300)]
        body = {"p_proxy": "home", "p_owner": OWNER, "p_rows": json.dumps(rows)}
        with supabase_api.client() as client, ThreadPoolExecutor(1) as pool:
            request = pool.submit(client.rpc("exporter_book", body).execute)
            if n % 2:
                database.value("1")  # a moment about as long as a booking
            supabase_api.kill()
            request.exception()
        supabase_api.start()
        there = database.value(f"(select count(*) from usage_records where ts >= to_timestamp({at(DAY) // 1000}))")
        assert there in {n * 300, (n + 1) * 300}
        with supabase_api.client() as client:
            client.rpc("exporter_book", body).execute()
        sums = database.value("(select sum(requests) from usage_rollups)"), _day(database)["total_requests"]
        assert sums == ((n + 1) * 300, (n + 1) * 300)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        pytest.param({"day": None}, "23502", id="no day"),
        pytest.param({"day": "2026-11-27"}, "23514", id="a day that is nowhere at that time"),
        pytest.param({"nano_usd": -1}, "23514", id="a negative cost"),
        pytest.param({"billing": "free"}, "23514", id="an unknown billing"),
        pytest.param({"output": "many"}, "22P02", id="no number"),
        pytest.param({"model": None}, "23502", id="no model"),
    ],
)
def test_a_batch_with_a_bad_row_is_refused_whole(
    client: Client, supabase_api: SupabaseApi, bad: Row, code: str
) -> None:
    _claim(supabase_api.database)
    rows = [record(1), record(2, **bad)]

    with pytest.raises(APIError) as refused:
        client.rpc("exporter_book", {"p_proxy": "home", "p_owner": OWNER, "p_rows": json.dumps(rows)}).execute()

    assert refused.value.code == code
    assert supabase_api.database.rows("select 1 from usage_records union all select 1 from usage_rollups") == []


def test_identities_of_64_bits_and_large_sums_are_exact(client: Client, supabase_api: SupabaseApi) -> None:
    _claim(supabase_api.database)
    extremes = [str(2**63 - 1), str(2**63 - 2), str(-(2**63)), "0"]
    cost = 9_007_199_254_740_993  # no float equals this number
    rows = [record(fingerprint=each, nano_usd=str(cost), ts_ms=at(DAY) + 86_399_999) for each in extremes]

    client.rpc("exporter_book", {"p_proxy": "home", "p_owner": OWNER, "p_rows": json.dumps(rows)}).execute()

    total = supabase_api.database.value("(select estimated_cost_usd::text from daily_stats)")
    assert Fraction(total) == Fraction(4 * cost, 10**9)
    arguments = {"p_proxy": "home", "p_ts_ms": at(DAY), "p_fingerprint": "0"}
    back: Any = client.rpc("exporter_records", arguments).execute().data
    assert [row["fingerprint"] for row in back] == sorted(extremes, key=int)
    assert {row["ts_ms"] for row in back} == {at(DAY) + 86_399_999}


def test_records_come_back_page_by_page_as_they_were_sent(database: Database) -> None:
    _claim(database)
    sent = [record(n // 3, fingerprint=str(n), code="500" if n % 2 else "") for n in range(25)]
    _book(database, sent)

    back: list[Row] = []
    while True:
        after = back[-1] if back else {"ts_ms": 0, "fingerprint": "0"}
        arguments = f"'home', {after['ts_ms']}, '{after['fingerprint']}', 10"
        page = database.rows(f"select * from exporter_records({arguments})", role="service_role")
        if not page:
            break
        back += page

    assert back == sent


# --- several exporters ------------------------------------------------------------------------------------------------


def test_a_name_belongs_to_the_exporter_that_claims_it_first(database: Database) -> None:
    _claim(database)
    second = {"proxy": "home", "owner": "another"}

    assert database.call("exporter_claim", **second)["claimed"] is False
    assert database.call("exporter_claim", **second, stale_seconds=900)["claimed"] is False, "it was seen just now"
    for function in ("exporter_book", "exporter_save_quotas"):
        with pytest.raises(SqlError, match="proxy_not_claimed"):
            database.call(function, proxy="home", owner="another", rows=[])
    _claim(database)
    assert _book(database, [record()])["inserted"] == 1


def test_if_many_claim_a_name_at_once_one_gets_it(supabase_api: SupabaseApi) -> None:
    def claim(n: int) -> bool:
        with supabase_api.client() as client:
            arguments = {"p_proxy": "home", "p_owner": f"owner-{n}"}
            answer: Any = client.rpc("exporter_claim", arguments).execute().data
            return bool(answer["claimed"])

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(claim, range(12))) == [False] * 11 + [True]


def test_another_exporter_can_claim_a_stale_or_returned_name(database: Database) -> None:
    _claim(database)
    database.run("update exporter_proxies set seen_at = now() - interval '16 minutes'")

    taken = database.call("exporter_claim", proxy="home", owner="second", stale_seconds=900)

    assert taken["claimed"] is True
    with pytest.raises(SqlError, match="proxy_not_claimed"):
        _book(database, [record()])
    assert database.call("exporter_release", proxy="home", owner=OWNER) is False
    assert database.call("exporter_release", proxy="home", owner="second") is True
    _claim(database)


def test_two_exporters_add_up_in_one_day_and_neither_overwrites_the_other(supabase_api: SupabaseApi) -> None:
    database = supabase_api.database
    proxies = {"home": "one", "office": "two"}
    for proxy, owner in proxies.items():
        _claim(database, proxy, owner)

    def send(batch: tuple[str, int]) -> None:
        proxy, n = batch
        days = [DAY, "2026-11-23"] if n % 2 else ["2026-11-23", DAY]
        rows = [record(n * 2 + k, day=day, ts_ms=at(day) + n * 2 + k) for k, day in enumerate(days)]
        with supabase_api.client() as client:
            arguments = {"p_proxy": proxy, "p_owner": proxies[proxy], "p_rows": json.dumps(rows)}
            client.rpc("exporter_book", arguments).execute()

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(send, [(proxy, n) for n in range(20) for proxy in proxies]))

    assert [_day(database, day)["total_requests"] for day in (DAY, "2026-11-23")] == [40, 40]


def test_an_alias_is_shown_from_the_next_booking_on_and_never_splits_a_client(database: Database) -> None:
    _claim(database)
    label = {"kind": "client", "label": "client-0a1b2c3d4e"}
    _book(database, [record(1)], labels=[label | {"shown": "client-0a1b2c3d4e"}])

    _book(database, [record(2)], labels=[label | {"shown": "team/alice"}])

    endpoints = _day(database)["breakdown"]["endpoints"]
    assert {name: each["requests"] for name, each in endpoints.items()} == {"team-alice": 2}
    database.call("exporter_snapshot", proxy="home", owner=OWNER, at=f"{DAY} 12:05Z")
    assert database.rows("select api_endpoint, request_count from model_usage") == [
        {"api_endpoint": "team-alice", "request_count": 2}
    ]


# --- deleting ---------------------------------------------------------------------------------------------------------


def test_a_day_whose_records_were_deleted_keeps_its_figures(database: Database) -> None:
    for proxy in ("home", "office"):
        _claim(database, proxy)
    old = {"day": "2026-11-01", "ts_ms": at("2026-11-01 08:00")}
    _book(database, [record(n, **old) for n in range(7)] + [record(8)])
    before = _day(database, "2026-11-01")

    steps = [database.call("exporter_prune", proxy="home", owner=OWNER, before="2026-11-10", limit=5) for _ in "123"]

    assert steps == [5, 2, 0]
    assert database.value("(select count(*) from usage_records)") == 1
    assert database.value("(select sum(requests) from usage_rollups)") == 8
    late = [record(n, **old) for n in range(9)]
    assert _book(database, late) == {"inserted": 0, "known": 0, "refused": 9, "frozen": 0}
    assert _book(database, late[:1], proxy="office") == {"inserted": 1, "known": 0, "refused": 0, "frozen": 1}
    assert _day(database, "2026-11-01") == before


def test_a_proxy_can_be_forgotten(database: Database) -> None:
    for proxy in ("home", "office"):
        _claim(database, proxy)
        _book(database, [record(1)], proxy=proxy, checkpoint={"state": {"limits": {}}})

    database.call("exporter_forget_proxy", proxy="home")

    assert _day(database)["total_requests"] == 1
    tables = ("exporter_proxies", "usage_records", "usage_rollups", "usage_totals", "exporter_checkpoints")
    left = [database.value(f"(select count(*) from {table})") for table in tables]
    assert left == [1, 1, 1, 1, 1]


# --- what a lost ledger comes back from -------------------------------------------------------------------------------


def test_a_checkpoint_is_stored_with_its_records_or_not_at_all(database: Database) -> None:
    _claim(database)
    series = {"client": "0123456789abcdef", "model": "gpt-4o", "tokens": 9, "length": None, "sha256": None}
    first = {"state": {"proxy": {"snapshot_ms": 1}}, "baselines": [series | {"requests": 1}]}
    _book(database, [record(1)], checkpoint=first)

    with pytest.raises(SqlError):
        _book(database, [record(2, day=None)], checkpoint={"state": {"proxy": {"snapshot_ms": 2}}})

    assert database.rows("select kind, value from exporter_checkpoints") == [
        {"kind": "proxy", "value": {"snapshot_ms": 1}}
    ]
    more = [series | {"model": "o3", "requests": 5}]
    _book(database, [], checkpoint={"baselines": more, "gone": [{"client": series["client"], "model": "gpt-4o"}]})
    assert database.rows("select model, requests from exporter_baselines") == [{"model": "o3", "requests": 5}]
    whole = {"baselines": [series | {"requests": 7}], "whole": True}
    database.call("exporter_save_checkpoint", proxy="home", owner=OWNER, checkpoint=whole)
    assert database.rows("select model, requests from exporter_baselines") == [{"model": "gpt-4o", "requests": 7}]


def test_of_two_readings_of_a_quota_the_later_one_stays(database: Database) -> None:
    _claim(database)
    reading = {
        "credential": "claude-0123456789",
        "quota": "5h",
        "scope": "",
        "window_seconds": 18_000,
        "resets_ms": at(f"{DAY} 15:00"),
        "status": "allowed",
        "source": "header",
        "inferred": False,
        "early_resets": 0,
    }

    for minute, used in ((10, 0.2), (30, 0.5), (20, 0.3)):
        rows = [reading | {"used_ratio": used, "observed_ms": at(f"{DAY} 12:{minute}")}]
        database.call("exporter_save_quotas", proxy="home", owner=OWNER, rows=rows)

    (kept,) = database.rows("select used_ratio, observed_at, resets_at from quota_readings")
    assert kept["used_ratio"] == 0.5
    assert kept["observed_at"] == f"{DAY}T12:30:00+00:00"
    assert kept["resets_at"] == f"{DAY}T15:00:00+00:00"


# --- against a recomputation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_after_any_order_of_bookings_everything_adds_up(database: Database, seed: int) -> None:
    dice = random.Random(seed)
    proxies = ("home", "office")
    for proxy in proxies:
        _claim(database, proxy)
    days = ["2026-11-22", "2026-11-23", DAY]
    pools = {
        proxy: [
            record(
                n,
                ts_ms=at(day) + dice.randrange(86_400_000),
                day=day,
                model=dice.choice(["gpt-4o", "o3", ""]),
                client=dice.choice(["client-1", "client-2", "anonymous"]),
                billing=dice.choice(["metered", "subscription"]),
                requests=dice.choice([0, 1, 1, 1, 40]),
                code=dice.choice(["", "", "429"]),
                uncached=dice.randrange(10_000),
                nano_usd=dice.randrange(10**10),
            )
            for n, day in enumerate(dice.choices(days, k=60))
        ]
        for proxy in proxies
    }
    booked: dict[tuple[str, str], Row] = {}

    for _ in range(14):
        proxy = dice.choice(proxies)
        rows = dice.sample(pools[proxy], dice.randrange(1, 25))
        new = {(proxy, row["fingerprint"]): row for row in rows}
        assert _book(database, rows, proxy=proxy)["inserted"] == len(new.keys() - booked.keys())
        booked |= new

    expected: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for row in booked.values():
        tokens = row["uncached"] + row["cache_read"] + row["cache_write"] + row["output"] + row["unclassified"]
        figures = row["requests"], row["requests"] * bool(row["code"]), tokens, row["nano_usd"]
        expected[row["day"]] = [a + b for a, b in zip(expected[row["day"]], figures, strict=True)]
    assert {row["stat_date"] for row in database.rows("select stat_date from daily_stats")} == expected.keys()
    for day, (requests, failed, tokens, nano) in expected.items():
        found = _day(database, day)
        assert _figures(found) == (requests, requests - failed, failed, tokens, nano / 10**9)
        for part in (found["breakdown"]["models"], found["breakdown"]["endpoints"]):
            assert sum(each["requests"] for each in part.values()) == requests
            assert sum(each["tokens"] for each in part.values()) == tokens
            assert sum(round(each["cost"] * 10**9) for each in part.values()) == nano
    sums = ", ".join(f"sum({name}) as {name}" for name in _SUMMED.split(", "))
    records, rollups = (database.rows(f"select {sums} from {table}") for table in ("usage_records", "usage_rollups"))
    assert records == rollups
