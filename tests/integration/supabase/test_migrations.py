"""The migrations lead from every database that a user may have to the same tables, and keep the data in them."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.stack.supabase import eras
from tests.stack.supabase.postgres import MIGRATIONS, NEWEST, VERSIONS, Database, Postgres

_OLD_TABLES = (
    "usage_snapshots",
    "model_usage",
    "daily_stats",
    "model_pricing",
    "rate_limit_configs",
    "rate_limit_status",
    "credential_usage_summary",
)
_MONEY = (
    "usage_snapshots.cumulative_cost_usd",
    "model_usage.estimated_cost_usd",
    "daily_stats.estimated_cost_usd",
)

# Rows take a longer way through the migrations; databases without rows are tested on one version.
_CASES = [
    pytest.param(version, era, filled, id=f"PostgreSQL {version}, {era}, {'with' if filled else 'without'} rows")
    for version in VERSIONS
    for era in eras.ERAS
    for filled in ([True, False] if version == NEWEST else [True])
]


@pytest.fixture(scope="module")
def servers(postgres: Postgres) -> Iterator[dict[str, Postgres]]:
    """The servers that are running."""
    started = {NEWEST: postgres}
    yield started
    for version, server in started.items():
        if version != NEWEST:
            server.close()


@pytest.fixture(scope="module")
def wanted(postgres: Postgres) -> Iterator[set[tuple[str, str]]]:
    """The columns of a new database."""
    with postgres.database("migrated") as copy:
        yield _columns(copy)


@pytest.fixture
def old_project(postgres: Postgres) -> Iterator[Database]:
    with postgres.database("old_project") as copy:
        yield copy


def _columns(database: Database) -> set[tuple[str, str]]:
    rows = database.rows("select table_name, column_name from information_schema.columns where table_schema = 'public'")
    return {(row["table_name"], row["column_name"]) for row in rows}


def _old_rows(database: Database) -> dict[str, list[dict[str, Any]]]:
    known = database.rows("select tablename as name from pg_tables where schemaname = 'public'")
    tables = [row["name"] for row in known if row["name"] in _OLD_TABLES]
    if not tables:
        return {}
    each = [f"(select coalesce(json_agg(r order by id), '[]') from {table} r) as {table}" for table in tables]
    (rows,) = database.rows(f"select {', '.join(each)}")
    return rows


_EVERYTHING = """
select 'column' as what, table_name || '.' || column_name as name,
       concat_ws(' ', data_type, is_nullable, column_default) as detail
from information_schema.columns where table_schema = 'public'
union all select 'index', indexname, indexdef from pg_indexes where schemaname = 'public'
union all select 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
          from pg_constraint where connamespace = 'public'::regnamespace
union all select 'policy', tablename || '.' || policyname, concat_ws(' ', roles, cmd, qual)
          from pg_policies where schemaname = 'public'
union all select 'table', relname,
                concat_ws(' ', relrowsecurity, (select string_agg(a::text, ' ' order by a::text) from unnest(relacl) a))
          from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'S')
union all select 'function', oid::regprocedure::text,
                 concat_ws(' ', prosrc, (select string_agg(a::text, ' ' order by a::text) from unnest(proacl) a))
          from pg_proc where pronamespace = 'public'::regnamespace
order by 1, 2
"""


@pytest.mark.parametrize(("version", "era", "filled"), _CASES)
def test_every_database_of_the_predecessor_migrates_to_the_same_tables(
    servers: dict[str, Postgres], wanted: set[tuple[str, str]], version: str, era: str, filled: bool
) -> None:
    if version not in servers:
        servers[version] = Postgres(version)
    server = servers[version]
    with server.database("old_project") as database:
        eras.make(database, era, filled=filled)
        before = _old_rows(database)

        database.migrate()

        assert wanted - _columns(database) == set()
        after = _old_rows(database)
        for table, rows in before.items():
            kept = after[table][: len(rows)]
            assert [{name: row[name] for name in old} for row, old in zip(kept, rows, strict=True)] == rows, table
            assert len(after[table]) - len(rows) <= (table == "model_pricing"), (
                f"{table}: only the default price is new"
            )
        assert [row["model_pattern"] for row in after["model_pricing"]].count("_default") == 1
        schema = database.rows(_EVERYTHING)
        money = {row["name"]: row["detail"] for row in schema if row["what"] == "column" and row["name"] in _MONEY}
        assert money == dict.fromkeys(_MONEY, "numeric YES 0"), "no width that a sum could outgrow"

        database.migrate()
        assert (database.rows(_EVERYTHING), _old_rows(database)) == (schema, after), "a second time changes nothing"


def test_the_databases_of_the_tests_are_those_that_users_have(postgres: Postgres) -> None:
    def found(era: str) -> tuple[int, int, int]:
        with postgres.database("old_project") as database:
            eras.make(database, era, filled=False)
            tables = len({table for table, _ in _columns(database)})
            policies = database.value("(select count(*) from pg_policies where schemaname = 'public')")
            limits = database.value("to_regclass('rate_limit_configs') is not null")
            return tables, policies, database.value("(select count(*) from rate_limit_configs)") if limits else -1

    assert found("A, the first file") == (6, 12, 6)
    assert found("A, run twice") == (6, 12, 12)
    assert found("B, the readme") == (6, 14, 0)
    assert found("C, the later file") == (4, 8, -1)
    assert found("D, the later readme") == (4, 10, -1)


def test_the_default_price_that_a_user_set_stays(old_project: Database) -> None:
    eras.make(old_project, "B, the readme", filled=True)

    old_project.migrate()

    (price,) = old_project.rows("select provider from model_pricing where model_pattern = '_default'")
    assert price == {"provider": "mine"}


def test_of_two_statuses_of_a_limit_the_newer_one_stays(old_project: Database) -> None:
    eras.make(old_project, "B without its unique constraints", filled=True)
    old_project.run(
        "insert into rate_limit_status (config_id, percentage, last_updated)"
        " select config_id, 77, last_updated + interval '1 minute' from rate_limit_status"
    )

    old_project.migrate()

    assert old_project.rows("select percentage from rate_limit_status") == [{"percentage": 77}]


def test_all_files_run_again_after_a_file_that_returns_another_column(database: Database) -> None:
    signature = "public.exporter_records(text, bigint, text, integer)"
    definition = database.value(f"pg_get_functiondef('{signature}'::regprocedure)")
    returns, body = definition.split(")\n LANGUAGE", 1)
    later = f"drop function {signature}; {returns}, later text)\n LANGUAGE{body}"
    later = later.replace("r.nano_usd\n", "r.nano_usd, ''::text\n")
    database.run(later)

    database.migrate()
    database.run(later)

    (column,) = database.rows(
        f"select pg_get_function_result('{signature}'::regprocedure) like '%later text)' as there"
    )
    assert column == {"there": True}


def test_running_statement_by_statement_has_the_same_result(postgres: Postgres, database: Database) -> None:
    with postgres.database("project") as other:
        complaints = [other.run_loosely(file.read_text(encoding="utf-8")) for file in MIGRATIONS]

        assert not any(complaints)
        assert other.rows(_EVERYTHING) == database.rows(_EVERYTHING)


def test_the_files_run_in_the_order_of_their_names() -> None:
    assert all(file.stem[:14].isdigit() and file.stem[14] == "_" for file in MIGRATIONS)
