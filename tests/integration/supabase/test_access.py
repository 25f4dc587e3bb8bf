"""The publishable key reads and changes nothing; the secret key can do what the exporter does."""

from collections.abc import Iterator

import pytest
from postgrest.exceptions import APIError
from supabase import Client

from tests.stack.supabase import eras
from tests.stack.supabase.api import SupabaseApi
from tests.stack.supabase.postgres import CHECKOUT, Database, Postgres
from tests.stack.supabase.session import SqlError

_OPTIONAL = CHECKOUT / "supabase" / "optional"
_ANON_READ = (_OPTIONAL / "anon_read.sql").read_text(encoding="utf-8")
_ANON_READ_OFF = (_OPTIONAL / "anon_read_off.sql").read_text(encoding="utf-8")
_FRONT_END = (
    "usage_snapshots",
    "model_usage",
    "daily_stats",
    "model_pricing",
    "rate_limit_configs",
    "rate_limit_status",
)
_ALLOWED = """
select role || ' may ' || privilege || ' ' || c.oid::regclass as what
from pg_class c, unnest(array['anon', 'authenticated']) role,
     unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']) privilege
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v')
  and c.relname not like 'oauth%' and has_table_privilege(role, c.oid, privilege)
union all
select role || ' may call ' || p.oid::regprocedure
from pg_proc p, unnest(array['anon', 'authenticated']) role
where p.pronamespace = 'public'::regnamespace and has_function_privilege(role, p.oid, 'execute')
union all
select role || ' may use ' || c.oid::regclass
from pg_class c, unnest(array['anon', 'authenticated']) role, unnest(array['usage', 'select', 'update']) privilege
where c.relnamespace = 'public'::regnamespace and c.relkind = 'S'
  and c.relname not like 'oauth%' and has_sequence_privilege(role, c.oid, privilege)
order by 1
"""


@pytest.fixture
def old_project(postgres: Postgres) -> Iterator[Database]:
    with postgres.database("old_project") as copy:
        eras.make(copy, "B with the summary of credentials", filled=True)
        yield copy


def _allowed(database: Database) -> set[str]:
    return {row["what"] for row in database.rows(_ALLOWED)}


def _tables(database: Database) -> list[str]:
    rows = database.rows("select tablename from pg_tables where schemaname = 'public' order by 1")
    return [row["tablename"] for row in rows]


@pytest.mark.parametrize("era", eras.ERAS)
def test_anonymous_and_signed_in_users_have_no_privilege(postgres: Postgres, era: str) -> None:
    with postgres.database("old_project") as database:
        eras.make(database, era, filled=False)

        database.migrate()

        assert _allowed(database) == set()
        open_tables = "select tablename from pg_tables where schemaname = 'public' and not rowsecurity"
        assert {row["tablename"] for row in database.rows(open_tables)} <= {f"oauth_{name}" for name in eras.GUIDE}
        policies = {row["policyname"] for row in database.rows("select policyname from pg_policies")}
        assert policies <= {"Allow service role full access to credential_usage_summary"}


def test_before_the_migrations_everybody_could_read_keys_and_write(old_project: Database) -> None:
    # This shows that the test above can fail.
    keys = old_project.rows("select distinct api_endpoint from model_usage", role="anon")

    assert keys == [{"api_endpoint": eras.RAW_KEY}]
    assert "anon may update daily_stats" in _allowed(old_project)


def test_the_publishable_key_can_read_and_write_nothing(supabase_api: SupabaseApi) -> None:
    with supabase_api.client(supabase_api.publishable_key) as anonymous:
        for table in _tables(supabase_api.database):
            (first, *_) = supabase_api.database.rows(
                f"select attname as name from pg_attribute where attrelid = '{table}'::regclass and attnum = 1"
            )
            with pytest.raises(APIError) as refused:
                anonymous.table(table).select("*").execute()
            assert refused.value.code == "42501", table
            with pytest.raises(APIError) as refused:
                anonymous.table(table).delete().not_.is_(first["name"], "null").execute()
            assert refused.value.code == "42501", table
        with pytest.raises(APIError) as refused:
            anonymous.table("daily_stats").insert({"stat_date": "2026-11-01"}).execute()
        assert refused.value.code == "42501"
        with pytest.raises(APIError) as refused:
            anonymous.rpc("exporter_claim", {"p_proxy": "home", "p_owner": "me"}).execute()
        assert refused.value.code == "42501"
    assert supabase_api.database.rows("select * from exporter_proxies") == []


def test_the_secret_key_can_write_the_predecessors_tables(client: Client) -> None:
    config = client.table("rate_limit_configs").insert(
        {"provider": "Google", "tier_name": "", "model_pattern": "gemini"}
    )
    config.execute()
    status = {"config_id": 1, "percentage": 40, "status_label": "6/10 Requests"}

    for percentage in (40, 30):
        rows = [status | {"percentage": percentage}]
        client.table("rate_limit_status").upsert(rows, on_conflict="config_id").execute()
    price = {"model_pattern": "gpt-4o", "input_price_per_million": "2.5", "output_price_per_million": "10"}
    client.table("model_pricing").upsert([price], on_conflict="model_pattern").execute()

    assert client.table("rate_limit_status").select("percentage").execute().data == [{"percentage": 30}]
    assert len(client.table("model_pricing").select("*").execute().data) == 2


def test_the_optional_file_lets_the_old_front_end_read_and_no_more(old_project: Database) -> None:
    old_project.migrate()

    old_project.run(_ANON_READ)

    assert _allowed(old_project) == {f"anon may select {table}" for table in _FRONT_END}
    assert old_project.rows("select count(*) as n from daily_stats", role="anon") == [{"n": 2}]
    with pytest.raises(SqlError, match="permission denied"):
        old_project.rows("select * from credential_usage_summary", role="anon")

    for take_back in (lambda: old_project.run(_ANON_READ_OFF), old_project.migrate):
        old_project.run(_ANON_READ)
        take_back()
        assert _allowed(old_project) == set()
