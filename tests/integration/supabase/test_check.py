"""``check-config --connect`` says what is wrong with a Supabase project and what to do, and changes nothing there."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from exporter.history.claims import owner_of
from exporter.history.predecessor.raw_key_scan import PLACES
from exporter.history.preflight import FUNCTIONS, SCHEMA_VERSION, TABLES, Finding, check_project
from exporter.history.supabase_client import Remote
from exporter.ledger.ledger import Ledger
from exporter.ledger.schema import RESTORED
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.booking import open_ledger
from tests.fakes.guarding import TurnableClock
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.stack.loopback import free_port
from tests.stack.running import run_command
from tests.stack.supabase import eras
from tests.stack.supabase.api import SupabaseApi
from tests.stack.supabase.eras import RAW_KEY
from tests.stack.supabase.postgres import CHECKOUT, MIGRATIONS, Database, Postgres
from tests.stack.supabase.records import OWNER, at, record

_SWITCH = "2026-11-01"
_SIGNS = {"home": "the sign of this proxy"}
_GOOD = f"tables and functions of version {SCHEMA_VERSION} are there, and the key may use them"
_NOT_ON_ITS_OWN = {  # other functions call these, people do, or the exporter does before anything else
    "exporter_schema_version",
    "exporter_usd",
    "exporter_hold",
    "exporter_replace",
    "exporter_day_sums",
    "exporter_recompute",
    "exporter_release",
    "exporter_forget_proxy",
}


def _clock(text: str) -> TurnableClock:
    """A clock that stands still."""
    return TurnableClock(at(text) / 1000)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A new ledger with a proxy named home."""
    opened = open_ledger(tmp_path)
    opened.register("home")
    yield opened
    opened.close()


def _findings(url: str, key: str, ledger: Ledger, clock: TurnableClock | None = None) -> list[Finding]:
    with closing(Remote(url, key)) as remote:
        return list(check_project(remote, ledger, clock or TurnableClock(), signs=_SIGNS))


def _problem(url: str, key: str, ledger: Ledger) -> str:
    (finding,) = _findings(url, key, ledger)
    assert finding.severity == "problem"
    return finding.text


@contextmanager
def _api(postgres: Postgres, template: str, sql: str = "") -> Iterator[SupabaseApi]:
    """A server with its own database."""
    with postgres.database(template) as database:
        database.run(sql)
        server = SupabaseApi(database)
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def _changed(api: SupabaseApi, sql: str) -> Iterator[None]:
    """The project with a change that the migrations undo when they run again."""
    api.database.run(sql)
    try:
        yield
    finally:
        api.database.migrate()


def _everything(database: Database) -> dict[str, Any]:
    return {
        table: database.value(f"(select coalesce(json_agg(r order by r::text), '[]') from {table} r)")
        for table in TABLES
    }


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_says_what_is_right_and_what_is_not(supabase_api: SupabaseApi, tmp_path: Path) -> None:
    with SteeredServer(SteeredProxy(key=MANAGEMENT_KEY)) as proxy:
        settings = {
            "CLIPROXY_URL": proxy.url,
            "CLIPROXY_MANAGEMENT_KEY": MANAGEMENT_KEY,
            "EXPORTER_DATA_DIR": str(tmp_path / "data"),
            "SUPABASE_URL": supabase_api.url,
        }
        good = run_command(
            "check-config", "--connect", cwd=tmp_path, **settings, SUPABASE_SECRET_KEY=supabase_api.secret_key
        )
        wrong = run_command(
            "check-config", "--connect", cwd=tmp_path, **settings, SUPABASE_SECRET_KEY="sb_secret_planted"
        )
        public = run_command(
            "check-config", "--connect", cwd=tmp_path, **settings, SUPABASE_SECRET_KEY=supabase_api.publishable_key
        )

    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.splitlines()[-2:] == [f"history: {_GOOD}", "history: the proxy name default is free"]
    assert (wrong.returncode, wrong.stderr) == (1, "")
    assert wrong.stdout.splitlines()[-1].startswith("problem: Supabase refuses the key. Put the project's secret key")
    assert "proxy default: version" in wrong.stdout, "the proxies are asked all the same"
    assert public.returncode == 2
    assert "It is the project's public key" in public.stdout
    said = good.stdout + wrong.stdout + public.stdout
    assert not [key for key in (supabase_api.secret_key, "planted", supabase_api.publishable_key) if key in said]


# --- the project ------------------------------------------------------------------------------------------------------


def test_the_check_covers_everything_that_the_migrations_make(database: Database) -> None:
    tables = database.rows("select tablename as name from pg_tables where schemaname = 'public'")
    functions = database.rows("select proname as name from pg_proc where pronamespace = 'public'::regnamespace")

    assert {row["name"] for row in tables} == TABLES.keys()
    assert {row["name"] for row in functions} == FUNCTIONS.keys() | _NOT_ON_ITS_OWN


