"""Rows of CPA-Manager-Plus as wire records."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from exporter.imports.peer_files import CpampRow, of_hashes, read_peer
from exporter.normalize.tokens import tokens_of
from exporter.normalize.wire_record import Wire
from tests.benches.booking import GOOD, PSEUDONYMS
from tests.benches.peers import cpamp_file, sha256


def _read(folder: Path, record: Mapping[str, Any] = GOOD, *, keys: tuple[str, ...] = (), **columns: Any) -> Wire:
    path = cpamp_file(folder / "usage.sqlite", [record])
    with closing(sqlite3.connect(path)) as connection, connection:
        for name, value in columns.items():
            connection.execute(f"update usage_events set {name} = ?", (value,))
    (wire,) = read_peer(path, CpampRow, of_hashes(PSEUDONYMS.of, keys))
    assert isinstance(wire, Wire)
    return wire


def test_a_client_with_a_configured_key_is_the_same_client_as_live(tmp_path: Path) -> None:
    assert _read(tmp_path, keys=("sk-other", "sk-client")).api_key == PSEUDONYMS.of("sk-client")


def test_any_other_client_is_a_separate_one(tmp_path: Path) -> None:
    wire = _read(tmp_path)
    assert wire.api_key == PSEUDONYMS.of(sha256("sk-client"))
    assert wire.source == PSEUDONYMS.of(sha256("dev@example.com"))


def test_without_a_key_there_is_no_client(tmp_path: Path) -> None:
    assert _read(tmp_path, GOOD | {"api_key": ""}).api_key is None


def test_the_model_is_the_one_that_answered(tmp_path: Path) -> None:
    wire = _read(tmp_path, GOOD | {"alias": "fast"})
    assert (wire.model, wire.alias) == (GOOD["model"], "fast")


@pytest.mark.parametrize(
    ("tokens", "wanted"),
    [
        # CPA copies the writes into cached_tokens if there were no reads.
        ({"input_tokens": 100, "cached_tokens": 500, "cache_creation_tokens": 500}, (100, 0, 500)),
        ({"input_tokens": 100, "cached_tokens": 30, "cache_read_tokens": 30, "cache_creation_tokens": 5}, (100, 30, 5)),
        # CPA before 7.0.3 has one number.
        ({"input_tokens": 100, "cached_tokens": 30}, (100, 30, 0)),
    ],
)
def test_claudes_cache_is_counted_once(tokens: Mapping[str, int], wanted: tuple[int, ...], tmp_path: Path) -> None:
    found, _ = tokens_of(_read(tmp_path, GOOD | {"tokens": tokens}), provider="claude", openai_compatible=False)
    assert (found.uncached, found.cache_read, found.cache_write) == wanted


def test_the_requested_tier_is_the_requests_tier(tmp_path: Path) -> None:
    wire = _read(tmp_path, GOOD | {"service_tier": "priority"}, service_tier="default")
    assert wire.service_tier == "priority"


def test_an_older_row_has_one_tier(tmp_path: Path) -> None:
    assert _read(tmp_path, service_tier="flex").service_tier == "flex"


def test_cpamps_name_for_the_row_does_not_matter(tmp_path: Path) -> None:
    assert _read(tmp_path, event_hash=b"\xff").model == GOOD["model"]
