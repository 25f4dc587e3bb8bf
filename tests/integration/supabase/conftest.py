"""Exporters with only their history, and a gate on their way to the API at which calls go wrong."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benches.history import HistoryBench, Start
from tests.stack.supabase.api import SupabaseApi
from tests.stack.supabase.gate import Gate


@pytest.fixture
def start(supabase_api: SupabaseApi, tmp_path: Path) -> Iterator[Start]:
    """Starts exporters on the API, or on another ``url``; ``name`` is the name of their folder."""
    benches: list[HistoryBench] = []

    def started(name: str = "one", *, url: str = "", key: str = "", **more: object) -> HistoryBench:
        made = HistoryBench(
            tmp_path / name,
            url=url or supabase_api.url,
            key=key or supabase_api.secret_key,
            **more,  # type: ignore[arg-type]
        )
        benches.append(made)
        return made

    yield started
    for bench in benches:
        bench.close()


@pytest.fixture
def gate(supabase_api: SupabaseApi) -> Iterator[Gate]:
    with Gate(lambda: supabase_api.url, late_seconds=4.0) as gate:
        yield gate
