"""``import``: users of another program keep their past months, each request once, and no secret comes along."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from exporter.normalize.pseudonyms import Pseudonyms, load_hash_key
from exporter.simulator.world import CLIENTS, MANAGEMENT_KEY
from tests.benches.booking import GOOD, intake_of, open_ledger, take
from tests.benches.peers import cpa_export_file, cpamp_file, keeper_file
from tests.fakes.planted import secrets
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack.running import exporter_process, flow_in, run_command, secrets_found
from tests.stack.supabase.api import SupabaseApi
from tests.stack.supabase.comparison import waiting
from tests.stack.waiting import wait_until

DAY = 86_400
PLANTED = "sk-planted-in-a-peers-file-4b1d"
HASH_KEY = "planted-hash-key-of-imports"


def test_users_who_switch_keep_their_past(tmp_path: Path, supabase_api: SupabaseApi) -> None:
    """The file has a month, including half of what the exporter has read; counters stay, history and periods grow."""
    demo, data_dir = SteeredProxy(key=MANAGEMENT_KEY), tmp_path / "data"
    traffic = Traffic(seed=21, zone=UTC, shape=demo.shape)
    past = traffic.batch(400, ending=demo.clock.now() - DAY, span_seconds=30 * DAY)
    live = traffic.batch(100, ending=demo.clock.now())
    records = [
        attempt.record | {"client_ip": PLANTED, "user_agent": PLANTED, "endpoint": f"POST /{PLANTED}"}
        for attempt in [*past, *live[:50]]
    ]
    file = keeper_file(tmp_path / "app.db", records)
    demo.publish(live)
    texts: dict[str, str] = {}
    with SteeredServer(demo) as server:
        settings = {
            "SUPABASE_URL": supabase_api.url,
            "SUPABASE_SECRET_KEY": supabase_api.secret_key,
            "EXPORTER_HASH_KEY": HASH_KEY,
        }
        own = {
            **settings,
            "CLIPROXY_URL": server.url,
            "CLIPROXY_MANAGEMENT_KEY": MANAGEMENT_KEY,
            "EXPORTER_DATA_DIR": str(data_dir),
        }

        def command(*more: str) -> tuple[int, str]:
            done = run_command("import", "--from", "keeper", *more, str(file), cwd=tmp_path, **own)
            texts[f"import {more} {len(texts)}"] = done.stdout + done.stderr
            return done.returncode, done.stdout + done.stderr

        with exporter_process(tmp_path, proxy_url=server.url, key=MANAGEMENT_KEY, **settings) as program:
            wait_until(lambda: flow_in(data_dir).booked == 100)
            wait_until(lambda: waiting(data_dir) == 0)
            code, said = command()
            assert (code, "Stop it, import, and start it again" in said) == (1, True)
            code, dry = command("--dry-run")
            assert code == 0, dry
            assert "Would be added: 400. In the ledger already: 50." in dry
            assert dry.endswith("Nothing was written.\n")
            assert flow_in(data_dir).booked == 100
            counted = program.metric("cliproxy_requests_total")
            assert program.stop() == 0

        code, real = command()
        assert code == 0, real
        assert real.splitlines()[:-1] == dry.splitlines()[:-2]
        assert real.endswith("Added: 400. In the ledger already: 50.\n")
        assert "Added: 0. In the ledger already: 450." in command()[1]

        with exporter_process(tmp_path, proxy_url=server.url, key=MANAGEMENT_KEY, **settings) as program:
            wait_until(lambda: waiting(data_dir) == 0)
            assert program.metric("cliproxy_requests_total") == counted
            assert program.metric("cliproxy_exporter_records_backfilled_total") == 400
            texts |= {"page": program.get("/").text, "metrics": program.get("/metrics").text}
            assert program.stop() == 0
        texts |= {"log": "\n".join(program.log), "output": "\n".join(program.out)}

    assert flow_in(data_dir).adds_up
    rows = supabase_api.database.rows
    assert rows("select count(*) as n from usage_records") == [{"n": 500}]
    assert rows("select sum(total_requests)::int as n from daily_stats") == [{"n": _requests(data_dir)}]
    assert len(rows("select stat_date from daily_stats")) > 25
    for row in rows("select tablename as name from pg_tables where schemaname = 'public'"):
        texts[f"table {row['name']}"] = json.dumps(rows(f"select * from {row['name']}"))
    hidden = [*secrets(), PLANTED, HASH_KEY, MANAGEMENT_KEY]
    assert secrets_found(hidden, texts=texts, data_dir=data_dir) == []


def _requests(data_dir: Path) -> int:
    with closing(sqlite3.connect(data_dir / "ledger.sqlite3")) as connection:
        requests: int = connection.execute("select sum(counted) from entry").fetchone()[0]
    return requests


# --- the other files, and what it refuses -----------------------------------------------------------------------------


@contextmanager
def _data(folder: Path, *, read: bool = True) -> Iterator[dict[str, str]]:
    """The settings of an exporter that has read one record of its proxy, or has not read it yet."""
    (folder / "data").mkdir()
    ledger = open_ledger(folder / "data")
    ledger.register("default")
    if read:
        take(intake_of(ledger, "default"), [GOOD])
        ledger.polled("default", at_ms=1_795_000_000_000)
    ledger.close()
    yield {
        "CLIPROXY_MANAGEMENT_KEY": MANAGEMENT_KEY,
        "EXPORTER_DATA_DIR": str(folder / "data"),
        "EXPORTER_PRICES_REFRESH": "false",
    }


def _import(folder: Path, kind: str, file: Path, *more: str, **settings: str) -> tuple[int, str]:
    done = run_command("import", "--from", kind, *more, str(file), cwd=folder, **settings)
    return done.returncode, done.stdout + done.stderr


def _records(number: int) -> list[dict[str, Any]]:
    return [GOOD | {"timestamp": f"2026-10-01T12:{minute:02d}:00Z"} for minute in range(number)]


def test_a_client_of_cpamp_is_known_by_its_configured_key(tmp_path: Path) -> None:
    key = CLIENTS[0].key
    file = cpamp_file(tmp_path / "usage.sqlite", [record | {"api_key": key} for record in _records(3)])
    (tmp_path / "config.yaml").write_text(json.dumps({"aliases": {"clients": [{"alias": "Ann", "key": key}]}}), "utf-8")
    with _data(tmp_path) as settings:
        code, said = _import(tmp_path, "cpamp", file, EXPORTER_CONFIG="config.yaml", **settings)
        assert (code, "Added: 2. In the ledger already: 1." in said) == (0, True), said
    with closing(sqlite3.connect(tmp_path / "data" / "ledger.sqlite3")) as connection:
        pseudonyms = {row[0] for row in connection.execute("select pseudonym from client")}
    assert Pseudonyms(load_hash_key(None, tmp_path / "data" / "hash.key")).of(key) in pseudonyms


def test_the_command_names_what_an_export_of_cpa_lacks(tmp_path: Path) -> None:
    detail = {"timestamp": "2026-10-01T14:00:00.5+08:00", "source": PLANTED, "tokens": {"input_tokens": 1}}
    model = {"total_requests": 9, "details": [detail, {"tokens": PLANTED}, detail | {"timestamp": "yesterday"}]}
    file = cpa_export_file(tmp_path / "usage.json", {"apis": {PLANTED: {"models": {"gpt-5": model}}}})
    with _data(tmp_path) as settings:
        code, said = _import(tmp_path, "cpa-export", file, **settings)
    assert code == 0, said
    assert "2026-10-01          1 new" in said
    assert "Cannot be booked (bad_timestamp), kept as rejected: 1." in said
    assert "Cannot be booked (malformed_record), kept as rejected: 1." in said
    assert "Left out, because only the file's totals have them, without a day: 6." in said
    assert secrets_found([PLANTED], texts={"said": said}, data_dir=tmp_path / "data") == []


def test_our_own_export_can_be_imported_into_another_ledger(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with _data(tmp_path / "old") as settings:
        exported = run_command("export", "--format", "csv", cwd=tmp_path, **settings).stdout
    file = tmp_path / "export.csv"
    line = exported.splitlines()[1]
    file.write_text(
        f"{exported}{line.replace('2026-10-01', '2026-10-02')}\n{line.replace(',default,', ',other,', 1)}\n"
    )
    with _data(tmp_path) as settings:
        code, said = _import(tmp_path, "csv", file, **settings)
    assert code == 0, said
    assert "Added: 1. In the ledger already: 1." in said
    assert "Left out, because they are another proxy's (see --proxy): 1." in said


def test_an_import_before_the_first_read_waits_for_it(tmp_path: Path) -> None:
    file = keeper_file(tmp_path / "app.db", _records(1))
    code, said = _import(
        tmp_path, "keeper", file, EXPORTER_DATA_DIR=str(tmp_path / "data"), CLIPROXY_MANAGEMENT_KEY="k"
    )
    assert (code, "There is no ledger" in said) == (1, True), said
    with _data(tmp_path, read=False) as settings:
        code, said = _import(tmp_path, "keeper", file, "--dry-run", **settings)
    assert (code, "has not read the proxy default yet" in said) == (1, True), said


def test_an_import_before_the_history_is_restored_waits_for_it(tmp_path: Path) -> None:
    file = keeper_file(tmp_path / "app.db", _records(1))
    supabase = {"SUPABASE_URL": "http://127.0.0.1:9", "SUPABASE_SECRET_KEY": "sb_secret_planted"}
    with _data(tmp_path) as settings:
        code, said = _import(tmp_path, "keeper", file, **settings, **supabase)
    assert (code, "has not yet taken over" in said) == (1, True), said


@pytest.mark.parametrize("option", [[], ["--proxy", "c"]])
def test_with_several_proxies_one_must_be_named(option: list[str], tmp_path: Path) -> None:
    file = keeper_file(tmp_path / "app.db", _records(1))
    proxies = [{"name": name, "url": f"http://{name}.example", "management_key": "k"} for name in "ab"]
    (tmp_path / "config.yaml").write_text(json.dumps({"proxies": proxies}), "utf-8")
    code, said = _import(tmp_path, "keeper", file, *option, EXPORTER_CONFIG="config.yaml")
    assert (code, "a, b" in said) == (2, True), said


def test_a_wrong_file_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    file = keeper_file(tmp_path / "app.db", _records(1))
    with _data(tmp_path) as settings:
        before = flow_in(tmp_path / "data")
        code, said = _import(tmp_path, "cpamp", file, **settings)
        assert (code, "Its tables: schema_migrations, usage_events" in said) == (1, True), said
        assert flow_in(tmp_path / "data") == before