def test_the_check_changes_nothing(supabase_api: SupabaseApi, ledger: Ledger) -> None:
    supabase_api.database.call("exporter_claim", proxy="other", owner=OWNER)
    supabase_api.database.call("exporter_book", proxy="other", owner=OWNER, rows=[record(1)])
    before = _everything(supabase_api.database)

    assert _findings(supabase_api.url, supabase_api.secret_key, ledger) == [
        Finding("fine", _GOOD),
        Finding("fine", "the proxy name home is free"),
    ]
    assert _everything(supabase_api.database) == before


def test_a_project_without_tables_is_reported(postgres: Postgres, ledger: Ledger) -> None:
    with _api(postgres, "project") as api:
        said = _problem(api.url, api.secret_key, ledger)

    assert said.startswith("The project lacks usage_snapshots, model_usage, ")
    assert said.endswith("Apply the files in supabase/migrations/ to the project: docs/supabase.md.")


def test_an_older_project_without_the_migrations_is_reported(postgres: Postgres, ledger: Ledger) -> None:
    with postgres.database("old_project") as copy:
        eras.make(copy, "B, the readme", filled=True)
        api = SupabaseApi(copy)
        try:
            said = _problem(api.url, api.secret_key, ledger)
        finally:
            api.kill()

    assert said.startswith("The project lacks usage_snapshots.slot, daily_stats.exporter_part, usage_records, ")


def test_a_project_with_the_first_migration_only_is_reported(postgres: Postgres, ledger: Ledger) -> None:
    with _api(postgres, "project", MIGRATIONS[0].read_text()) as api:
        said = _problem(api.url, api.secret_key, ledger)

    assert said.startswith("The project lacks usage_records, ")
    assert "exporter_book" in said
    assert "usage_snapshots" not in said


def test_a_project_of_an_older_version_is_reported(supabase_api: SupabaseApi, ledger: Ledger) -> None:
    older = "create or replace function exporter_schema_version() returns integer language sql immutable as 'select 0'"
    with _changed(supabase_api, older):
        said = _problem(supabase_api.url, supabase_api.secret_key, ledger)

    assert said.startswith(f"The project's tables are those of an older version (0; this one needs {SCHEMA_VERSION}).")


def test_a_missing_grant_is_named(supabase_api: SupabaseApi, ledger: Ledger) -> None:
    revoked = (
        "revoke all on usage_rollups from service_role; revoke all on exporter_days from service_role;"
        "revoke all on function exporter_prune(text, text, date, integer) from service_role;"
    )
    with _changed(supabase_api, revoked):
        said = _problem(supabase_api.url, supabase_api.secret_key, ledger)
        public = _problem(supabase_api.url, supabase_api.publishable_key, ledger)

    assert said.startswith("The key may not use usage_rollups, exporter_days, exporter_prune, exporter_limit_use: ")
    assert "supabase/migrations/" in said
    assert public.startswith("The key may not use anything there: it is not the secret key")


def test_an_address_where_nobody_listens_is_reported(ledger: Ledger) -> None:
    said = _problem(f"http://127.0.0.1:{free_port()}", "sb_secret_x", ledger)

    assert said.startswith("Supabase cannot be reached, or does not answer (ConnectError). Is SUPABASE_URL right")


class _Page(BaseHTTPRequestHandler):
    """Answers everything with a web page, as a parked domain or a captive portal does."""

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>Buy this domain</html>")

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


def test_a_web_page_at_the_address_is_reported(ledger: Ledger) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        threading.Thread(target=server.serve_forever).start()
        said = _problem(f"http://127.0.0.1:{server.server_port}", "sb_secret_x", ledger)
        server.shutdown()

    assert said == ("The server at SUPABASE_URL is not a Supabase project. Use the URL that the project's page shows.")


# --- names ------------------------------------------------------------------------------------------------------------


def _name_finding(api: SupabaseApi, ledger: Ledger, clock: TurnableClock | None = None) -> Finding:
    _access, finding = _findings(api.url, api.secret_key, ledger, clock)
    return finding


def test_a_name_of_ours_is_ours(supabase_api: SupabaseApi, ledger: Ledger) -> None:
    supabase_api.database.call("exporter_claim", proxy="home", owner=owner_of(ledger))
    supabase_api.database.run("update exporter_proxies set seen_at = '2026-11-24 15:50Z'")

    assert _name_finding(supabase_api, ledger) == Finding(
        "fine", "the proxy name home is this exporter's, last used at 2026-11-24 15:50 UTC"
    )


def test_a_name_of_another_exporter_is_a_problem(supabase_api: SupabaseApi, ledger: Ledger) -> None:
    supabase_api.database.call("exporter_claim", proxy="home", owner=OWNER)
    ledger.backlog.enter_stage("home", RESTORED)  # this ledger has used the name

    finding = _name_finding(supabase_api, ledger)

    assert finding.severity == "problem"
    assert finding.text.startswith("Another exporter writes the history of a proxy named home to this project, last at")
    assert finding.text.endswith(
        "If that is another installation, give this proxy a name of its own. If that was this one, before its data"
        " directory was lost, give the name back: docs/supabase.md#several-exporters."
    )


