"""Files of other programs: which ones are read, and what the command says about all others."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from exporter.errors import ImportFileError
from exporter.imports.items import Misfit
from exporter.imports.peer_files import CpampRow, KeeperRow, PeerRow, read_peer
from exporter.normalize.wire_record import Wire
from tests.benches.booking import GOOD, PSEUDONYMS
from tests.benches.peers import KEEPER_STEPS, cpamp_file, insert, keeper_file


def _refusal(path: Path, peer: type[PeerRow]) -> str:
    with pytest.raises(ImportFileError) as refused:
        list(read_peer(path, peer, PSEUDONYMS.of))
    return str(refused.value)


def _changed(path: Path, statement: str) -> Path:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)
    return path


def test_all_tables_are_read_oldest_first(tmp_path: Path) -> None:
    records = [GOOD | {"timestamp": f"2026-10-0{day}T12:00:00Z"} for day in (3, 1, 2)]

    found = list(read_peer(keeper_file(tmp_path / "app.db", records, archived=1), KeeperRow, PSEUDONYMS.of))

    assert [wire.timestamp[:10] for wire in found if isinstance(wire, Wire) and wire.timestamp] == [
        f"2026-10-0{day}" for day in (1, 2, 3)
    ]


def test_a_file_that_another_program_has_open_is_read_with_its_log(tmp_path: Path) -> None:
    path = keeper_file(tmp_path / "a file of #1?.db", [])
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("pragma journal_mode = wal")
        insert(writer, "usage_events", {"event_key": "k", "model": "m", "timestamp": "2026-10-01T00:00:00Z"})
        writer.commit()
        assert len(list(read_peer(path, KeeperRow, PSEUDONYMS.of))) == 1


def test_a_complete_file_in_a_read_only_folder_is_read(tmp_path: Path) -> None:
    """As on a read-only mount: SQLite cannot make the file that it shares with other readers."""
    path = keeper_file(tmp_path / "app.db", [GOOD])
    _changed(path, "pragma journal_mode = wal")
    tmp_path.chmod(0o500)  # this does not stop root

    try:
        assert len(list(read_peer(path, KeeperRow, PSEUDONYMS.of))) == 1
    finally:
        tmp_path.chmod(0o700)


def test_nothing_is_written_to_the_file(tmp_path: Path) -> None:
    path = keeper_file(tmp_path / "app.db", [GOOD])
    before = path.read_bytes()
    list(read_peer(path, KeeperRow, PSEUDONYMS.of))
    assert path.read_bytes() == before


def test_newer_columns_may_be_missing(tmp_path: Path) -> None:
    path = cpamp_file(tmp_path / "usage.sqlite", [GOOD])
    for column in ("resolved_model", "executor_type", "ttft_ms", "fail_status_code", "response_service_tier"):
        _changed(path, f"alter table usage_events drop column {column}")

    (wire,) = read_peer(path, CpampRow, PSEUDONYMS.of)

    assert isinstance(wire, Wire)
    assert (wire.model, wire.executor_type, wire.fail) == (GOOD["model"], None, None)


def test_a_file_of_another_schema_is_refused_with_what_is_missing_and_what_there_is(tmp_path: Path) -> None:
    of_peer = keeper_file(tmp_path / "keeper.db", [GOOD])
    assert "usage_events lacks api_key_hash, event_hash, " in _refusal(of_peer, CpampRow)
    assert "schema_migrations, usage_events, usage_events_archive, usage_identities" in _refusal(of_peer, CpampRow)
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("create table logs (id integer)")
    assert "it has no table usage_events. Its tables: logs." in _refusal(other, KeeperRow)


def test_a_file_whose_tokens_mean_something_else_is_refused(tmp_path: Path) -> None:
    path = keeper_file(tmp_path / "app.db", [GOOD], steps=KEEPER_STEPS[:2])
    assert "20260605_backfill_gemini_codex_token_format" in _refusal(path, KeeperRow)
    assert "Start a newer cpa-usage-keeper once" in _refusal(path, KeeperRow)
    _changed(path, "drop table schema_migrations")
    assert "20260601_backfill_claude_usage_tokens" in _refusal(path, KeeperRow)


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough to have a header" * 20])
def test_a_file_that_is_not_a_database_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    path.write_bytes(content)
    assert str(path) in _refusal(path, KeeperRow)


def test_a_row_of_other_types_does_not_block_the_rest(tmp_path: Path) -> None:
    path = keeper_file(tmp_path / "app.db", [GOOD] * 6)
    for id_, change in enumerate(
        (
            "input_tokens = 'many'",
            "timestamp = x'00ff'",
            "model = x'01'",
            f"model = '{'m' * 400}'",
            "latency_ms = 'sk-planted-in-a-number'",
        ),
        1,
    ):
        _changed(path, f"update usage_events set {change} where id = {id_}")

    kinds = [type(each) for each in read_peer(path, KeeperRow, PSEUDONYMS.of)]

    assert sorted(kinds, key=str) == [Misfit] * 5 + [Wire]
