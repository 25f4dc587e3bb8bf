"""A proxy, one PostgreSQL server for all tests that need one, and one Supabase API on top of a migrated database."""

from collections.abc import Iterator

import pytest
from supabase import Client

from exporter.simulator.world import MANAGEMENT_KEY
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.stack.supabase.api import SupabaseApi
from tests.stack.supabase.postgres import NEWEST, Database, Postgres


@pytest.fixture
def server() -> Iterator[SteeredServer]:
    """A proxy that keeps its records for an hour."""
    with SteeredServer(SteeredProxy(key=MANAGEMENT_KEY, retention_seconds=3600)) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The newest PostgreSQL. It has the databases ``project`` and ``old_project`` (empty), and ``migrated``."""
    server = Postgres(NEWEST)
    try:
        server.copy("migrated", of="project")
        Database(server, "migrated").migrate()
        yield server
    finally:
        server.close()


@pytest.fixture
def database(postgres: Postgres) -> Iterator[Database]:
    """A migrated database for one test."""
    with postgres.database("migrated") as copy:
        yield copy


@pytest.fixture(scope="session")
def _supabase_server(postgres: Postgres) -> Iterator[SupabaseApi]:
    with postgres.database("migrated") as copy:
        server = SupabaseApi(copy)
        yield server
        server.kill()


@pytest.fixture
def supabase_api(_supabase_server: SupabaseApi) -> SupabaseApi:
    """A running API on a migrated database without rows."""
    if not _supabase_server.is_running:
        _supabase_server.start()
    _supabase_server.clear()
    return _supabase_server


@pytest.fixture
def client(supabase_api: SupabaseApi) -> Iterator[Client]:
    """The exporter's view of the API: a client with the secret key."""
    with supabase_api.client() as made:
        yield made