@pytest.mark.parametrize(
    ("now", "sign", "expected"),
    [
        pytest.param(
            "12:14", _SIGNS["home"], ("problem", "it continues by itself 15 minutes after that."), id="lately"
        ),
        pytest.param("12:16", _SIGNS["home"], ("warning", "data directory, and takes over the name."), id="long ago"),
        pytest.param("12:16", "another", ("problem", "#several-exporters."), id="of another installation"),
    ],
)
def test_a_new_data_directory_takes_a_name_over(
    supabase_api: SupabaseApi, tmp_path: Path, now: str, sign: str, expected: tuple[str, str]
) -> None:
    supabase_api.database.call("exporter_claim", proxy="home", owner=OWNER, sign=sign)
    supabase_api.database.run("update exporter_proxies set seen_at = '2026-11-24 12:00Z'")
    ledger = open_ledger(tmp_path, clock=_clock("2026-11-24 12:05"))
    ledger.register("home")

    finding = _name_finding(supabase_api, ledger, _clock(f"2026-11-24 {now}"))
    ledger.close()

    severity, says = expected
    assert (finding.severity, finding.text.endswith(says)) == (severity, True), finding.text


def test_a_claimed_name_of_a_proxy_outside_the_settings_is_not_reported(
    supabase_api: SupabaseApi, ledger: Ledger
) -> None:
    supabase_api.database.call("exporter_claim", proxy="default", owner=OWNER)
    ledger.register("default")

    assert _name_finding(supabase_api, ledger) == Finding("fine", "the proxy name home is free")


# --- old rows ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["B with the summary of credentials", "A with columns made by hand as double and json"])
def old_api(postgres: Postgres, request: pytest.FixtureRequest) -> Iterator[SupabaseApi]:
    """The project of a user of the predecessor."""
    with postgres.database("old_project") as copy:
        eras.make(copy, request.param, filled=True)
        copy.migrate()
        server = SupabaseApi(copy)
        try:
            yield server
        finally:
            server.kill()


def _warnings(api: SupabaseApi, ledger: Ledger) -> list[str]:
    findings = _findings(api.url, api.secret_key, ledger)
    assert [each.text for each in findings if each.severity == "problem"] == []
    return [each.text for each in findings if each.severity == "warning"]


def test_old_rows_with_keys_are_reported_until_they_are_cleaned(old_api: SupabaseApi, ledger: Ledger) -> None:
    database = old_api.database
    before = _everything(database)
    has_summary = database.value("to_regclass('credential_usage_summary') is not null")
    there = PLACES if has_summary else PLACES[:-1]

    (warning,) = _warnings(old_api, ledger)
    assert RAW_KEY not in warning
    assert [place for place in PLACES if f"{place.table} ({place.what})" in warning] == list(there)
    assert "run this in the project's SQL editor, after the exporter has run with this project once:\n" in warning
    assert [line.strip() for line in warning.splitlines()[1:]] == [
        line.strip() for place in there for line in place.statement.splitlines()
    ]
    assert _everything(database) == before

    # On the day of the switch the row has our clients beside the predecessor's keys.
    _book(database, ledger, f"{_SWITCH} 12:00", "2026-11-02 12:00")
    (warning,) = _warnings(old_api, ledger)
    assert "run this in the project's SQL editor:\n" in warning

    with closing(Remote(old_api.url, old_api.secret_key)) as remote:
        for n, place in enumerate(there, 1):
            database.run(place.statement)
            assert [place for place in PLACES if place.is_there(remote)] == list(there[n:])

        _book(database, ledger, f"{_SWITCH} 13:00")
        assert database.value(f"(select breakdown ? 'endpoints' from daily_stats where stat_date = '{_SWITCH}')")
        assert not any(place.is_there(remote) for place in PLACES), "the clients in that day's row are ours"
    assert _warnings(old_api, ledger) == []


def test_days_of_the_exporter_hold_no_keys_even_if_its_own_tables_were_emptied(
    old_api: SupabaseApi, ledger: Ledger
) -> None:
    database = old_api.database
    database.run("drop table if exists credential_usage_summary")
    for place in PLACES:
        database.run(place.statement)
    _book(database, ledger, f"{_SWITCH} 12:00", "2026-11-02 12:00")
    clients = "(select breakdown -> 'endpoints' from daily_stats where stat_date = '2026-11-02')"
    before = database.value(clients)

    database.run("truncate exporter_days")

    assert _warnings(old_api, ledger) == []
    (statement,) = (place.statement for place in PLACES if place.table == "daily_stats")
    database.run(statement)
    assert database.value(clients) == before != {}


def _book(database: Database, ledger: Ledger, *times: str) -> None:
    database.call("exporter_claim", proxy="home", owner=owner_of(ledger))
    rows = [record(int(time[11:13]), ts_ms=at(time), day=time[:10]) for time in times]
    assert database.call("exporter_book", proxy="home", owner=owner_of(ledger), rows=rows)["inserted"] == len(rows)


def test_the_manual_has_the_reported_statements() -> None:
    section = (CHECKOUT / "docs" / "supabase-deleting.md").read_text().partition("## Old rows with keys\n")[2]
    block = section.partition("```sql\n")[2].partition("```")[0]

    assert block == "".join(f"{place.statement}\n" for place in PLACES)
