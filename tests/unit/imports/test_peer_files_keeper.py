"""Rows of cpa-usage-keeper as wire records: their owner, their time, and their tokens of each kind."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from exporter.imports.peer_files import KeeperRow, read_peer
from exporter.normalize.tokens import tokens_of
from exporter.normalize.usage_record import milliseconds
from exporter.normalize.wire_record import Wire
from tests.benches.booking import GOOD, PSEUDONYMS
from tests.benches.peers import keeper_file


def _read(folder: Path, record: Mapping[str, Any] = GOOD, **columns: Any) -> Wire:
    """Keeper's row for ``record``, with other values in some columns."""
    path = keeper_file(folder / "app.db", [record])
    with closing(sqlite3.connect(path)) as connection, connection:
        for name, value in columns.items():
            connection.execute(f"update usage_events set {name} = ?", (value,))
    (wire,) = read_peer(path, KeeperRow, PSEUDONYMS.of)
    assert isinstance(wire, Wire)
    return wire


def test_keys_and_accounts_become_pseudonyms(tmp_path: Path) -> None:
    wire = _read(tmp_path)
    assert (wire.api_key, wire.source) == (PSEUDONYMS.of("sk-client"), PSEUDONYMS.of("dev@example.com"))
    assert wire.auth_index == GOOD["auth_index"]


@pytest.mark.parametrize("listed", ["claude", "POST /v1/messages", "unknown", "", "my-provider"])
def test_without_a_key_there_is_no_client(listed: str, tmp_path: Path) -> None:
    assert _read(tmp_path, GOOD | {"provider": "my-provider"}, api_group_key=listed).api_key is None


@pytest.mark.parametrize(
    "stored",
    [
        "2026-10-01T12:00:00Z",
        "2026-10-01T20:00:00+08:00",
        "2026-10-01 20:00:00.123456789+08:00",
        "2026-10-01 07:00:00.5 -05:00",
    ],
)
def test_all_forms_of_time_that_keeper_wrote_are_read(stored: str, tmp_path: Path) -> None:
    moment = milliseconds(_read(tmp_path, timestamp=stored).timestamp)
    assert isinstance(moment, int)
    assert moment // 1000 == 1_790_856_000


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        # Claude: the input includes both.
        (
            {"input_tokens": 115, "cached_tokens": 10, "cache_read_tokens": 10, "cache_creation_tokens": 5},
            (100, 10, 5),
        ),
        # Claude as /usage reports it, which Keeper stored unchanged: one number beside the input.
        ({"input_tokens": 100, "cached_tokens": 900}, (100, 900, 0)),
        ({"input_tokens": 100, "cached_tokens": 40}, (100, 40, 0)),
        # The same, since Keeper fills in the second number, too; the input of queue records includes it.
        (
            {"endpoint": "", "executor_type": "", "input_tokens": 100, "cached_tokens": 40, "cache_read_tokens": 40},
            (100, 40, 0),
        ),
        (
            {"endpoint": "POST /v1/messages", "input_tokens": 100, "cached_tokens": 40, "cache_read_tokens": 40},
            (60, 40, 0),
        ),
        # A Claude row that Keeper did not recognize as one.
        ({"input_tokens": 3, "cache_read_tokens": 900, "cache_creation_tokens": 50}, (3, 900, 50)),
        # OpenAI: the input includes the reads.
        (
            {"provider": "codex", "executor_type": "CodexExecutor", "input_tokens": 100, "cached_tokens": 40},
            (60, 40, 0),
        ),
        ({"provider": "", "executor_type": "", "model": "gpt-5", "input_tokens": 9, "cached_tokens": 4}, (5, 4, 0)),
        ({"provider": "", "executor_type": "", "input_tokens": 9, "cached_tokens": 4}, (9, 4, 0)),
    ],
)
def test_each_token_of_the_prompt_is_in_one_bucket(
    columns: Mapping[str, Any], wanted: tuple[int, ...], tmp_path: Path
) -> None:
    tokens, _ = tokens_of(_read(tmp_path, **columns), provider="codex", openai_compatible=False)
    assert (tokens.uncached, tokens.cache_read, tokens.cache_write) == wanted


def test_the_output_includes_the_reasoning_of_every_provider(tmp_path: Path) -> None:
    gemini = GOOD | {"executor_type": "GeminiExecutor", "tokens": {"output_tokens": 7, "reasoning_tokens": 3}}
    tokens, _ = tokens_of(_read(tmp_path, gemini), provider="gemini", openai_compatible=False)
    assert (tokens.output, tokens.reasoning) == (10, 3)


def test_failures_tiers_and_prewarms_are_as_the_proxy_reported_them(tmp_path: Path) -> None:
    reported = {"failed": True, "fail": {"status_code": 429}, "generate": False}
    wire = _read(tmp_path, GOOD | reported | {"service_tier": "priority", "response_service_tier": "default"})
    assert wire.failed
    assert wire.fail is not None
    assert (wire.fail.status_code, wire.generate) == (429, False)
    assert (wire.service_tier, wire.response_service_tier) == ("priority", "default")


def test_a_failure_without_status_is_not_mistaken_for_a_broken_stream(tmp_path: Path) -> None:
    assert _read(tmp_path, GOOD | {"failed": True}, status_code=None).fail is None


def test_keepers_name_for_the_row_does_not_matter(tmp_path: Path) -> None:
    assert _read(tmp_path, event_key=b"\xff").model == GOOD["model"]
